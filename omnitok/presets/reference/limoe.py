"""LIMoE (Mustafa et al. 2022, arXiv 2206.02770): one tower with experts for two kinds of tokens, compared pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.experts import MoE
from ...nn.losses import ExtraLoss
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.routing import GlobalEntropy, LocalEntropy
from ...nn.steps import Affine, Axis, Linear, Pool, Step, Table, Temperature, Unit
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, affine, rule
from ._patches import check_patch, patch_channel
from ._shared import vocab_of


def _published(patch: int, **fields: Any) -> Size:
    fields = {"patch": (3, patch, patch), "patches": (224 // patch) ** 2, **fields}
    return Size(fields, {"tokens": Channel(vocab=32000, end=1), "patches": patch_channel(fields["patch"])})


class LIMoE(Reference, frozen=True, kw_only=True):
    """One full-attention tower reads the streams `tokens` and `patches` of a pair, each by itself; every other block has
    experts that both share. Each stream has its own embedding, positions and projection. Defaults are LIMoE-B/16.

    Room at the experts is given to the surest tokens first. The paper ranks the tokens of both kinds of a whole batch;
    here they are ranked within their stream of their document, so that packing changes nothing. Training adds the
    paper's entropy losses: tokens shall choose surely, and each kind shall use at least `least_experts`, softly.
    """

    name: ClassVar[str] = "limoe"
    source: ClassVar[str] = "Mustafa et al. 2022 (arXiv 2206.02770): its formulas; no code or weights are published"
    suits: ClassVar[tuple[str, ...]] = ("contrast",)
    roles: ClassVar[tuple[str, ...]] = ("tokens", "patches")
    published: ClassVar[Mapping[str, Size]] = {
        "limoe-b16": _published(16),
        "limoe-b32": _published(32),
        "limoe-l16": _published(16, dim=1024, depth=24, heads=16),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the tower")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of an MLP and of an expert; unset: 4 dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest stream of tokens")] = 16
    patch: Annotated[tuple[int, int, int], Meta(description="bands, height and width of a patch")] = (3, 16, 16)
    patches: Annotated[int, Meta(ge=1, description="patches of the longest stream of patches")] = 196
    embedding: Annotated[int, Meta(ge=1, description="width of what is compared; unset: dim")] | None = None
    every: Annotated[int, Meta(ge=1, description="blocks from one with experts to the next; 2: every other one")] = 2
    experts: Annotated[int, Meta(ge=1, description="experts of a sparse block")] = 32
    top_k: Annotated[int, Meta(ge=1, description="experts that a token goes to")] = 1
    capacity_factor: Annotated[float, Meta(gt=0, description="room of an expert, in even shares of a document")] = 1.0
    noise: Annotated[float, Meta(ge=0, description="noise on the router's logits in training, in 1 / experts")] = 1.0
    local: Annotated[float, Meta(ge=0, description="weight of the loss for sure choices, of tokens")] = 0.04
    even: Annotated[float, Meta(ge=0, description="weight of the loss for the use of many experts, of both")] = 0.04
    least_experts: Annotated[tuple[int, int], Meta(description="experts that tokens and patches shall use at least")] = (9, 20)
    act: Annotated[str, Meta(description="activation of the MLPs")] = "gelu_tanh"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-6
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        channel = bound["patches"]
        check_patch(self.name, self.patch, channel)
        project: tuple[Step, ...] = (Pool(), Linear(self.embedding or self.dim, bias=False), Unit())
        tokens = Stream(
            self.dim,
            tuple(self._block(i) for i in range(self.depth)),
            Norm(eps=self.eps),
            embed={"tokens": (Table(vocab_of(self, bound["tokens"])),)},
            steps=(Axis("position", self.positions),),
            heads={"contrast": (*project, Temperature())},
            attend="full",
            losses=self._losses("tokens"),
        )
        patches = Stream(
            self.dim,
            like="tokens",
            embed={"patches": (Affine(channel.mean, channel.std), Linear())},
            steps=(Axis("position", self.patches),),
            heads={"contrast": project},
            attend="full",
            losses=self._losses("patches"),
        )
        return Model({"tokens": tokens, "patches": patches})

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        """Our own names without "streams.", as nobody has published others."""
        names = ["tokens.norm", "patches.embed.patches.1"]
        for i in range(self.depth):
            block = f"tokens.blocks.{i}."
            names += [f"{block}attention.mixer.{x}" for x in "qkvo"] + [block + "attention.pre", block + "mlp.pre"]
            names += [f"{block}mlp.mixer.{x}" for x in ("up", "down")]
        single = ["tokens.embed.tokens.0.weight", "tokens.heads.contrast.3.log"]
        single += [f"{s}.{x}" for s in self.roles for x in ("steps.0.table", "heads.contrast.1.weight")]
        single += [f"tokens.blocks.{i}.mlp.mixer.router.weight" for i in range(self.depth) if self._sparse(i)]
        both = [r for n in names for r in affine(f"streams.{n}", n)]
        return [*both, *(r for n in single for r in rule(f"streams.{n}", n))]

    def _sparse(self, number: int) -> bool:
        return number % self.every == self.every - 1

    def _block(self, number: int) -> tuple[Residual, ...]:
        mlp, norm = MLP(self.hidden or 4 * self.dim, self.act), Norm(eps=self.eps)
        moe = MoE(
            self.experts,
            mlp,
            self.top_k,
            capacity_factor=self.capacity_factor,
            priority="probability",
            noise=self.noise,
        )
        mixer = moe if self._sparse(number) else mlp
        return (
            Residual("attention", Attention(self.heads), pre=norm, dropout=self.dropout),
            Residual("mlp", mixer, pre=norm, dropout=self.dropout),
        )

    def _losses(self, stream: str) -> tuple[ExtraLoss, ...]:
        least = min(self.least_experts[self.roles.index(stream)], self.experts)
        losses: list[ExtraLoss] = [GlobalEntropy(self.even, math.log(least))]
        losses += [LocalEntropy(self.local)] if stream == "tokens" else []
        return tuple(loss for loss in losses if loss.weight and any(map(self._sparse, range(self.depth))))
