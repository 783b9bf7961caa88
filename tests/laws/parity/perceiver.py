"""Parity cases: latents that read inputs of any length."""

import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.attention import Attention
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DIM, LENGTHS, VOCAB, Case, case, ids, library, noise, published
from tests.laws.parity.wrong import bare_scores, mixers, streams

WIDTH = 24
SIZE = {"dim": DIM, "depth": 2, "heads": 4, "cross_heads": 2, "latents": 6, "inputs": WIDTH}
CONFIG = {
    "num_latents": 6,
    "d_latents": DIM,
    "d_model": WIDTH,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4,
    "num_cross_attention_heads": 2,
}
WRONG = {
    "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
    "inputs not normalised": mixers(Attention, memory_norm=None),
    "scores not scaled": bare_scores,
    "blocks once": streams(lambda s: s.replace(schedule=None, blocks=s.blocks[:-1])),
}


def encoder(reference: torch.nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in reference.state_dict().items() if "decoder." not in k}


def perceiver_model(preset, channel: Channel, raw: list[Tensor], **config) -> Case:
    hf = library("transformers")
    settings = hf.PerceiverConfig(**config)
    kind = hf.PerceiverModel if channel.vocab is None else hf.PerceiverForMaskedLM

    def document(x: Tensor) -> Document:
        span = Span("data", x) if x.dtype == torch.long else Span("data", features=x)
        return preset.prepare(Document({"main": TokenSequence((span,))}))

    return Case(
        lambda: kind(settings),
        preset,
        {"data": channel},
        raw,
        document,
        lambda reference, x: {"latents": reference.base_model(x[None]).last_hidden_state[0]},
        hidden=("latents",),
        readouts=(),
        wrong=WRONG,
        state=encoder,
        note=f"transformers.{kind.__name__}",
    )


@case("perceiver")
def perceiver() -> Case:
    raw = [noise(n, WIDTH, seed=n) for n in LENGTHS]
    return perceiver_model(presets.perceiver(**SIZE), Channel(width=(WIDTH,), embed=()), raw, **CONFIG)


@case("perceiver: repeated blocks, widths")
def perceiver_repeated() -> Case:
    raw = [noise(n, WIDTH, seed=n) for n in LENGTHS]
    preset = presets.perceiver(**SIZE, repeats=3, keys=16, values=DIM, widening=2, cross_widening=3)
    more = {"qk_channels": 16, "v_channels": DIM, "self_attention_widening_factor": 2, "cross_attention_widening_factor": 3}
    case = perceiver_model(preset, Channel(width=(WIDTH,), embed=()), raw, **CONFIG, num_blocks=3, **more)
    case.wrong = {**WRONG, "one repeat too few": lambda p: p.replace(repeats=2)}
    return case


@case("perceiver: ids")
def perceiver_ids() -> Case:
    preset, more = presets.perceiver(**SIZE, positions=30), {"vocab_size": VOCAB, "max_position_embeddings": 30}
    return perceiver_model(preset, Channel(vocab=VOCAB), [ids(n, n) for n in LENGTHS], **CONFIG, **more)


@published("language-perceiver")
def language_perceiver() -> Case:
    preset, more = presets.perceiver(depth=2, keys=256, values=1280), {"num_self_attends_per_block": 2}
    raw = [ids(n, n, 262) for n in LENGTHS]
    case = perceiver_model(preset, Channel(vocab=262), raw, **more, qk_channels=256, v_channels=1280)
    case.unread = ("*decoder.*",)
    return case
