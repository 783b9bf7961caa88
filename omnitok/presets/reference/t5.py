"""T5 (arXiv 1910.10683) and its version 1.1, as Hugging Face's T5ForConditionalGeneration stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta
from torch import Tensor, equal

from ...errors import CheckpointError, ConfigError, unknown_name
from ...nn.initial import Initial, Normal
from ...nn.mixers import MLP, Mixer
from ...nn.steps import Linear, Scale, Step, Tied
from ...tokenizer import Channel
from ...weights import Op, Rule, Size, rule
from ._config import ACTS
from ._t5 import HEAD, SENTINELS, TABLES, T5Family

VOCAB = 32128
FEEDS = {
    **{name: (ours, False) for name, ours in ACTS.items()},
    **{f"gated-{name}": (ours, True) for name, ours in ACTS.items()},
    "gated-gelu": ("gelu_tanh", True),
}
"""their `feed_forward_proj` -> our (act, gated); "gated-gelu" is the approximation by tanh"""


class Apart(Op):
    """A table stored several times and then a head of its own; a file may hold only some of the copies, and no head
    where it equals the table."""

    partial: ClassVar[bool] = True

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        first, *more = theirs
        if not all(equal(first, t) for t in more[:-1]):
            raise CheckpointError("copies of one tied parameter differ")
        return [first, more[-1] if more else first]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return [ours[0]] * len(TABLES) + [ours[1]]


def published(vocab: int = VOCAB, **fields: Any) -> Size:
    channel = Channel(vocab=vocab, start=0, end=1, sentinels=SENTINELS)
    return Size(fields, {"tokens": channel})


V1_1: Mapping[str, Any] = {"act": "gelu_tanh", "gated": True, "tied": False}


class T5(T5Family, frozen=True, kw_only=True):
    """An encoder and a decoder of tokens: unscaled scores, RMS norms in front. Defaults are T5 small.

    Version 1.1 is `act="gelu_tanh"`, `gated=True`, `tied=False`.
    """

    name: ClassVar[str] = "t5"
    source: ClassVar[str] = "Raffel et al. 2019 (arXiv 1910.10683); transformers T5ForConditionalGeneration"
    published: ClassVar[Mapping[str, Size]] = {
        "t5-small": published(),
        "t5-base": published(dim=768, depth=12, heads=12),
        "t5-large": published(dim=1024, depth=24, heads=16),
        "t5-3b": published(dim=1024, depth=24, heads=32, head_dim=128, hidden=16384),
        "t5-11b": published(dim=1024, depth=24, heads=128, head_dim=128, hidden=65536),
        "t5-v1_1-small": published(depth=8, heads=6, head_dim=64, hidden=1024, **V1_1),
        "t5-v1_1-base": published(dim=768, depth=12, heads=12, hidden=2048, **V1_1),
        "t5-v1_1-large": published(dim=1024, depth=24, heads=16, hidden=2816, **V1_1),
        "t5-v1_1-xl": published(dim=2048, depth=24, heads=32, hidden=5120, **V1_1),
        "t5-v1_1-xxl": published(dim=4096, depth=24, heads=64, hidden=10240, **V1_1),
    }
    gated: Annotated[bool, Meta(description="whether the MLP is multiplied by a second map")] = False
    tied: Annotated[bool, Meta(description="whether the head is the embedding table")] = True
    scaled: Annotated[bool, Meta(description="whether the head reads rows times dim ** -0.5; unset: as tied")] | None = None

    def feed(self, stream: str, number: int) -> Mixer:
        return MLP(self._hidden, self.act, self.gated, bias=False, dropout=self.dropout)

    def feed_rules(self, stream: str, number: int) -> list[Rule]:
        if not self.gated:
            return super().feed_rules(stream, number)
        ours, theirs = self.feed_names(stream, number)
        names = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
        return [r for a, b in names.items() for r in rule(f"{ours}.{a}.weight", f"{theirs}.{b}.weight")]

    def head(self, vocab: int) -> tuple[Step, ...]:
        scaled = self.tied if self.scaled is None else self.scaled
        last = Tied("tokens", vocab) if self.tied else Linear(vocab, bias=False)
        return (Scale(self.dim**-0.5), last) if scaled else (last,)

    def table_rules(self) -> list[Rule]:
        if self.tied:
            return super().table_rules()
        head = f"streams.decoder.heads.tokens.{len(self.head(1)) - 1}.weight"
        return rule(("streams.encoder.embed.tokens.0.weight", head), (*TABLES, HEAD), Apart())

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (("decoder.heads.tokens.*.weight", Normal(1.0)), *super().initial())

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        fields, channels = cls.fields_of(config)
        proj = config.get("feed_forward_proj", "relu")
        if proj not in FEEDS:
            raise unknown_name(f"{cls.name}: feed_forward_proj", str(proj), FEEDS)
        act, gated = FEEDS[proj]
        # version 5 of transformers writes every head as tied, and keeps in another setting what the file said once
        tied = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
        return cls(act=act, gated=gated, tied=tied, **fields), channels

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        scaled = self.tied if self.scaled is None else self.scaled
        if scaled and not self.tied:
            raise ConfigError(f"preset {self.name!r}: no published configuration scales the rows in front of an untied head")
        ordered = ["gated-gelu", *FEEDS] if self.gated else list(FEEDS)
        found = [name for name in ordered if FEEDS[name] == (self.act, self.gated)]
        if not found:
            raise ConfigError(f"preset {self.name!r}: act = {self.act!r} has no name in published configurations")
        more = {"feed_forward_proj": found[0], "tie_word_embeddings": scaled}
        return {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", **self.settings(bound), **more}
