"""Llama (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288), as Hugging Face's LlamaForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...nn.rope import Stretch
from ...tokenizer import Channel
from ...weights import Size
from ._config import Key
from ._llama import LlamaFamily

_TOKENS_2, _TOKENS_3 = {"tokens": Channel(vocab=32000)}, {"tokens": Channel(vocab=128256)}
_LLAMA_3 = {"kv_heads": 8, "hidden": 14336, "positions": 8192, "theta": 500000.0}


class Llama(LlamaFamily, frozen=True, kw_only=True):
    """A causal decoder: RMS norms, rotary positions, gated MLP, heads that may share keys. Defaults are Llama 2 7B."""

    name: ClassVar[str] = "llama"
    source: ClassVar[str] = "Touvron et al. 2023 (arXiv 2307.09288); transformers LlamaForCausalLM"
    model_class: ClassVar[str] = "LlamaForCausalLM"
    model_type: ClassVar[str] = "llama"
    keys: ClassVar[Mapping[str, Key]] = {
        **LlamaFamily.keys,
        "attention_bias": Key("attention_bias", False),
        "mlp_bias": Key("mlp_bias", False),
    }
    published: ClassVar[Mapping[str, Size]] = {
        "llama-2-7b": Size({}, _TOKENS_2),
        "llama-2-13b": Size({"dim": 5120, "depth": 40, "heads": 40, "hidden": 13824}, _TOKENS_2),
        "llama-3-8b": Size({**_LLAMA_3, "eps": 1e-5}, _TOKENS_3),
        "llama-3.1-8b": Size({**_LLAMA_3, "eps": 1e-5, "positions": 131072, "stretch": Stretch()}, _TOKENS_3),
    }
    eps: float = 1e-5
