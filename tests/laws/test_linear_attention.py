"""Linear attention is its definition in all of its forms.

Shape letters: N flat tokens, H heads, F features, K head dim.
"""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omnitok.batch import collate
from omnitok.errors import ConfigError
from omnitok.layout import Layout
from omnitok.nn import linear_attention
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.linear_attention import Elu, Favor, LinearAttention, LinearAttentionModule
from omnitok.sequence import TokenSequence
from tests.laws import worlds
from tests.laws.laws import (
    close,
)
from tests.laws.worlds import randomise, world_model

SCHEMA = world_model(worlds.DECODER).schema


def layout_of(*sequences: TokenSequence) -> Layout:
    return collate(sequences, SCHEMA, sort=False).streams["main"].layout


def quadratic(module: LinearAttentionModule, x: Tensor, layout: Layout) -> Tensor:
    """By its definition: every pair of tokens."""
    q, k, v = (m(x).unflatten(-1, (module.heads, -1)) for m in (module.q, module.k, module.v))
    share = torch.einsum("ihf,jhf->ijh", module.features(q), module.features(k)) * layout.visible()[..., None]
    return module.o((torch.einsum("ijh,jhk->ihk", share, v) / (share.sum(1)[..., None] + module.eps)).flatten(1))


KINDS: dict[str, Callable[[int, torch.Generator], TokenSequence]] = {
    "causal": lambda n, g: worlds.words(n, g),
    "full": lambda n, g: worlds.patches(n, g),
    "mixed": lambda n, g: worlds.words(2, g) + worlds.sound(n, g) + worlds.words(n, g) + worlds.nodes(1, g) + worlds.tags(3, g),
    "full first": lambda n, g: worlds.patches(n, g) + worlds.words(2, g),
    "nothing": lambda n, g: worlds.words(0, g),
}


def made(config: LinearAttention, dtype: torch.dtype) -> LinearAttentionModule:
    torch.manual_seed(0)
    module = config.build(12)
    randomise(module)
    return module.to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    documents=st.lists(st.tuples(st.sampled_from(list(KINDS)), st.integers(1, 20)), min_size=1, max_size=5),
    chunk=st.integers(1, 9),
    double=st.booleans(),
    favor=st.booleans(),
)
def test_linear_attention_is_its_definition(documents, chunk, double, favor) -> None:
    """In pieces of any size, for causal, full and mixed documents, packed."""
    module = made(
        LinearAttention(2, features=Favor(8) if favor else Elu(), chunk=chunk), torch.float64 if double else torch.float32
    )
    layout = layout_of(*(KINDS[kind](n, worlds.maker(n)) for kind, n in documents))
    x = torch.randn(len(layout), 12, generator=worlds.maker(1), dtype=module.q.weight.dtype)
    with torch.no_grad():
        close(module(x, Context(layout)), quadratic(module, x, layout), "pieces", 1e-10 if double else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_linear_attention_token_by_token_is_its_definition(dtype: torch.dtype) -> None:
    """The recurrent form: one token at a time behind S and z."""
    module, cache = made(LinearAttention(2), dtype), Cache(1)
    x, whole = torch.randn(30, 12, generator=worlds.maker(1), dtype=dtype), layout_of(worlds.words(30, worlds.maker(0)))
    one = layout_of(worlds.words(1, worlds.maker(0)))
    with torch.no_grad():
        rows = [module(row[None], Context(cache.extend(one), cache=cache)) for row in x]
        close(torch.cat(rows), quadratic(module, x, whole), "recurrent", 1e-10 if dtype == torch.float64 else 1e-5)


def test_features_of_the_performer_approach_softmax() -> None:
    """More of them come nearer to exp(q . k / sqrt(K)); none is negative."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 200, 16, dtype=torch.float64) / 2
    want = (q @ k.T / 4).exp()
    errors = []
    for features in (32, 2048):
        phi = Favor(features).build(16)
        assert bool((phi(q) >= 0).all())
        errors.append(((phi(q) @ phi(k).T - want).abs().mean() / want.mean()).item())
    assert errors[1] < errors[0] / 4 and errors[1] < 0.1
    with pytest.raises(ConfigError, match="random features come in pairs: make 7 even"):
        Favor(7).build(16)


SEQUENCE = worlds.words(2, worlds.maker(0)) + worlds.patches(4, worlds.maker(1)) + worlds.words(7, worlds.maker(2))


def defined() -> None:
    module = made(LinearAttention(2, chunk=3), torch.float64)
    layout = layout_of(SEQUENCE, worlds.sound(5, worlds.maker(0)))
    x = torch.randn(len(layout), 12, generator=worlds.maker(1), dtype=torch.float64)
    with torch.no_grad():
        close(module(x, Context(layout)), quadratic(module, x, layout), "pieces", 1e-10)


def all_causal(layout: Layout, chunk: int):
    return PIECES(layout.replace(order=torch.arange(len(layout))), chunk)


def run_cut_short(layout: Layout, chunk: int):
    found = PIECES(layout, chunk)
    found.last.copy_(found.full)
    return found


PIECES = linear_attention.pieces
MUTANTS = {"tokens that see each other taken as causal": all_causal, "a run ends with its first piece": run_cut_short}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_the_law_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defined()
    monkeypatch.setattr(linear_attention, "pieces", MUTANTS[name])
    with pytest.raises(AssertionError):
        defined()
