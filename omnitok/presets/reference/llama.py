"""Llama (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288), as Hugging Face's LlamaForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from ...nn.attention import Attention
from ...nn.mixers import MLP, Mixer
from ...nn.rope import Stretch
from ...tokenizer import Channel
from ...weights import Rule, Size, rule
from ._config import Key
from ._llama import LlamaFamily

_TOKENS_2, _TOKENS_3 = {"tokens": Channel(vocab=32000)}, {"tokens": Channel(vocab=128256)}
_LLAMA_3 = {"kv_heads": 8, "hidden": 14336, "positions": 8192, "theta": 500000.0}
_LLAMA_32_1B = {"dim": 2048, "depth": 16, "kv_heads": 8, "hidden": 8192, "theta": 500000.0, "head_dim": 64, "tie": True}


class Llama(LlamaFamily, frozen=True, kw_only=True):
    """A causal decoder: RMS norms, rotary positions, gated MLP, heads that may share keys. Defaults are Llama 2 7B."""

    name: ClassVar[str] = "llama"
    source: ClassVar[str] = "Touvron et al. 2023 (arXiv 2307.09288); transformers LlamaForCausalLM"
    model_class: ClassVar[str] = "LlamaForCausalLM"
    model_type: ClassVar[str] = "llama"
    published: ClassVar[Mapping[str, Size]] = {
        "llama-2-7b": Size({}, _TOKENS_2),
        "llama-2-13b": Size({"dim": 5120, "depth": 40, "heads": 40, "hidden": 13824}, _TOKENS_2),
        "llama-3-8b": Size(_LLAMA_3, _TOKENS_3),
        "llama-3.1-8b": Size({**_LLAMA_3, "positions": 131072, "stretch": Stretch()}, _TOKENS_3),
        "llama-3.2-1b": Size({**_LLAMA_32_1B, "positions": 131072, "stretch": Stretch(factor=32.0)}, _TOKENS_3),
    }
    keys: ClassVar[Mapping[str, Key]] = {
        **LlamaFamily.keys,
        "attention_bias": Key("attention_bias", False),
        "mlp_bias": Key("mlp_bias", False),
    }
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    attention_bias: Annotated[bool, Meta(description="attention's maps have biases")] = False
    mlp_bias: Annotated[bool, Meta(description="the MLP's maps have biases")] = False

    def attention(self) -> Attention:
        return super().attention().replace(bias=self.attention_bias)

    def mixer(self) -> Mixer:
        return MLP(self.hidden, self.act, gated=True, bias=self.mlp_bias)

    def names(self) -> dict[str, str]:
        biases = {f"attention.mixer.{x}.bias": f"self_attn.{x}_proj.bias" for x in "qkvo"} if self.attention_bias else {}
        return super().names() | biases

    def mixer_rules(self, ours: str, theirs: str) -> list[Rule]:
        maps = ("gate", "up", "down") if self.mlp_bias else ()
        biases = [r for x in maps for r in rule(f"{ours}{x}.bias", f"{theirs}mlp.{x}_proj.bias", None, self.depth)]
        return [*super().mixer_rules(ours, theirs), *biases]
