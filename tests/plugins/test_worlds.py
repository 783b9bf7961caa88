"""The two small worlds, the scripted controllers in them, and the data sets that they make."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium
import networkx
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from omnitok_trajectory.controllers import CONTROLLERS, at_random, controller_of, env_seed, play
from omnitok_trajectory.environments import make
from omnitok_trajectory.rollout import FIRST_SEED
from omnitok_trajectory.scripted import KeyToDoorWalks, ShortestPathWalks, scripted
from omnitok_trajectory.tokenizer import TrajectoryTokenizer
from omnitok_trajectory.worlds import KeyToDoor, KeyToDoorPixels, ShortestPath, ShortestPathPixels, random_network

from omnitok.errors import ConfigError

WORLDS = ("omnitok/ShortestPath-v0", "omnitok/KeyToDoor-v0")
SEEN = ("omnitok/ShortestPathPixels-v0", "omnitok/KeyToDoorPixels-v0")


@pytest.mark.parametrize("name", [*WORLDS, *SEEN])
def test_gymnasium_accepts_the_world(name: str) -> None:
    made = make(name)
    check_env(made.unwrapped, skip_render_check=True)
    assert gymnasium.make(made.spec.to_json() and made.spec.id).unwrapped.action_space == made.action_space
    assert isinstance(made.spec.entry_point, str), "data sets note it as a string"
    with pytest.raises(ConfigError, match="names a module"):
        make(f"somewhere:{name}")


@pytest.mark.parametrize("name", [*WORLDS, *SEEN])
def test_a_seed_and_its_actions_decide_everything(name: str) -> None:
    first, second = (
        [play(made, at_random(made, 1, np.random.default_rng(i)), i) for i in range(30)] for made in (make(name), make(name))
    )
    assert first == second
    assert len({e.observations[0].tobytes() for e in first}) > 5


def test_distances_are_those_of_networkx() -> None:
    for seed in range(5):
        world = ShortestPath(nodes=15 + seed, degree=2.5, network=seed)
        whole = networkx.from_numpy_array(world.links)
        assert networkx.is_connected(whole) and not world.links.diagonal().any() and (world.links == world.links.T).all()
        assert world.links.sum() // 2 == max(14 + seed, round((15 + seed) * 2.5 / 2))
        lengths = networkx.single_source_shortest_path_length(whole, world.goal)
        assert [lengths[n] for n in range(15 + seed)] == world.distances.tolist()
        every = dict(networkx.all_pairs_shortest_path_length(whole))
        assert sum(every[world.goal].values()) == max(sum(of.values()) for of in every.values())
        assert world.goal not in world.starts and world.distances[world.starts].max() <= world.horizon
    assert not np.array_equal(random_network(20, 3, 0), random_network(20, 3, 1))


def test_walking_costs_and_missing_costs_more() -> None:
    world = ShortestPath()
    _, facts = world.reset(seed=3)
    path = [world.node]
    while world.distances[world.node]:
        near = world.neighbours()
        (seen, reward, over, late, info) = world.step(near[world.distances[near].argmin()])
        path.append(int(seen))
        assert reward == -1 and not late and over == info["success"] == (world.distances[seen] == 0)
    assert len(path) - 1 == facts["distance"] and all(world.links[a, b] for a, b in pairwise(path))
    start, _ = world.reset(seed=4)
    steps = [world.step(start) for _ in range(world.horizon)]  # no node is its own neighbour
    assert {int(s[0]) for s in steps} == {int(start)} and [s[1] for s in steps] == [-1.0] * (world.horizon - 1) + [-11.0]
    assert steps[-1][2:4] == (False, True) and not any(s[2] or s[3] for s in steps[:-1])


def to_thing(world: KeyToDoor) -> tuple[list[Any], bool]:
    """Straight to what this room has; what every step gave, and whether the episode is over."""
    given, (row, column) = [], world.thing() or (None, None)
    room = world.room
    while world.room == room and (not given or not given[-1][2]):
        here = world.place
        move = (0 if row < here[0] else 1) if row != here[0] else (2 if column < here[1] else 3)
        given.append(world.step(move))
        if room == 0 and world.has_key:
            break
    return given, bool(given and given[-1][2])


def test_only_the_door_with_the_key_pays() -> None:
    for seed in range(20):
        world = KeyToDoor()
        first, _ = world.reset(seed=seed)
        assert first.tolist()[:3] == [0, 2, 2] and world.observation_space.contains(first)
        to_thing(world)
        assert world.has_key and world.thing() is None
        while world.room < 2:
            seen, reward, over, late, _ = world.step(0)
            assert reward == 0 and not over and not late
            if world.room == 1:
                assert seen[3:].tolist() == [4, 4], "the room in between has nothing"
        assert seen.tolist() == [2, 2, 2, *world.things[2]]
        given, over = to_thing(world)
        assert over and given[-1][1] == 1.0 and given[-1][4]["success"]
        without = KeyToDoor()
        without.reset(seed=seed)
        while without.room < 2:
            away = without.things[0] == (0, 2) or without.things[0] == (1, 2)
            without.step(1 if away else 0)
        assert not without.has_key and np.array_equal(without._observed(), seen), "the last room does not tell"
        given, over = to_thing(without)
        assert over and given[-1][1] == 0.0


def test_impossible_worlds_are_refused() -> None:
    for wrong in ({"nodes": 1}, {"horizon": 0}, {"degree": 0}, {"degree": 20}):
        with pytest.raises(ValueError, match="ShortestPath needs"):
            ShortestPath(**wrong)
    for wrong in ({"size": 1}, {"steps": 0}):
        with pytest.raises(ValueError, match="KeyToDoor needs"):
            KeyToDoor(**wrong)
    with pytest.raises(ValueError, match="as many pixels a side as nodes, got 19 for 20"):
        ShortestPathPixels(side=19)
    with pytest.raises(ValueError, match="fields of 4 pixels or more"):
        KeyToDoorPixels(field=3)


@pytest.mark.parametrize("side", [20, 31, 64])
def test_every_node_looks_different(side: int) -> None:
    world = ShortestPathPixels(side=side)
    world.reset(seed=0)
    pictures = set()
    for world.node in range(20):
        picture = world._observed()
        assert world.observation_space.contains(picture)
        pictures.add(picture.tobytes())
    assert len(pictures) == 20


@pytest.mark.parametrize(("name", "random", "best"), [(WORLDS[0], (0.05, 0.15), -3.5), (WORLDS[1], (0.035, 0.06), 1.0)])
def test_random_rarely_succeeds_and_quality_decides_how_often(name: str, random: tuple[float, float], best: float) -> None:
    dataset = ShortestPathWalks() if name == WORLDS[0] else KeyToDoorWalks()
    rewards = np.array([e.rewards[-1] for e in dataset.episodes()])
    success = np.mean(rewards == (-1 if name == WORLDS[0] else 1))
    assert random[0] < success < random[1]
    means = [np.mean([e.rewards.sum() for e in scripted(name, (rate,) * 200, 1)]) for rate in (0.0, 0.4, 0.7, 1.0)]
    assert means[0] >= best and means == sorted(means, reverse=True) and means[0] > means[1] > means[2] > means[3]


def test_the_scripted_walker_takes_shortest_paths() -> None:
    made = make(WORLDS[0])
    for i in range(40):
        episode = play(made, controller_of(WORLDS[0])(made, 0.0, np.random.default_rng(i)), i)
        assert len(episode) == made.unwrapped.distances[episode.observations[0]] and episode.terminated


@pytest.mark.parametrize("dataset", [ShortestPathWalks(count=40), KeyToDoorWalks(count=40)])
def test_walks_replay_and_come_back_from_tokens(dataset: Any) -> None:
    made = make(dataset.env)
    spaces = {k: v for k, v in dataset.metadata().items() if k in TrajectoryTokenizer.config_fields()}
    tokenizer = TrajectoryTokenizer(**spaces)
    for i, episode in enumerate(dataset.episodes()):
        assert np.array_equal(made.reset(seed=i)[0], episode.observations[0])
        for t, action in enumerate(episode.actions):
            if dataset.env == WORLDS[0]:
                assert action in made.unwrapped.neighbours(), "a random walk follows links"
            seen, reward, terminated, truncated, _ = made.step(action)
            assert np.array_equal(seen, episode.observations[t + 1]) and reward == episode.rewards[t]
        assert (terminated, truncated) == (episode.terminated, episode.truncated)
        assert tokenizer.decode(tokenizer.encode(episode)) == episode


def test_data_and_evaluation_share_no_start() -> None:
    assert env_seed(9, 99_999) < FIRST_SEED
    assert set(WORLDS) < set(CONTROLLERS)
    with pytest.raises(ConfigError, match="no scripted controller for 'Acrobot-v1'; there are ones for CartPole-v1"):
        controller_of("Acrobot-v1")
