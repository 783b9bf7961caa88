"""Mistral 7B (Jiang et al. 2023, arXiv 2310.06825), as Hugging Face's MistralForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from ...nn.attention import Attention
from ...tokenizer import Channel
from ...weights import Size
from ._config import Key
from ._llama import LlamaFamily


class Mistral(LlamaFamily, frozen=True, kw_only=True):
    """A causal decoder as Llama, whose tokens see the last `window` ones. Defaults are Mistral 7B v0.1."""

    name: ClassVar[str] = "mistral"
    source: ClassVar[str] = "Jiang et al. 2023 (arXiv 2310.06825); transformers MistralForCausalLM"
    model_class: ClassVar[str] = "MistralForCausalLM"
    model_type: ClassVar[str] = "mistral"
    published: ClassVar[Mapping[str, Size]] = {
        "mistral-7b": Size({}, {"tokens": Channel(vocab=32000)}),
        "mistral-7b-v0.3": Size({"window": None, "theta": 1000000.0}, {"tokens": Channel(vocab=32768)}),
    }
    keys: ClassVar[Mapping[str, Key]] = {
        **LlamaFamily.keys,
        "kv_heads": Key("num_key_value_heads", 8),
        "positions": Key("max_position_embeddings", 131072),
        "window": Key("sliding_window", 4096),
    }
    kv_heads: Annotated[int, Meta(ge=1, description="heads of keys and values; unset: as many")] | None = 8
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP")] = 14336
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document in training; no limit")] = 32768
    window: Annotated[int, Meta(ge=1, description="keys nearer than this are seen; unset: all")] | None = 4096
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5

    def attention(self) -> Attention:
        return super().attention().replace(window=self.window)
