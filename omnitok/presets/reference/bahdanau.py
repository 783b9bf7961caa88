"""RNNsearch (Bahdanau, Cho and Bengio 2014, arXiv 1409.0473): the model that brought attention to translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from msgspec import Meta
from torch import Tensor

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.bahdanau import Annotations, Maxout, Search
from ...nn.initial import Constant, Initial, Normal, Orthogonal
from ...nn.residual import Residual
from ...nn.steps import Linear, Table
from ...tokenizer import Channel
from ...weights import Op, Reference, Rule, Shape, Size, rule

GATES = ("", "_z", "_r")
"""of the candidate, the update gate and the reset gate"""


@dataclass(frozen=True)
class Rows(Op):
    """Several matrices of theirs, one under the other."""

    parts: int

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return [torch.cat(theirs)]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return list(ours[0].chunk(self.parts))


def unit_rules(ours: str, theirs: str) -> list[Rule]:
    """One gated unit."""
    return [
        *rule(ours + "words.weight", [f"{theirs}W{x}" for x in GATES], Rows(3)),
        *rule(ours + "words.bias", [f"{theirs}b{x}" for x in GATES], Rows(3)),
        *rule(ours + "state.weight", theirs + "U"),
        *rule(ours + "gates.weight", [f"{theirs}U{x}" for x in GATES[1:]], Rows(2)),
    ]


class Bahdanau(Reference, frozen=True, kw_only=True):
    """A bidirectional encoder and a decoder that searches its annotations before every word. Defaults are RNNsearch-50.

    The weight map names every matrix as appendix A of the paper does; `b` with the same index is its bias.
    """

    name: ClassVar[str] = "bahdanau"
    roles: ClassVar[tuple[str, ...]] = ("source", "target")
    source: ClassVar[str] = "Bahdanau, Cho and Bengio 2014 (arXiv 1409.0473), appendix A"
    suits: ClassVar[tuple[str, ...]] = ("seq2seq",)
    published: ClassVar[Mapping[str, Size]] = {
        "rnnsearch-50": Size({}, {"source": Channel(vocab=30000), "target": Channel(vocab=30000)})
    }
    dim: Annotated[int, Meta(ge=1, description="columns of the word embeddings (m)")] = 620
    hidden: Annotated[int, Meta(ge=1, description="units of every recurrent layer (n)")] = 1000
    align: Annotated[int, Meta(ge=1, description="units of the alignment model (n')")] = 1000
    maxout: Annotated[int, Meta(ge=1, description="units of the deep output (l)")] = 500

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        for role, channel in bound.items():
            if channel.vocab is None:
                raise ConfigError(f"bahdanau: role {role!r} needs a channel of ids, and it is bound to one of features")
        words, both = bound["target"].vocab or 0, 2 * self.hidden
        search = Search(self.hidden, both, self.align, self.dim)
        encoder = Stream(
            both,
            ((Residual("recurrent", Annotations(self.dim), skip=False),),),
            embed={"source": (Table(bound["source"].vocab or 0),)},
            attend="full",
            width=self.dim,
        )
        decoder = Stream(
            2 * self.maxout,
            ((Residual("search", search, skip=False),),),
            embed={"target": (Table(words),)},
            heads={"target": (Maxout(), Linear(words))},
            memory="encoder",
            attend="causal",
            width=self.dim,
        )
        return Model({"encoder": encoder, "decoder": decoder})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (
            ("*.bias", Constant()),
            ("*.alignment.energy", Constant()),
            ("*.alignment.*", Normal(0.001)),
            ("*.state.weight", Orthogonal()),
            ("*.gates.weight", Orthogonal(2)),
            ("*.weight", Normal(0.01)),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        encoder, decoder = "streams.encoder.blocks.0.recurrent.mixer.", "streams.decoder.blocks.0.search.mixer."
        names = {"first": "W_s", "out_state": "U_o", "out_word": "V_o", "out_context": "C_o"}
        names |= {"alignment.q": "W_a", "alignment.k": "U_a"}
        return [
            *rule("streams.encoder.embed.source.0.weight", "encoder.E"),
            *unit_rules(encoder + "ways.0.", "encoder.forward_rnn."),
            *unit_rules(encoder + "ways.1.", "encoder.backward_rnn."),
            *rule("streams.decoder.embed.target.0.weight", "decoder.E"),
            *unit_rules(decoder + "unit.", "decoder."),
            *rule(decoder + "context.weight", [f"decoder.C{x}" for x in GATES], Rows(3)),
            *[r for a, b in names.items() for r in rule(f"{decoder}{a}.weight", f"decoder.{b}")],
            *rule(decoder + "alignment.energy", "decoder.v_a", Shape((1, self.align), (self.align,))),
            *rule(decoder + "first.bias", "decoder.b_s"),
            *rule(decoder + "out_word.bias", "decoder.b_t"),
            *rule("streams.decoder.heads.target.1.weight", "decoder.W_o"),
            *rule("streams.decoder.heads.target.1.bias", "decoder.b_o"),
        ]
