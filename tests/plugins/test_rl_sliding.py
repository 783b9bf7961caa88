"""Windows that slide give what windows computed anew give, and only what is new is embedded and mapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from omnitok_trajectory import sliding
from omnitok_trajectory.rollout import ModelPolicy
from omnitok_trajectory.tokenizer import TrajectoryTokenizer

from omnitok.assemble import build
from omnitok.model import Model, Preset, Stream, Transformer
from omnitok.nn.attention import Attention
from omnitok.nn.inline import Functions
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import Rope
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Axis
from omnitok.objectives import Next
from omnitok.presets.reference.decision_transformer import DecisionTransformer
from omnitok.sequence import Span, TokenSequence

TOKENIZER = TrajectoryTokenizer(
    observation_space={"type": "Box", "shape": [4]},
    action_space={"type": "Box", "shape": [2], "low": -1.0, "high": 1.0},
)
LENGTH, CONTEXT = 9, 12


class Small(Preset, frozen=True):
    """Three blocks of attention and MLP, told apart by where they take places from."""

    name: ClassVar[str] = "small-for-windows"
    roles: ClassVar[tuple[str, ...]] = ()
    rope: bool = False
    table: bool = False
    depth: int = 3

    def model(self, bound: Any, channels: Any) -> Model:
        attention = Attention(2, positions=(Rope(),) if self.rope else (), qk_norm=Norm("rms") if self.rope else None)
        block = (Residual("mixer", attention, pre=Norm()), Residual("mlp", MLP(64), pre=Norm()))
        steps = (Axis("position", 64),) if self.table else ()
        return Model({"main": Stream(32, (block,) * self.depth, Norm(), attend="causal", steps=steps)})


def model_of(preset: Any) -> Transformer:
    torch.manual_seed(0)
    channels, head = TOKENIZER.channels(), TOKENIZER.channel("action")
    roles = {"condition": TOKENIZER.channel("return_to_go"), "observation": TOKENIZER.channel("observation"), "action": head}
    model = build(preset, channels, Next(head).heads("", channels), roles=roles if preset.roles else {}).double().eval()
    for p in model.parameters():
        p.data.mul_(3.0)
    return model


SLIDES = {
    "decision transformer": DecisionTransformer(dim=32, steps=1025),
    "rotary, with norms of queries and keys": Small(rope=True),
    "no places but steps": Small(),
}
STAYS = {"a table of positions": Small(table=True), "one block": Small(depth=1)}
PROMPT = TokenSequence((Span("control", torch.tensor([1, 1])),))


def acted(policy: ModelPolicy, episodes: int = 3, dropped_at: int = 7) -> list[np.ndarray]:
    """Actions of every step; one episode ends while the window slides."""
    g, rows = np.random.default_rng(0), list(range(episodes))
    policy.reset(episodes)
    found = []
    for t in range(LENGTH):
        rows = [row for row in rows if not (t == dropped_at and row == 1)]
        seen = g.normal(size=(episodes, 4)).astype(np.float32)
        found.append(np.stack(policy.act(rows, 5.0 - 0.1 * np.full(len(rows), t), [seen[row] for row in rows])))
    return found


def anew(policy: ModelPolicy) -> ModelPolicy:
    window = policy.window
    window.slide, window.blocks = None, window.rows.blocks[:-1]
    return policy


def same(found: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> bool:
    return all(np.allclose(x, y, atol=1e-6) for x, y in zip(found, want, strict=True))


@pytest.mark.parametrize("name", [*SLIDES, *STAYS])
@pytest.mark.parametrize("prompt", [None, PROMPT])
def test_what_slides_is_what_is_computed_anew(name: str, prompt: TokenSequence | None) -> None:
    preset = {**SLIDES, **STAYS}[name]
    if prompt is not None and preset.roles:
        pytest.skip("a Decision Transformer's prompt has no step")
    model, context = model_of(preset), CONTEXT + len(prompt or ())
    policy = ModelPolicy(TOKENIZER, model, context, prompt=prompt)
    want = acted(anew(ModelPolicy(TOKENIZER, model, context, prompt=prompt)))
    assert same(acted(policy), want)
    assert (policy.window.slide is not None) == (name in SLIDES)
    assert same(acted(policy), want), "a second time, with the structures of the first"


def test_only_what_is_new_is_embedded_and_mapped() -> None:
    model, seen = model_of(SLIDES["decision transformer"]), {"embedded": 0, "mapped": 0}
    first = model.stream("main").blocks[0]["attention"].mixer
    first.q.register_forward_hook(lambda module, given, out: seen.update(mapped=seen["mapped"] + len(out)))
    steps = model.stream("main").steps
    steps.register_forward_hook(lambda module, given, out: seen.update(embedded=seen["embedded"] + len(out)))
    acted(ModelPolicy(TOKENIZER, model, CONTEXT), 1, -1)
    cached, window = 2 + 3 * 3, 3 * 4 - 1
    assert seen == dict.fromkeys(seen, cached + window + 3 * (LENGTH - 5))


def forgets_to_slide(self: sliding.Slide, name: str, rows: torch.Tensor) -> torch.Tensor:
    """What was kept stays where it was."""
    found = ADD(self, name, rows)
    if name == "k" and name in self.kept:
        self.kept[name] = self.kept[name].roll(1, 1)
    return found


ADD = sliding.Slide.add


def test_a_window_that_slides_wrongly_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(SLIDES["decision transformer"])
    want = acted(anew(ModelPolicy(TOKENIZER, model, CONTEXT)))
    monkeypatch.setattr(sliding.Slide, "add", forgets_to_slide)
    assert not same(acted(ModelPolicy(TOKENIZER, model, CONTEXT)), want)


def test_weights_may_change_between_episodes() -> None:
    """What is copied of them is copied anew when episodes begin."""
    model = model_of(SLIDES["decision transformer"])
    policy = ModelPolicy(TOKENIZER, model, CONTEXT)
    before = acted(policy)
    for p in model.parameters():
        p.data.mul_(0.7)
    after = acted(policy)
    assert not same(after, before) and same(after, acted(ModelPolicy(TOKENIZER, model, CONTEXT)))
    assert isinstance(policy.window.functions, Functions)
