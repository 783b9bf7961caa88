"""GPT-2 (Radford et al. 2019), as Hugging Face's GPT2LMHeadModel stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from ...model import Model, Stream
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Axis, Table, Tied
from ...tokenizer import Channel
from ...weights import Reference, Rule, Tie, rule
from ._shared import prenorm_block, prenorm_rules, vocab_of


class GPT2(Reference, frozen=True, kw_only=True):
    """A causal decoder: pre-norm blocks, learned positions, a tied head. Defaults are GPT-2 small."""

    name: ClassVar[str] = "gpt2"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document")] = 1024
    act: Annotated[str, Meta(description="activation of the MLP")] = "gelu_tanh"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.1

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm = vocab_of(self, bound["tokens"]), Norm(eps=self.eps)
        main = Stream(
            self.dim,
            (prenorm_block(self.heads, self.hidden or 4 * self.dim, self.act, norm, self.dropout),) * self.depth,
            norm,
            embed={"tokens": (Table(vocab),)},
            steps=(Axis("position", self.positions, std=INIT_STD),),
            heads={"tokens": (Tied("tokens", vocab),)},
            attend="causal",
        )
        return Model({"main": main}, tie=True)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        return [
            *rule("streams.main.embed.tokens.0.weight", ("transformer.wte.weight", "lm_head.weight"), Tie()),
            *rule("streams.main.steps.0.table", "transformer.wpe.weight"),
            *prenorm_rules("transformer.", self.depth),
        ]
