"""The linear transformer (Katharopoulos et al. 2020, arXiv 2006.16236), as idiap's fast-transformers stores its encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...model import Model, Stream
from ...nn.initial import FanIn, Initial
from ...nn.linear_attention import Elu, Favor, LinearAttention
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import Axis
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, affine, rule


class LinearTransformer(Reference, frozen=True, kw_only=True):
    """Post-norm blocks of linear attention; every channel is embedded by its own steps. What decoding keeps of a document
    does not grow. Defaults are the paper's model of digits, pixel by pixel; `random` features make it a Performer.
    """

    name: ClassVar[str] = "linear-transformer"
    roles: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "Katharopoulos et al. 2020 (arXiv 2006.16236); fast_transformers.TransformerEncoder"
    suits: ClassVar[tuple[str, ...]] = ("next", "masked", "classify", "regress", "ctc")
    published: ClassVar[Mapping[str, Size]] = {
        "linear-transformer-mnist": Size({}, {}),
        "linear-transformer-cifar10": Size({"depth": 16}, {}),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 256
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 8
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 8
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    attend: Annotated[
        Literal["causal", "full"] | None,
        Meta(description="what every token sees; unset: as channels and objectives say"),
    ] = "causal"
    positions: Annotated[Literal["sinusoid", "none"], Meta(description="added to what is embedded")] = "sinusoid"
    random: Annotated[int, Meta(ge=2, description="random features per head (Performer); unset: elu(x) + 1")] | None = None
    act: Annotated[str, Meta(description="activation of the MLP")] = "relu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on branches and in the MLP, in training")] = 0.1
    chunk: Annotated[int, Meta(ge=1, description="tokens computed at once by the causal form; a matter of speed")] = 64

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        norm = Norm(eps=self.eps)
        attention = LinearAttention(self.heads, features=Favor(self.random) if self.random else Elu(), chunk=self.chunk)
        mlp = MLP(self.hidden or 4 * self.dim, self.act, dropout=self.dropout)
        block = (
            Residual("attention", attention, post=norm, dropout=self.dropout),
            Residual("mlp", mlp, post=norm, dropout=self.dropout),
        )
        steps = (Axis("position", 0, "sinusoid"),) if self.positions == "sinusoid" else ()
        return Model({"main": Stream(self.dim, (block,) * self.depth, norm, steps=steps, attend=self.attend)})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (("*.mixer.*", FanIn()),)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs = "streams.main.blocks.{i}.", "layers.{i}."
        names = {
            "attention.mixer.q": "attention.query_projection",
            "attention.mixer.k": "attention.key_projection",
            "attention.mixer.v": "attention.value_projection",
            "attention.mixer.o": "attention.out_projection",
            "attention.post": "norm1",
            "mlp.mixer.up": "linear1",
            "mlp.mixer.down": "linear2",
            "mlp.post": "norm2",
        }
        omega = "attention.inner_attention.feature_map.omega"
        drawn = rule(ours + "attention.mixer.features.omega", theirs + omega, None, self.depth) if self.random else []
        return [
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self.depth)],
            *drawn,
            *affine("streams.main.norm", "norm"),
        ]
