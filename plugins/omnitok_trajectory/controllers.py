"""Scripted controllers with a rate of random actions, and playing episodes with them or with any policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from omnitok.errors import ConfigError

from .environments import describe
from .episode import Episode
from .flatten import stack
from .spaces import parse

Act = Callable[[Any], Any]
Controller = Callable[[Any, float, np.random.Generator], Act]
"""(environment, rate of random actions, random numbers) -> what to do for an observation"""

SEEDS_APART = 100_000
"""Start states of data set `seed`: below one million for any seed below ten; evaluation starts at one million."""


def env_seed(seed: int, i: int) -> int:
    """The start state of episode i."""
    return seed * SEEDS_APART + i


def play(env: Any, act: Act, seed: int) -> Episode:
    """One episode of a gymnasium environment, from `reset(seed=seed)` until it ends."""
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards = [observation], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
    observed, acted = (parse(describe(space), "space") for space in (env.observation_space, env.action_space))
    return Episode(stack(observations, observed), stack(actions, acted), np.array(rewards), terminated, truncated)


def balance(observation: np.ndarray) -> int:
    """CartPole: push to the side that the pole leans and turns to (proportional-derivative); 500 of 500 steps."""
    position, speed, angle, turn = observation.tolist()
    return int(0.1 * position + 0.3 * speed + 3 * angle + turn > 0)


def swing_up(observation: np.ndarray) -> float:
    """Pendulum: pump energy until upright, then hold it there; a mean return of about -150."""
    cosine, sine, turn = observation.tolist()
    if cosine > 0.8:
        return -10 * math.atan2(sine, cosine) - 2 * turn
    lack = 5 - (turn * turn / 6 + 5 * cosine)
    return math.copysign(2.0, turn) * min(1.0, max(-1.0, lack))


def cartpole(env: Any, rate: float, rng: np.random.Generator) -> Act:
    """Balance; random: either side."""
    return lambda observation: np.int64(rng.integers(2) if rng.random() < rate else balance(observation))


def pendulum(env: Any, rate: float, rng: np.random.Generator) -> Act:
    """Swing up; random: any torque."""

    def act(observation: np.ndarray) -> np.ndarray:
        torque = rng.uniform(-2, 2) if rng.random() < rate else swing_up(observation)
        return np.clip(np.array([torque], np.float32), -2, 2)

    return act


def shortest_path(env: Any, rate: float, rng: np.random.Generator) -> Act:
    """A neighbour that is closest to the goal; random: any neighbour, a random walk."""
    world = env.unwrapped

    def act(observation: Any) -> np.int64:
        near = world.neighbours()
        if rng.random() >= rate:
            near = near[world.distances[near] == world.distances[near].min()]
        return np.int64(rng.choice(near))

    return act


def key_to_door(env: Any, rate: float, rng: np.random.Generator) -> Act:
    """Straight to the key or door that is seen, anywhere where none is; random: any move. Remembers nothing."""
    world = env.unwrapped

    def act(observation: Any) -> np.int64:
        row, column = world.place.tolist()
        thing_row, thing_column = world.thing() or (row, column)
        useful = [
            move
            for move, moves in enumerate((thing_row < row, thing_row > row, thing_column < column, thing_column > column))
            if moves
        ]
        if not useful or rng.random() < rate:
            return np.int64(rng.integers(4))
        return np.int64(rng.choice(useful))

    return act


CONTROLLERS: dict[str, Controller] = {
    "CartPole-v1": cartpole,
    "Pendulum-v1": pendulum,
    "omnitok/ShortestPath-v0": shortest_path,
    "omnitok/ShortestPathPixels-v0": shortest_path,
    "omnitok/KeyToDoor-v0": key_to_door,
    "omnitok/KeyToDoorPixels-v0": key_to_door,
}


def controller_of(env: str) -> Controller:
    """The scripted controller of an environment. Raises ConfigError where there is none."""
    if env not in CONTROLLERS:
        raise ConfigError(f"no scripted controller for {env!r}; there are ones for {', '.join(CONTROLLERS)}")
    return CONTROLLERS[env]


def at_random(env: Any, rate: float, rng: np.random.Generator) -> Act:
    """Any action of the space, whatever the rate."""
    env.action_space.seed(int(rng.integers(2**31)))
    return lambda observation: env.action_space.sample()


def spread(episodes: int, rate: float = 1.0) -> tuple[float, ...]:
    """Rates of random actions from 0 to `rate`, denser towards it, where episodes are short."""
    return tuple((rate * np.linspace(0, 1, episodes) ** 0.6).tolist())
