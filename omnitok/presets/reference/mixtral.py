"""Mixtral (Jiang et al. 2024, arXiv 2401.04088), as Hugging Face's MixtralForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...model import Model
from ...nn.experts import MoE
from ...nn.mixers import MLP, Mixer
from ...nn.routing import Balance
from ...tokenizer import Channel
from ...weights import Cat, Rule, Size, Stack, rule
from ._config import Key, read_rope, require
from .mistral import Mistral

_TOKENS = {"tokens": Channel(vocab=32000)}


class Mixtral(Mistral, frozen=True, kw_only=True):
    """Mistral whose MLPs are experts, two for each token, weighted to a sum of 1. Defaults are Mixtral 8x7B."""

    name: ClassVar[str] = "mixtral"
    source: ClassVar[str] = "Jiang et al. 2024 (arXiv 2401.04088); transformers MixtralForCausalLM"
    model_class: ClassVar[str] = "MixtralForCausalLM"
    model_type: ClassVar[str] = "mixtral"
    keys: ClassVar[Mapping[str, Key]] = {
        **Mistral.keys,
        "eps": Key("rms_norm_eps", 1e-5),
        "window": Key("sliding_window", None),
        "experts": Key("num_local_experts", 8),
        "top_k": Key("num_experts_per_tok", 2),
        "balance": Key("router_aux_loss_coef", 0.001),
    }
    published: ClassVar[Mapping[str, Size]] = {
        "mixtral-8x7b": Size({}, _TOKENS),
        "mixtral-8x22b": Size({"dim": 6144, "depth": 56, "heads": 48, "hidden": 16384, "positions": 65536}, _TOKENS),
    }
    theta: Annotated[float, Meta(gt=0, description="base of the rotary wavelengths")] = 1e6
    window: Annotated[int, Meta(ge=1, description="keys nearer than this are seen; unset: all")] | None = None
    experts: Annotated[int, Meta(ge=1, description="experts of a block")] = 8
    top_k: Annotated[int, Meta(ge=1, description="experts that a token goes to")] = 2
    balance: Annotated[float, Meta(ge=0, description="weight of the load balancing loss, in training")] = 0.02

    def mixer(self) -> Mixer:
        expert = MLP(self.hidden, self.act, gated=True, bias=False)
        return MoE(self.experts, expert, self.top_k, renormalise=True)

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        model = super().model(bound, channels)
        losses = (Balance(self.balance),) if self.balance else ()
        return model.replace(streams={n: s.replace(losses=losses) for n, s in model.streams.items()})

    def mixer_rules(self, ours: str, theirs: str) -> list[Rule]:
        """As published: every expert by itself."""
        names = {"gate": "w1", "up": "w3", "down": "w2"}
        out = rule(ours + "router.weight", theirs + "block_sparse_moe.gate.weight", None, self.depth)
        for a, b in names.items():
            each = [f"{theirs}block_sparse_moe.experts.{e}.{b}.weight" for e in range(self.experts)]
            out += rule(f"{ours}{a}.weight", each, Stack(), self.depth)
        return out

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """Files on model hubs, and the module of transformers from version 5 on, which stacks the experts."""
        published = self.rules(bound)
        ours, theirs = "streams.main.blocks.{i}.mlp.mixer.", "model.layers.{i}.mlp."
        fused = [ours + "gate.weight", ours + "up.weight"]
        stacked = [
            *rule(ours + "router.weight", theirs + "gate.weight", None, self.depth),
            *rule(fused, theirs + "experts.gate_up_proj", Cat(2, dim=1), self.depth),
            *rule(ours + "down.weight", theirs + "experts.down_proj", None, self.depth),
        ]
        kept = [r for r in published if ".mlp.mixer." not in r.ours[0]]
        return {"published": published, "transformers": [*kept, *stacked]}

    @classmethod
    def fields_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        require(cls.name, config, router_jitter_noise=0.0)
        return {**super().fields_of(config), **read_rope(cls.name, config, 1e6)[0]}
