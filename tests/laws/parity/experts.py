"""Parity cases: mixtures of experts."""

from unittest.mock import patch

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.nn.experts import MoE
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DIM, HEADS, HIDDEN, SMALL, VOCAB, Case, case, library, published
from tests.laws.parity.causal import NARROW, TINY, language_model, set_to
from tests.laws.parity.causal_sizes import CUT, IDS, NOT_THEIRS
from tests.laws.parity.encdec import two_streams
from tests.laws.parity.wrong import mixers, post_norm


def in_own_precision(reference: nn.Module) -> None:
    """Routers compute in the precision of their weights, where they would fall back to single."""
    for module in reference.modules():
        if type(module).__name__ == "SwitchTransformersTop1Router":
            module.forward = in_weights_dtype(module)
        if type(module).__name__ == "MixtralTopKRouter":
            module.forward = without_float(module.forward)


def in_weights_dtype(router):
    """Its `forward`, told the precision of its weights first."""
    forward = router.forward

    def run(x: Tensor):
        router.dtype = router.classifier.weight.dtype
        return forward(x)

    return run


def without_float(forward):
    """The function, in which `.float()` keeps double precision."""
    plain = Tensor.float

    def run(x: Tensor):
        with patch.object(Tensor, "float", lambda y: y if y.dtype == torch.float64 else plain(y)):
            return forward(x)

    return run


@case("mixtral")
def mixtral() -> Case:
    return language_model(
        "Mixtral",
        {**TINY, "num_local_experts": 4, "experts_implementation": "eager"},
        presets.mixtral(**NARROW, experts=4),
        tuned=in_own_precision,
        wrong={
            "weights not renormalised": mixers(MoE, renormalise=False),
            "three experts for each token": set_to(top_k=3),
            "gelu": set_to(act="gelu"),
            "eps 1e-6": set_to(eps=1e-6),
            "theta": set_to(theta=10000.0),
            "norms behind the sums": post_norm,
            "room for few": mixers(MoE, capacity=5),
        },
    )


def switch_model(config: dict, preset, **more) -> Case:
    """The class SwitchTransformersForConditionalGeneration."""
    hf = library("transformers")
    made = hf.SwitchTransformersConfig(**config)
    return two_streams(
        lambda: hf.SwitchTransformersForConditionalGeneration(made),
        preset,
        unscaled=True,
        tuned=in_own_precision,
        note="transformers.SwitchTransformersForConditionalGeneration",
        **more,
    )


SPARSE = {"num_experts": 4, "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 2}
SWITCH = {"vocab_size": VOCAB, "d_model": DIM, "d_kv": 8, "d_ff": HIDDEN, "num_layers": 4, "num_heads": HEADS, **SPARSE}


@case("switch")
def switch() -> Case:
    return switch_model(
        {**SWITCH, "num_decoder_layers": 4, "expert_capacity": 2},
        presets.switch(dim=DIM, depth=4, heads=HEADS, head_dim=8, hidden=HIDDEN, experts=4, capacity=2),
        wrong={
            "room for one more": set_to(capacity=3),
            "room for one less": set_to(capacity=1),
            "room for all": mixers(MoE, capacity=None),
            "the surest first": mixers(MoE, priority="probability"),
            "weights of 1": mixers(MoE, renormalise=True),
            "gelu": set_to(act="gelu"),
            "norms behind the sums": post_norm,
            "experts in every block": set_to(every=1),
            "mean distance": set_to(max_distance=16),
        },
    )


@case("switch: a sparse decoder of another depth, router with a bias")
def switch_decoder() -> Case:
    sparse = {"num_sparse_encoder_layers": 1, "num_decoder_layers": 2, "num_sparse_decoder_layers": 2, "router_bias": True}
    fields = {"depth": 3, "decoder_depth": 2, "every": 3, "decoder_every": 1, "router_bias": True}
    return switch_model(
        {**SWITCH, **sparse, "num_layers": 3, "expert_capacity": 3},
        presets.switch(**{**SMALL, **fields}, head_dim=8, hidden=HIDDEN, experts=4, capacity=3),
    )


@published("switch-base-8")
def switch_base() -> Case:
    """With less room at the experts, so that these short documents meet its end."""
    sparse = {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    sizes = {"vocab_size": IDS, "d_ff": 3072, "num_layers": CUT, "num_decoder_layers": CUT, "expert_capacity": 3}
    return switch_model({**sizes, **sparse}, presets.switch(depth=CUT, capacity=3), vocab=IDS)


@published("mixtral-8x7b")
def mixtral_8x7b() -> Case:
    """2.9 thousand million numbers, of which there is one copy."""
    preset = presets.mixtral(depth=CUT)
    theirs = {k: v for k, v in preset.to_config({"tokens": Channel(vocab=IDS)}).items() if k not in NOT_THEIRS}
    config = {**theirs, "experts_implementation": "eager"}
    return language_model("Mixtral", config, preset, vocab=IDS, tuned=in_own_precision, lent=True)
