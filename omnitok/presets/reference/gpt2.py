"""GPT-2 (Radford et al. 2019), as Hugging Face's GPT2LMHeadModel stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.mixers import MLP, Residual
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Axis, Table, Tied
from ...tokenizer import Channel
from ...weights import Cat, Reference, Rule, T, Tie, affine, rule


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


def vocab_of(preset: Reference, channel: Channel) -> int:
    """The number of ids of the channel bound to `tokens`. Raises ConfigError where it holds features."""
    if channel.vocab is None:
        raise ConfigError(f"{preset.name}: role 'tokens' needs a channel of ids, and it is bound to one of features")  # type: ignore[attr-defined]
    return channel.vocab


def prenorm_block(heads: int, hidden: int, act: str, norm: Norm, dropout: float) -> tuple[Residual, ...]:
    """Attention and MLP, each with its norm in front."""
    return (
        Residual("attention", Attention(heads), pre=norm, dropout=dropout),
        Residual("mlp", MLP(hidden, act), pre=norm, dropout=dropout),
    )


def prenorm_rules(prefix: str, depth: int) -> list[Rule]:
    """The blocks and the last norm, under `prefix` of their names: q, k and v in one tensor, weights as [in, out]."""
    ours, theirs = "streams.main.blocks.{i}.", prefix + "h.{i}."
    qkv = [ours + f"attention.mixer.{x}." for x in "qkv"]
    return [
        *rule([k + "weight" for k in qkv], theirs + "attn.c_attn.weight", Cat(transposed=True), depth),
        *rule([k + "bias" for k in qkv], theirs + "attn.c_attn.bias", Cat(), depth),
        *affine(ours + "attention.mixer.o", theirs + "attn.c_proj", T(), depth),
        *affine(ours + "attention.pre", theirs + "ln_1", None, depth),
        *affine(ours + "mlp.mixer.up", theirs + "mlp.c_fc", T(), depth),
        *affine(ours + "mlp.mixer.down", theirs + "mlp.c_proj", T(), depth),
        *affine(ours + "mlp.pre", theirs + "ln_2", None, depth),
        *affine("streams.main.norm", prefix + "ln_f"),
    ]
