"""Switch Transformer (Fedus et al. 2021, arXiv 2101.03961), as Hugging Face's SwitchTransformers stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.experts import MoE
from ...nn.initial import Initial, Normal
from ...nn.losses import ExtraLoss
from ...nn.mixers import MLP, Mixer
from ...nn.routing import DocumentBalance, RouterZ
from ...tokenizer import Channel
from ...weights import Rule, Size, Stack, rule
from ._config import ACTS, Key, read, require, write
from ._encdec import start_and_end_settings
from ._t5 import SENTINELS, T5Family, tokens_of

_TOKENS = {"tokens": Channel(vocab=32128, start=0, end=1, sentinels=SENTINELS)}
_SPARSE = ("num_sparse_encoder_layers", "num_sparse_decoder_layers")


class Switch(T5Family, frozen=True, kw_only=True):
    """T5 with experts in every other block, one for each token. Defaults are switch-base-8.

    An expert takes at most `capacity` tokens of a document, the first ones. Decoding counts the tokens before, as the
    whole document does; the reference's own cached generation starts counting anew with every token.
    """

    name: ClassVar[str] = "switch"
    source: ClassVar[str] = "Fedus et al. 2021 (arXiv 2101.03961); transformers SwitchTransformersForConditionalGeneration"
    model_types: ClassVar[tuple[str, ...]] = ("switch_transformers",)
    their_mlp: ClassVar[str] = "mlp"
    published: ClassVar[Mapping[str, Size]] = {
        f"switch-base-{experts}": Size({"experts": experts} if experts != 8 else {}, _TOKENS) for experts in (8, 16, 32, 64, 128)
    }
    keys: ClassVar[Mapping[str, Key]] = {
        "dim": Key("d_model", 768),
        "depth": Key("num_layers", 12),
        "decoder_depth": Key("num_decoder_layers", None),
        "heads": Key("num_heads", 12),
        "head_dim": Key("d_kv", 64),
        "hidden": Key("d_ff", 2048),
        "buckets": Key("relative_attention_num_buckets", 32),
        "max_distance": Key("relative_attention_max_distance", 128),
        "act": Key("dense_act_fn", "relu", ACTS),
        "eps": Key("layer_norm_epsilon", 1e-6),
        "dropout": Key("dropout_rate", 0.1),
        "experts": Key("num_experts", 8),
        "capacity": Key("expert_capacity", 64),
        "jitter": Key("router_jitter_noise", 0.01),
        "router_bias": Key("router_bias", False),
        "balance": Key("router_aux_loss_coef", 0.001),
        "small_logits": Key("router_z_loss_coef", 0.001),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the streams")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks of the encoder")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of an MLP and of an expert; unset: 4 dim")] | None = None
    experts: Annotated[int, Meta(ge=1, description="experts of a sparse block")] = 8
    capacity: Annotated[int, Meta(ge=1, description="tokens of one document that an expert takes")] = 64
    every: Annotated[int, Meta(ge=1, description="blocks from one sparse block of the encoder to the next")] = 2
    decoder_every: Annotated[int, Meta(ge=1, description="the same of the decoder; unset: every")] | None = None
    jitter: Annotated[float, Meta(ge=0, lt=1, description="noise on what the router reads, in training")] = 0.01
    router_bias: Annotated[bool, Meta(description="the router has a bias")] = False
    balance: Annotated[float, Meta(ge=0, description="weight of the load balancing loss, in training")] = 0.001
    small_logits: Annotated[float, Meta(ge=0, description="weight of the router z-loss, in training")] = 0.001

    def feed(self, stream: str, number: int) -> Mixer:
        mlp = super().feed(stream, number)
        if not self._sparse(stream, number):
            return mlp
        assert isinstance(mlp, MLP)
        return MoE(self.experts, mlp, capacity=self.capacity, jitter=self.jitter, router_bias=self.router_bias)

    def feed_rules(self, stream: str, number: int) -> list[Rule]:
        if not self._sparse(stream, number):
            return super().feed_rules(stream, number)
        ours, theirs = self.feed_names(stream, number)
        out = rule(f"{ours}.router.weight", f"{theirs}.router.classifier.weight")
        out += rule(f"{ours}.router.bias", f"{theirs}.router.classifier.bias") if self.router_bias else []
        for a, b in {"up": "wi", "down": "wo"}.items():
            out += rule(f"{ours}.{a}.weight", [f"{theirs}.experts.expert_{e}.{b}.weight" for e in range(self.experts)], Stack())
        return out

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        model = super().model(bound, channels)
        return model.replace(streams={n: self._with_losses(n, s) for n, s in model.streams.items()})

    def _with_losses(self, name: str, stream: Stream) -> Stream:
        losses: tuple[ExtraLoss, ...] = (DocumentBalance(self.balance), RouterZ(self.small_logits))
        sparse = any(self._sparse(name, i) for i in range(len(stream.blocks)))
        return stream.replace(losses=tuple(loss for loss in losses if loss.weight and sparse))

    def initial(self) -> Sequence[tuple[str, Initial]]:
        wide, streams = Normal(self.dim**-0.5), ("encoder", "decoder")
        sparse = [(s, i) for s in streams for i in range(self._depth(s)) if self._sparse(s, i)]
        return (
            ("*.router.weight", Normal(1.0)),
            *((f"{s}.blocks.{i}.mlp.mixer.down.weight", wide) for s, i in sparse),
            *super().initial(),
        )

    def _step(self, stream: str) -> int:
        return self.every if stream == "encoder" else self.decoder_every or self.every

    def _sparse(self, stream: str, number: int) -> bool:
        return self._step(stream) == 1 or number % self._step(stream) == 1

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        require(cls.name, config, model_type="switch_transformers", tie_word_embeddings=True)
        fields = read(cls.name, cls.keys, config)
        depths = (fields["depth"], fields["decoder_depth"] or fields["depth"])
        every = [d // n if n else d for d, n in zip(depths, (config.get(k, 3) for k in _SPARSE), strict=True)]
        return cls(**fields, every=every[0], decoder_every=every[1]), tokens_of(config)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        channel, streams = bound["tokens"], ("encoder", "decoder")
        sparse = {k: self._depth(s) // self._step(s) for k, s in zip(_SPARSE, streams, strict=True)}
        for key, s in zip(_SPARSE, streams, strict=True):
            if not sparse[key] or self._depth(s) // sparse[key] != self._step(s):
                raise ConfigError(
                    f"switch: {self._depth(s)} blocks of the {s} with experts in every {self._step(s)}th cannot be said in "
                    "config.json, which counts the sparse blocks: choose a divisor"
                )
        sizes = {"hidden": self._hidden, "head_dim": self._head_dim, "decoder_depth": self._depth("decoder")}
        return {
            "architectures": ["SwitchTransformersForConditionalGeneration"],
            "model_type": "switch_transformers",
            "vocab_size": channel.vocab,
            **write(self.replace(**sizes), self.keys),
            **sparse,
            **start_and_end_settings(self.name, channel),
        }
