"""Functions in place of modules compute what the modules compute, and equal documents behind a cache what unequal ones do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from omnitok.batch import collate
from omnitok.errors import ConfigError
from omnitok.generate import Session
from omnitok.model import Model, Preset, Stream, Transformer
from omnitok.nn import inline
from omnitok.nn.attention import Attention
from omnitok.nn.cache import Cache
from omnitok.nn.inline import Functions
from omnitok.nn.mixers import MLP, MLPModule
from omnitok.nn.norms import Norm, NormModule
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Axis
from tests.laws import worlds
from tests.laws.laws import cached_equals_full, close, pieces, uncut
from tests.laws.worlds import mixed, world_model

TASKS = ("write", "mood", "act", "kind", "spell")


class Ways(Preset, frozen=True):
    """What a residual, a norm, an MLP and attention can be told to do, in one stack."""

    def model(self, bound: Any, channels: Any) -> Model:
        layer, rms, bare = Norm(), Norm("rms"), Norm(bias=False)
        blocks = (
            (Residual("a", Attention(2, bias=False), layer, bare, rms, 0.5, 0.7), Residual("m", MLP(24, "silu", True), rms)),
            (Residual("a", Attention(4, kv_heads=2), rms, skip=False), Residual("m", MLP(24, bias=False), post=layer)),
            (Residual("a", Attention(2, value_dim=3), layer), Residual("m", MLP(24, "gelu_tanh"), layer)),
            (Residual("a", Attention(2, window=3), layer), Residual("n", Attention(2, qk_norm=rms), layer)),
        )
        return Model({"main": Stream(16, blocks, Norm(), steps=(Axis("position", 40), Axis("step", 40, "sinusoid")))})


MODELS = {
    "ways": world_model(Ways()),
    "decoder": world_model(worlds.DECODER),
    **{name: world_model(preset) for name, preset in worlds.STATEFUL.items()},
}


@torch.no_grad()
def equals_modules(model: Transformer, joined: bool = False) -> None:
    batch, functions = collate(mixed(TASKS), model.schema), Functions(joined)
    with_modules, with_functions = model.hidden(batch), model.hidden(batch, functions=functions)
    for stream, want in with_modules.items():
        if joined:
            close(with_functions[stream], want, "joined maps")
        else:
            assert torch.equal(with_functions[stream], want)
    for task, ask in batch.asks.items():
        assert torch.equal(model.answer(with_modules, ask, functions), model.answer(with_modules, ask)), task
    assert any(found is not module for module, found in functions.items()), "no function was made"


@pytest.mark.parametrize("name", MODELS)
def test_functions_equal_their_modules(name: str) -> None:
    """To the last bit; where queries, keys and values are one map, up to rounding."""
    equals_modules(MODELS[name])
    equals_modules(MODELS[name], joined=True)


def test_a_function_that_does_something_else_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (MLPModule, NormModule):
        make = inline.MAKERS[kind]

        def wrong(module: nn.Module, by: Functions, make: Callable[..., Any] = make) -> Callable[..., Any]:
            function = make(module, by)
            return lambda x, ctx: function(x, ctx) * 1.001

        with monkeypatch.context() as patch:
            patch.setitem(inline.MAKERS, kind, wrong)
            with pytest.raises(AssertionError):
                equals_modules(MODELS["ways"])


def test_what_has_hooks_is_in_training_or_is_something_else_stands_for_itself() -> None:
    class Other(MLPModule):
        """Computes something else."""

    plain, hooked, trained, other = (kind(MLP(8), 4).eval() for kind in (MLPModule, MLPModule, MLPModule, Other))
    hooked.register_forward_hook(lambda module, given, out: None)
    trained.train()
    functions = Functions()
    assert functions[plain] is not plain
    assert all(functions[module] is module for module in (hooked, trained, other))


def test_a_hook_inside_is_called() -> None:
    """Also where the module around it is a function."""
    model, seen = world_model(worlds.DECODER), []
    model.stream("main").blocks[0]["mlp"].mixer.up.register_forward_hook(lambda module, given, out: seen.append(out))
    Session(model).feed(worlds.words(3, worlds.maker(0)))
    assert len(seen) == 1


def equal_documents(model: Transformer) -> None:
    """Three of them, in the same pieces: their tokens take one slice of the slots."""
    g = worlds.maker(5)
    made = [worlds.words(4, g) + worlds.cart(2, g) + worlds.words(5, g) for _ in range(3)]
    cuts = uncut(made[0], model, {})
    cached_equals_full(model, [list(pieces(s, cuts)) for s in made])
    cached_equals_full(model, [list(pieces(s, (3, 8))) for s in made])


@pytest.mark.parametrize("name", MODELS)
def test_equal_documents_are_computed_as_unequal_ones(name: str) -> None:
    equal_documents(MODELS[name])
    session = Session(MODELS[name], 2).feed([worlds.words(3, worlds.maker(i)) for i in range(2)])
    assert session.cache.start == 0 and session.cache.slot is None, "no slice was taken"
    session.feed([worlds.words(2, worlds.maker(2)), None])
    assert session.cache.start is None


def one_slot_early(self: Cache, held: Any, values: torch.Tensor) -> torch.Tensor:
    """The first new token overwrites the last one held."""
    if self.start:
        self.start, start = self.start - 1, self.start
        self.width -= 1
        try:
            return PUT(self, held, values)
        finally:
            self.start, self.width = start, self.width + 1
    return PUT(self, held, values)


def causal_one_late(self: Cache, shape: tuple[int, int, int]) -> Any:
    """Every token sees the one behind it."""
    causal, allowed = SEEN(self, shape)
    return (causal, None) if allowed is None else (causal, allowed | allowed.roll(1, -1))


PUT, SEEN = Cache._put, Cache._seen


@pytest.mark.parametrize(("name", "mutant"), [("_put", one_slot_early), ("_seen", causal_one_late)])
def test_a_mistake_in_the_slice_turns_it_red(name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, name, mutant)
    with pytest.raises(AssertionError):
        equal_documents(MODELS["decoder"])


def test_an_axis_that_no_mixer_names_is_refused() -> None:
    """A cache keeps of keys what its model's mixers say they read."""
    cache = MODELS["decoder"].cache(1)
    assert cache.axes is not None and "step" not in cache.axes
    cache.extend(collate([worlds.words(2, worlds.maker(0))], MODELS["decoder"].schema).streams["main"].layout)
    with pytest.raises(ConfigError, match="reads axis 'step' of keys, which its mixer's `axes\\(\\)` does not name"):
        cache.block().key_axis("step")
