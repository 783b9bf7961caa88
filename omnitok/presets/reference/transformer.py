"""The Transformer (Vaswani et al. 2017, arXiv 1706.03762), as torch.nn.Transformer stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import FanIn, Initial, Xavier
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.steps import Axis, Dropout, Scale, Step
from ...tokenizer import Channel
from ...weights import Cat, Reference, Rule, Size, affine, rule
from ._encdec import encdec_block


class VanillaTransformer(Reference, frozen=True, kw_only=True):
    """An encoder, and a decoder that reads it; either ends with a norm, which the paper has not. Defaults are its base model.

    Channels embed themselves, as they do around torch.nn.Transformer; a channel that both streams hold has one
    embedding, which the head shares. `sinusoid` adds what the paper puts in front of the blocks.
    """

    name: ClassVar[str] = "transformer"
    roles: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "Vaswani et al. 2017 (arXiv 1706.03762); torch.nn.Transformer"
    suits: ClassVar[tuple[str, ...]] = ("seq2seq",)
    published: ClassVar[Mapping[str, Size]] = {
        "transformer-base": Size({}, {}),
        "transformer-big": Size({"dim": 1024, "heads": 16, "dropout": 0.3}, {}),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the streams")] = 512
    depth: Annotated[int, Meta(ge=1, description="blocks of the encoder")] = 6
    decoder_depth: Annotated[int, Meta(ge=1, description="blocks of the decoder; unset: depth")] | None = None
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 8
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    norm_first: Annotated[bool, Meta(description="norms in front of attention and MLP instead of behind the sums")] = False
    sinusoid: Annotated[bool, Meta(description="embeddings times the square root of dim, plus sinusoids of the position")] = True
    act: Annotated[str, Meta(description="activation of the MLP")] = "relu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="everywhere, in training")] = 0.1

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        encoder = self._stream(self.depth, False).replace(attend="full")
        decoder = self._stream(self.decoder_depth or self.depth, True).replace(attend="causal", memory="encoder")
        return Model({"encoder": encoder, "decoder": decoder}, tie=True)

    def _stream(self, depth: int, cross: bool) -> Stream:
        norm, attention = Norm(eps=self.eps), Attention(self.heads, dropout=self.dropout)
        mlp = MLP(self.hidden or 4 * self.dim, self.act, dropout=self.dropout)
        block = encdec_block(attention, mlp, norm, self.norm_first, cross, self.dropout)
        steps: tuple[Step, ...] = (Scale(self.dim**0.5), Axis("position", 0, "sinusoid"), Dropout(self.dropout))
        return Stream(self.dim, (block,) * depth, norm, steps=steps if self.sinusoid else ())

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (
            ("*.mixer.[qkv].weight", Xavier(parts=3)),
            ("*.mixer.*.weight", Xavier()),
            ("*.mlp.mixer.*.bias", FanIn()),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        return [*self._stream_rules("encoder", self.depth), *self._stream_rules("decoder", self.decoder_depth or self.depth)]

    def _stream_rules(self, stream: str, depth: int) -> list[Rule]:
        ours, theirs, place = f"streams.{stream}.blocks.{{i}}.", f"{stream}.layers.{{i}}.", "pre" if self.norm_first else "post"
        kinds = {"attention": "self_attn"} | ({"cross": "multihead_attn"} if stream == "decoder" else {})
        names = {"mlp.mixer.up": "linear1", "mlp.mixer.down": "linear2"}
        names |= {f"{a}.mixer.o": f"{b}.out_proj" for a, b in kinds.items()}
        names |= {f"{a}.{place}": f"norm{i}" for i, a in enumerate((*kinds, "mlp"), 1)}
        fused = [
            r
            for a, b in kinds.items()
            for w in ("weight", "bias")
            for r in rule([f"{ours}{a}.mixer.{x}.{w}" for x in "qkv"], f"{theirs}{b}.in_proj_{w}", Cat(), depth)
        ]
        return [
            *fused,
            *(r for a, b in names.items() for r in affine(ours + a, theirs + b, None, depth)),
            *affine(f"streams.{stream}.norm", f"{stream}.norm"),
        ]
