"""Permuting the tokens of a set, with their pairs, permutes their outputs and leaves everything else as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omnitok.batch import collate
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import PairTable, Rope
from omnitok.nn.residual import Residual
from omnitok.sequence import TokenSequence
from tests.laws import worlds
from tests.laws.laws import close
from tests.laws.worlds import mark, world_model


class AlongEdges(Preset, frozen=True):
    """Attention along pairs beside attention to all."""

    def model(self, bound, channels):
        def block(over):
            attention = Attention(2, positions=(Rope(), PairTable("edge", 3)), over=over)
            return (Residual("attention", attention, pre=Norm()), Residual("mlp", MLP(32), pre=Norm()))

        return Model({"main": Stream(16, (block("edge"), block(None)), Norm())})


MODELS = {"decoder": world_model(worlds.DECODER), "edges": world_model(AlongEdges()), "absolute": world_model(worlds.Absolute())}


def permuted(sequence: TokenSequence, turn: Tensor) -> TokenSequence:
    """Token i of the result is token turn[i] of the only span."""
    (span,) = sequence.spans
    back = turn.argsort()
    pairs = {name: (back[ends], labels) for name, (ends, labels) in sequence.pairs.items()}
    axes = {name: values[turn] for name, values in span.axes.items()}
    return TokenSequence((span.replace(features=span.features[turn], axes=axes),), pairs)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 999),
    model=st.sampled_from(list(MODELS)),
    backend=st.sampled_from(["auto", "dense", "split", "rows"]),
)
def test_permuting_a_set(n, seed, model, backend):
    """Between words on either side and a readout behind: nodes move, words and the readout's answer stay."""
    g, model = worlds.maker(seed), MODELS[model]
    nodes, turn = worlds.nodes(n, g), torch.randperm(n, generator=g)
    before, after = worlds.words(2, g), worlds.words(3, g)
    first, second = (mark("kind", worlds.TASKS["kind"], before + s + after, {"label": 0}) for s in (nodes, permuted(nodes, turn)))
    with torch.no_grad():
        one, two = (model.hidden(collate([d], model.schema), backend=backend)["main"] for d in (first, second))
        answers = [model(collate([d], model.schema), backend=backend)["kind"] for d in (first, second)]
    place = torch.cat([torch.arange(2), 2 + turn, torch.arange(2 + n, len(one))])
    close(two, one[place], "hidden rows under a permutation")
    close(answers[1], answers[0], "the readout's answer under a permutation")


@pytest.mark.parametrize("make", [worlds.sound, worlds.patches])
def test_an_ordered_channel_is_not_a_set(make):
    """The control: where order means something, turning it round changes what the readout says."""
    model, sequence = MODELS["decoder"], make(5, worlds.maker(0))
    (span,) = sequence.spans
    turned = TokenSequence((span.replace(features=span.features.flip(0)),))
    documents = [mark("kind", worlds.TASKS["kind"], s, {"label": 0}) for s in (sequence, turned)]
    with torch.no_grad():
        one, two = model(collate(documents, model.schema))["kind"]
    assert (one - two).abs().max() > 1e-3
