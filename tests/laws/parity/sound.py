"""Parity cases: models of sound frames."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.weights import Reference
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, SMALL, Answers, Case, case, library, noise, published
from tests.laws.parity.wrong import bare_scores, streams

KERNEL = 5
TORCHAUDIO = {"positions": "none", "hidden": HIDDEN, "kernel": KERNEL}
RELATIVE = {"bias": False, "last_norm": True, "hidden": HIDDEN, "kernel": KERNEL}
WRONG = {
    "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
    "rotary": lambda p: p.replace(positions="rotary"),
    "attention and convolution exchanged": lambda p: p.replace(first={"attention": "convolution"}.get(p.first, "attention")),
    "scores not scaled": bare_scores,
    "whole MLPs": streams(lambda s: s.replace(blocks=tuple(tuple(r.replace(scale=1.0) for r in b) for b in s.blocks))),
}


def frames(raw: Tensor) -> Document:
    return Document({"main": TokenSequence((Span("sound", features=raw),))})


def calm(reference: nn.Module) -> None:
    """Pointwise convolutions with noise for as many inputs as they have, else they blow up what rounding leaves."""
    for module in reference.modules():
        if isinstance(module, nn.Conv1d) and module.kernel_size == (1,):
            module.weight.mul_(module.in_channels**-0.5)


def sound_model(fresh, preset: Reference, answer, lengths=LENGTHS, **more) -> Case:
    """A model of frames that come in as wide as its stream."""
    dim = preset.dim
    return Case(
        fresh,
        preset,
        {"sound": Channel(width=(dim,), embed=())},
        [noise(n, dim, seed=n) for n in lengths],
        frames,
        answer,
        hidden=("main",),
        tuned=calm,
        **more,
    )


def of_torchaudio(dim=DIM, depth=DEPTH, heads=HEADS, hidden=HIDDEN, kernel=KERNEL, **settings):
    models = library("torchaudio").models
    return lambda: models.Conformer(dim, heads, hidden, depth, kernel, **settings)


def one_by_one(reference: nn.Module, raw: Tensor) -> Answers:
    """torchaudio's convolutions read the padding of a batch, so it is only right document by document."""
    return {"main": reference(raw[None], torch.tensor([len(raw)]))[0][0]}


@case("conformer")
def conformer() -> Case:
    preset = presets.conformer(**SMALL, **TORCHAUDIO)
    return sound_model(of_torchaudio(), preset, one_by_one, note="torchaudio.models.Conformer", wrong=WRONG)


@case("conformer: group norm")
def conformer_group() -> Case:
    preset = presets.conformer(**SMALL, **TORCHAUDIO, norm="segment")
    fresh = of_torchaudio(use_group_norm=True)
    return sound_model(fresh, preset, one_by_one, note="torchaudio.models.Conformer", wrong=WRONG)


@case("conformer: convolution first")
def conformer_first() -> Case:
    preset = presets.conformer(**SMALL, **TORCHAUDIO, first="convolution")
    fresh = of_torchaudio(convolution_first=True)
    return sound_model(fresh, preset, one_by_one, note="torchaudio.models.Conformer", wrong=WRONG)


def of_transformers(dim=DIM, depth=DEPTH, heads=HEADS, hidden=HIDDEN, kernel=KERNEL, **settings):
    library("transformers")
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as file

    config = file.Wav2Vec2ConformerConfig(
        hidden_size=dim,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        conv_depthwise_kernel_size=kernel,
        hidden_act="swish",
        num_conv_pos_embedding_groups=4,
        **settings,
    )
    return lambda: file.Wav2Vec2ConformerEncoder(config)


def encoded(reference: nn.Module, raw: Tensor) -> Answers:
    if raw.dtype == torch.float64 and reference.embed_positions is not None:
        # its table of waves is made in single precision and only cast
        reference.embed_positions.pe = table(reference.embed_positions.max_len, raw.shape[1])
    return {"main": reference(raw[None]).last_hidden_state[0]}


def table(longest: int, dim: int) -> Tensor:
    """[1, 2 longest - 1, dim]: distances from longest - 1 down to 1 - longest."""
    distance = torch.arange(longest - 1, -longest, -1, dtype=torch.float64)[:, None]
    column = torch.arange(dim)
    angle = distance / 10000 ** ((column // 2 * 2).double() / dim)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())[None]


def without_unread(reference: nn.Module) -> dict[str, Tensor]:
    """Its convolutional positions are stored, and never run."""
    return {k: v for k, v in reference.state_dict().items() if not k.startswith("pos_conv_embed")}


@case("conformer: relative positions")
def conformer_relative() -> Case:
    return sound_model(
        of_transformers(position_embeddings_type="relative"),
        presets.conformer(**SMALL, **RELATIVE),
        encoded,
        state=without_unread,
        initial=False,  # the preset starts as torchaudio's
        wrong={**WRONG, "no positions": lambda p: p.replace(positions="none")},
        note="transformers.Wav2Vec2ConformerEncoder",
    )


@case("conformer: no positions")
def conformer_bare() -> Case:
    return sound_model(
        of_transformers(position_embeddings_type=None),
        presets.conformer(**SMALL, **RELATIVE, positions="none"),
        encoded,
        state=without_unread,
        initial=False,
        wrong=WRONG,
        note="transformers.Wav2Vec2ConformerEncoder",
    )


@published("conformer-s")
def conformer_s() -> Case:
    fresh = of_torchaudio(144, 16, 4, 576, 31)
    return sound_model(fresh, presets.conformer(positions="none"), one_by_one, (60, 41), note="torchaudio.models.Conformer")


@published("conformer-m")
def conformer_m() -> Case:
    fresh, preset = of_torchaudio(256, 16, 4, 1024, 31), presets.conformer(dim=256, positions="none")
    return sound_model(fresh, preset, one_by_one, (60, 41), note="torchaudio.models.Conformer")


@published("conformer-l")
def conformer_l() -> Case:
    fresh, preset = of_torchaudio(512, 17, 8, 2048, 31), presets.conformer(512, 17, 8, positions="none")
    return sound_model(fresh, preset, one_by_one, (60, 41), note="torchaudio.models.Conformer")


@published("wav2vec2-conformer-rel-pos-large")
def wav2vec2_conformer() -> Case:
    return sound_model(
        of_transformers(1024, 2, 16, 4096, 31, position_embeddings_type="relative"),
        presets.conformer(1024, 2, 16, bias=False, last_norm=True),
        encoded,
        (60, 41),
        state=without_unread,
        unread=("pos_conv_embed.*",),
        note="transformers.Wav2Vec2ConformerEncoder",
    )
