"""The laws of the backbone can fail: each of these mistakes in attention, convolution, pooling or cache turns one red."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from omnitok import batch as batch_module
from omnitok.model import Transformer
from omnitok.nn import backends, steps
from omnitok.nn.block import Block, dense_block, grid_block
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.conv import ConvModule
from omnitok.nn.norms import NormModule
from omnitok.nn.positions import PairTableModule, RopeModule
from omnitok.presets.reference.conformer import Conformer
from tests.laws import worlds
from tests.laws.attentions import equals_formula
from tests.laws.laws import (
    answers_do_not_see_targets,
    cached_equals_full,
    neighbours_do_not_matter,
    packed_equals_alone,
    pieces,
    uncut,
)
from tests.laws.worlds import TASKS, mixed, world_model

DECODER, ABSOLUTE = world_model(worlds.DECODER), world_model(worlds.Absolute())
CONFORMER = world_model(Conformer(16, 1, 2, kernel=5, norm="segment"), worlds.FULL_TASKS)
PACKED = mixed(("mood", "act", "write", "kind", "spell", "unmask-sound"), sizes=(4, 2, 6))
FULL = ("kind", "mood", "spell", "unmask-sound")
G = worlds.maker(0)
KINDS = (
    worlds.words(5, G),
    worlds.patches(3, G) + worlds.words(2, G),
    worlds.words(1, G) + worlds.nodes(3, G) + worlds.cart(1, G),
)
PARTS = [list(pieces(s, uncut(s, DECODER, {})[::2])) for s in KINDS]


LAWS = {
    "dense": lambda: equals_formula("plain", "dense"),
    "rows": lambda: equals_formula("plain", "rows"),
    "split": lambda: equals_formula("plain", "split"),
    "rotary": lambda: equals_formula("rotary", "split"),
    "window": lambda: equals_formula("window", "split"),
    "biases": lambda: equals_formula("pair biases", "split"),
    "pairs": lambda: equals_formula("along pairs", "split"),
    "edges": lambda: equals_formula("along pairs with biases", "edges"),
    "packed": lambda: packed_equals_alone(DECODER, PACKED, TASKS, backward=False),
    "packed, dense": lambda: packed_equals_alone(DECODER, PACKED, TASKS, "dense", backward=False),
    "packed, absolute positions": lambda: packed_equals_alone(ABSOLUTE, PACKED, TASKS, backward=False),
    "gradients": lambda: packed_equals_alone(DECODER, PACKED, TASKS, "rows"),
    "convolution": lambda: packed_equals_alone(CONFORMER, mixed(FULL), TASKS, backward=False),
    "neighbours": lambda: neighbours_do_not_matter(CONFORMER, mixed(FULL), mixed(FULL, seed=1), TASKS),
    "targets": lambda: answers_do_not_see_targets(DECODER, *worlds.alike_before_the_first_target("act"), TASKS),
    "cache": lambda: cached_equals_full(DECODER, PARTS),
}


def changed(fn: Callable, change: Callable) -> Callable:
    """`fn` whose result is changed."""
    return lambda *args, **kwargs: change(fn(*args, **kwargs))


def opposite(block: Block) -> Block:
    return replace(block, allowed=~block.allowed)


def shifted(block: Block) -> Block:
    return replace(block, allowed=block.allowed.roll(1, -1))


MASK, CONV, EXTEND, SEEN = Block.mask, ConvModule.forward, Cache.extend, Cache._seen
SEGMENT = NormModule._segment
CHOOSE_MASK = backends._mask
EDGES, NEAR, LISTED, ROTATE = backends._edge_list, backends._near, backends._listed, RopeModule.rotate
ORDER_OF, EMBED, RUNS, SDPA = (
    batch_module.order_of,
    Transformer.embed,
    batch_module.build_runs,
    backends._sdpa,
)


def one_ahead(block, spec, dtype):
    """The causal rule lets the next token be seen."""
    if not block.causal:
        return CHOOSE_MASK(block, spec, dtype)
    return torch.ones(block.shape[1:], dtype=torch.bool).tril(1)[None, None], False


def without_segments(queries, keys, ordered):
    """Every document of the stream is visible, in its order."""
    block = dense_block(queries, keys, ordered)
    return replace(block, allowed=(keys.order[None, :] <= queries.order[:, None])[None])


def conv_without_gap(self, x, ctx):
    """Documents side by side, padded only at the ends of the stream."""
    return CONV(self, x, Context(ctx.layout.replace(segment=ctx.layout.segment * 0, lengths=(len(x),))))


def norm_over_the_stream(self, x, ctx):
    return SEGMENT(self, x, Context(ctx.layout.replace(segment=ctx.layout.segment * 0, lengths=(len(x),))))


def pool_everything(self, x, ctx):
    """Every group gets the mean of all rows."""
    return x.mean(0).expand(ctx.groups, -1) if ctx.group is not None else x


def one_span(self, packed, module, layout, ctx):
    """A front end is told of one span only."""
    content = {c: v.replace(lengths=(sum(v.lengths),)) for c, v in packed.content.items()}
    return EMBED(self, packed.replace(content=content), module, layout, ctx)


def slot_off_by_one(self, layout):
    """The first new token overwrites the last one held."""
    moved = EXTEND(self, layout)
    self.slot = (self.slot - 1).clamp(min=0)
    return moved


def held_not_seen(self, shape):
    """New tokens see each other only."""
    causal, allowed = SEEN(self, shape)
    held = torch.arange(self.width) < torch.tensor(self.before)[:, None, None]
    return (causal, None) if allowed is None else (causal, allowed & ~held)


def position_not_shifted(self, layout):
    return EXTEND(self, layout).replace(position=layout.position)


def one_more_seen(self, shape):
    """Every token lets the one behind it be seen."""
    causal, allowed = SEEN(self, shape)
    return (causal, None) if allowed is None else (causal, allowed | allowed.roll(1, -1))


def pairs_not_shifted(self, shape):
    """Pairs whose keys are looked for at the start of the document."""
    grid = self.part.grid
    return {
        n: (grid.place[e[0]] * shape[2] + grid.place[e[1]] % grid.index.shape[1], v)
        for n, (e, v) in self.part.pairs.items()
        if len(v)
    }


def runs_without_order(lengths, rules, order, pairs):
    return RUNS(lengths, ["causal" if r == "order" else r for r in rules], order, pairs)


def position_of_the_stream(self, packed, module, layout, ctx):
    """Positions count from the start of the batch. Rotations alone would not show it: they are relative."""
    layout.position.copy_(torch.arange(len(layout)))
    return EMBED(self, packed, module, layout, ctx)


def gradient_scaled(q, k, v, block, spec, ctx):
    """The right answer with a gradient that grows with the documents packed."""
    out = SDPA(q, k, v, block, spec, ctx)
    return out + (out - out.detach()) * 0.1 * (len(q) - 1)


MUTANTS = {
    "mask inverted": ("dense", backends, "dense_block", changed(dense_block, opposite)),
    "mask inverted in rows": ("rows", backends, "grid_block", changed(grid_block, opposite)),
    "mask shifted by one": ("dense", backends, "dense_block", changed(dense_block, shifted)),
    "mask shifted by one in rows": ("rows", backends, "grid_block", changed(grid_block, shifted)),
    "segment dropped": ("dense", backends, "dense_block", without_segments),
    "segment dropped, in a whole model": ("packed, dense", backends, "dense_block", without_segments),
    "causal rule inverted": ("window", Block, "mask", lambda self: MASK(self).transpose(1, 2) if self.causal else MASK(self)),
    "causal rule not asked for": ("split", backends, "_mask", changed(CHOOSE_MASK, lambda found: (found[0], False))),
    "the next token is seen": ("targets", backends, "_mask", one_ahead),
    "order off by one": ("dense", batch_module, "order_of", lambda full, starts: (ORDER_OF(full, starts) - 1).clamp(min=0)),
    "mixed rules run as causal": ("split", batch_module, "build_runs", runs_without_order),
    "pairs turned round": ("edges", backends, "_edge_list", changed(EDGES, lambda found: (found[0].flip(0), found[1]))),
    "window one too wide": ("window", backends, "_near", lambda q, k, window: NEAR(q, k, window + 1)),
    "pairs not listed": ("pairs", backends, "_listed", changed(LISTED, torch.ones_like)),
    "biases dropped": ("biases", PairTableModule, "bias", lambda self, block: None),
    "rotation the wrong way": ("rotary", RopeModule, "rotate", lambda self, x, t: ROTATE(self, x, [(c, -s) for c, s in t])),
    "position of the stream, not the document": (
        "packed, absolute positions",
        Transformer,
        "embed",
        position_of_the_stream,
    ),
    "neighbour leaked through a convolution without a gap": ("convolution", ConvModule, "forward", conv_without_gap),
    "neighbour leaked through a convolution, by content": ("neighbours", ConvModule, "forward", conv_without_gap),
    "neighbour leaked through a norm": ("neighbours", NormModule, "_segment", norm_over_the_stream),
    "neighbour leaked through a pool": ("packed", steps.PoolModule, "forward", pool_everything),
    "neighbour leaked through a front end": ("packed", Transformer, "embed", one_span),
    "gradient scaled by the batch": ("gradients", backends, "_sdpa", gradient_scaled),
    "cache slot off by one": ("cache", Cache, "extend", slot_off_by_one),
    "cache not seen": ("cache", Cache, "_seen", held_not_seen),
    "cache seen one late": ("cache", Cache, "_seen", one_more_seen),
    "cache position not shifted": ("cache", Cache, "extend", position_not_shifted),
    "cache pairs not shifted": ("cache", Cache, "_pairs", pairs_not_shifted),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_law_holds_without_a_mutant(law):
    LAWS[law]()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_its_law_red(name, monkeypatch):
    law, *change = MUTANTS[name]
    if law in ("dense", "rows", "split", "rotary", "window", "biases", "pairs", "edges"):
        LAWS[law]()  # the definition's answer is kept before anything is changed
    monkeypatch.setattr(*change)
    with pytest.raises(AssertionError):
        LAWS[law]()
