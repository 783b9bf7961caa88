"""Qwen3 (Yang et al. 2025, arXiv 2505.09388), as Hugging Face's Qwen3ForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...nn.attention import Attention
from ...tokenizer import Channel
from ...weights import Size
from ._config import Key, require
from ._llama import LlamaFamily

_TOKENS = {"tokens": Channel(vocab=151936)}


class Qwen3(LlamaFamily, frozen=True, kw_only=True):
    """A causal decoder as Llama, with queries and keys normed per head. Defaults are Qwen3 0.6B."""

    name: ClassVar[str] = "qwen3"
    source: ClassVar[str] = "Yang et al. 2025 (arXiv 2505.09388); transformers Qwen3ForCausalLM"
    model_class: ClassVar[str] = "Qwen3ForCausalLM"
    model_type: ClassVar[str] = "qwen3"
    published: ClassVar[Mapping[str, Size]] = {
        "qwen3-0.6b": Size({}, _TOKENS),
        "qwen3-1.7b": Size({"dim": 2048, "hidden": 6144}, _TOKENS),
        "qwen3-4b": Size({"dim": 2560, "depth": 36, "heads": 32, "hidden": 9728}, _TOKENS),
        "qwen3-8b": Size({"dim": 4096, "depth": 36, "heads": 32, "hidden": 12288, "tie": False}, _TOKENS),
    }
    keys: ClassVar[Mapping[str, Key]] = {
        **LlamaFamily.keys,
        "kv_heads": Key("num_key_value_heads", 32),
        "head_dim": Key("head_dim", 128),
        "positions": Key("max_position_embeddings", 32768),
        "attention_bias": Key("attention_bias", False),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 1024
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 28
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 16
    kv_heads: Annotated[int, Meta(ge=1, description="heads of keys and values; unset: as many")] | None = 8
    head_dim: Annotated[int, Meta(ge=2, description="width of a head; unset: dim / heads")] | None = 128
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP")] = 3072
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document in training; no limit")] = 40960
    theta: Annotated[float, Meta(gt=0, description="base of the rotary wavelengths")] = 1000000.0
    attention_bias: Annotated[bool, Meta(description="attention's maps have biases")] = False
    tie: Annotated[bool, Meta(description="the head is the embedding table")] = True

    def attention(self) -> Attention:
        return super().attention().replace(bias=self.attention_bias, qk_norm=self.norm())

    def names(self) -> dict[str, str]:
        norms = {f"attention.mixer.{x}_norm.weight": f"self_attn.{x}_norm.weight" for x in "qk"}
        biases = {f"attention.mixer.{x}.bias": f"self_attn.{x}_proj.bias" for x in "qkvo"} if self.attention_bias else {}
        return super().names() | norms | biases

    @classmethod
    def fields_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        layers = ["full_attention"] * config.get("num_hidden_layers", 0)
        require(cls.name, config, use_sliding_window=False, layer_types=layers)
        return super().fields_of(config)
