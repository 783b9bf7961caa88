"""What T5 and models built on it have in common: two pre-norm streams without biases, relative position buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.buckets import Buckets
from ...nn.initial import Initial, Normal
from ...nn.mixers import MLP, Mixer
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import Dropout, Lookup, Scale, Step, Table, Tied
from ...tokenizer import Channel
from ...weights import Reference, Rule, Tie, rule
from ._config import Key, read, require, write
from ._encdec import start_and_end, start_and_end_settings
from ._shared import vocab_of

TABLES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
HEAD = "lm_head.weight"
SENTINELS = tuple(range(32099, 31999, -1))
"""ids that stand for what is taken out of a sequence, in the vocabulary of the published models"""
KEYS: Mapping[str, Key] = {
    "dim": Key("d_model", 512),
    "depth": Key("num_layers", 6),
    "decoder_depth": Key("num_decoder_layers", None),
    "heads": Key("num_heads", 8),
    "head_dim": Key("d_kv", 64),
    "hidden": Key("d_ff", 2048),
    "buckets": Key("relative_attention_num_buckets", 32),
    "max_distance": Key("relative_attention_max_distance", 128),
    "eps": Key("layer_norm_epsilon", 1e-6),
    "dropout": Key("dropout_rate", 0.1),
}
"""our fields -> their settings"""


def tokens_of(config: Mapping[str, Any]) -> dict[str, Channel]:
    """The channel that a published configuration describes; the size of the vocabulary tells whether it has sentinels."""
    vocab = config.get("vocab_size", 32128)
    sentinels = SENTINELS if vocab in (32100, 32128) else ()
    return {"tokens": Channel(vocab=vocab, sentinels=sentinels, **start_and_end(config, 0, 1))}


class T5Family(Reference, frozen=True, kw_only=True):
    """The two streams. A model of the family says which mixer stands behind the attention of each block (`feed`), where
    its weights are kept (`feed_rules`), and what the head is (`head`, `table_rules`)."""

    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    suits: ClassVar[tuple[str, ...]] = ("corrupt", "seq2seq")
    their_mlp: ClassVar[str] = "DenseReluDense"
    """what they call the MLP of a block"""
    unread: ClassVar[tuple[str, ...]] = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)
    dim: Annotated[int, Meta(ge=1, description="width of the streams")] = 512
    depth: Annotated[int, Meta(ge=1, description="blocks of the encoder")] = 6
    decoder_depth: Annotated[int, Meta(ge=1, description="blocks of the decoder; unset: depth")] | None = None
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 8
    head_dim: Annotated[int, Meta(ge=1, description="width of a head; unset: dim / heads")] | None = None
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    buckets: Annotated[int, Meta(ge=4, description="relative position buckets")] = 32
    max_distance: Annotated[int, Meta(ge=2, description="distance from which on all keys share a bucket")] = 128
    act: Annotated[str, Meta(description="activation of the MLP")] = "relu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-6
    dropout: Annotated[float, Meta(ge=0, lt=1, description="everywhere, in training")] = 0.1

    def feed(self, stream: str, number: int) -> Mixer:
        """The mixer behind the attention of block `number` of "encoder" or "decoder"."""
        return MLP(self._hidden, self.act, bias=False, dropout=self.dropout)

    def feed_rules(self, stream: str, number: int) -> list[Rule]:
        """The weight map of that mixer; `feed_names` says where it lies."""
        ours, theirs = self.feed_names(stream, number)
        return [
            *rule(f"{ours}.up.weight", f"{theirs}.wi.weight"),
            *rule(f"{ours}.down.weight", f"{theirs}.wo.weight"),
        ]

    def feed_names(self, stream: str, number: int) -> tuple[str, str]:
        """Our prefix and theirs of the mixer behind the attention of a block."""
        layer = 1 if stream == "encoder" else 2
        return f"streams.{stream}.blocks.{number}.mlp.mixer", f"{stream}.block.{number}.layer.{layer}.{self.their_mlp}"

    def head(self, vocab: int) -> tuple[Step, ...]:
        """Logits from the table that both streams use, made small as the table's start values are large."""
        return (Scale(self.dim**-0.5), Tied("tokens", vocab))

    def table_rules(self) -> list[Rule]:
        """The map of the table and of the head."""
        return rule("streams.encoder.embed.tokens.0.weight", (*TABLES, HEAD), Tie(4))

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab = vocab_of(self, bound["tokens"])
        encoder = self._stream("encoder", Table(vocab)).replace(attend="full")
        heads = {"tokens": self.head(vocab)}
        decoder = self._stream("decoder", Lookup("tokens")).replace(attend="causal", memory="encoder", heads=heads)
        return Model({"encoder": encoder, "decoder": decoder}, tie=True)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        wide = Normal(self.dim**-0.5)
        return (
            ("encoder.embed.tokens.0.weight", Normal(1.0)),
            ("*.mixer.q.weight", Normal((self.dim * self._head_dim) ** -0.5)),
            ("*.mixer.[kv].weight", wide),
            ("*.mixer.o.weight", Normal((self.heads * self._head_dim) ** -0.5)),
            ("*.shared.0.weight", wide),
            ("*.mlp.mixer.up.weight", wide),
            ("*.mlp.mixer.gate.weight", wide),
            ("*.mlp.mixer.down.weight", Normal(self._hidden**-0.5)),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        return [*self.table_rules(), *self._stream_rules("encoder"), *self._stream_rules("decoder")]

    @classmethod
    def fields_of(cls, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Channel]]:
        """The fields that the family shares, and the channel, from a published configuration."""
        require(cls.name, config, is_encoder_decoder=True)  # type: ignore[attr-defined]
        fields = read(cls.name, KEYS, config)  # type: ignore[attr-defined]
        usual = {"decoder_depth": fields["depth"], "head_dim": fields["dim"] / fields["heads"], "hidden": 4 * fields["dim"]}
        fields |= {name: None for name, value in usual.items() if fields[name] == value}
        return fields, tokens_of(config)

    def settings(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        """The published configuration of what the family shares."""
        channel = bound["tokens"]
        full = self.replace(decoder_depth=self._depth("decoder"), head_dim=self._head_dim, hidden=self._hidden)
        more = {"vocab_size": vocab_of(self, channel), "is_encoder_decoder": True}
        return {**write(full, KEYS), **more, **start_and_end_settings(self.name, channel)}  # type: ignore[attr-defined]

    @property
    def _hidden(self) -> int:
        return self.hidden or 4 * self.dim

    @property
    def _head_dim(self) -> int:
        return self.head_dim or self.dim // self.heads

    def _depth(self, stream: str) -> int:
        return self.depth if stream == "encoder" else self.decoder_depth or self.depth

    def _stream(self, name: str, embed: Step) -> Stream:
        norm = Norm("rms", self.eps)
        buckets = Buckets(self.buckets, self.max_distance, bidirectional=name == "encoder")
        attention = Attention(self.heads, head_dim=self.head_dim, scale=1.0, bias=False, dropout=self.dropout)
        first = [("attention", attention.replace(positions=(buckets,)))]
        if name == "decoder":
            first.append(("cross", attention.replace(source="memory")))

        def block(number: int) -> tuple[Residual, ...]:
            mixers = [*first, ("mlp", self.feed(name, number))]
            return tuple(Residual(n, m, pre=norm, dropout=self.dropout) for n, m in mixers)

        return Stream(
            self.dim,
            tuple(block(i) for i in range(self._depth(name))),
            norm,
            self.dropout,
            embed={"tokens": (embed,)},
            steps=(Dropout(self.dropout),),
        )

    def _stream_rules(self, stream: str) -> list[Rule]:
        depth, cross = self._depth(stream), stream == "decoder"
        ours, theirs = f"streams.{stream}.blocks.{{i}}.", f"{stream}.block.{{i}}.layer."
        names = {"attention.mixer": "0.SelfAttention"} | ({"cross.mixer": "1.EncDecAttention"} if cross else {})
        norms = ("attention", "cross", "mlp") if cross else ("attention", "mlp")
        table = f"{stream}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        return [
            *rule(f"streams.{stream}.shared.0.weight", table),
            *rule(f"streams.{stream}.norm.weight", f"{stream}.final_layer_norm.weight"),
            *(
                r
                for j, n in enumerate(norms)
                for r in rule(f"{ours}{n}.pre.weight", f"{theirs}{j}.layer_norm.weight", None, depth)
            ),
            *(
                r
                for a, b in names.items()
                for x in "qkvo"
                for r in rule(f"{ours}{a}.{x}.weight", f"{theirs}{b}.{x}.weight", None, depth)
            ),
            *(r for i in range(depth) for r in self.feed_rules(stream, i)),
        ]
