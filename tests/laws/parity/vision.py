"""Parity cases: models of patches."""

import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Ask, Document
from omnitok.model import CONTROL
from omnitok.nn.mixers import MLP
from omnitok.nn.tokenmlp import TokenMLP
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, READ, SMALL, Case, asked, case, library, noise, published
from tests.laws.parity.wrong import mixers, post_norm, streams

MEAN, STD = 127.0, 64.0


def patches(pixels: Tensor, size: int) -> Tensor:
    """[3, h, w] normalised pixels -> [n, 3 * size * size] raw ones, band by band, row by row."""
    rows = pixels.shape[1] // size
    raw = pixels * STD + MEAN
    return raw.view(3, rows, size, -1, size).permute(1, 3, 0, 2, 4).reshape(-1, 3 * size * size)


def behind_a_class_token(pixels: Tensor, size: int) -> Document:
    sequence = TokenSequence((Span(CONTROL, READ), Span("image", features=patches(pixels, size))))
    return Document({"main": sequence}, {"label": asked("main:class", torch.tensor([0]))})


def averaged(pixels: Tensor, size: int) -> Document:
    """All rows asked as one group."""
    sequence = TokenSequence((Span("image", features=patches(pixels, size)),))
    rows = torch.arange(len(sequence))
    ask = Ask("main:class", rows, torch.zeros(1), torch.ones(1), torch.zeros_like(rows))
    return Document({"main": sequence}, {"label": ask})


def vision_model(fresh, preset, size: int, side: int, document=behind_a_class_token, **more) -> Case:
    """A classifier of square pictures."""
    return Case(
        fresh,
        preset,
        {"image": Channel(width=(3 * size * size,), mean=MEAN, std=STD)},
        [noise(3, side, side, seed=i) for i in range(3)],
        lambda pixels: document(pixels, size),
        lambda reference, pixels: {"label": getattr(out := reference(pixels[None]), "logits", out)},
        **more,
    )


def unnormalised(preset):
    """Raw pixels, whatever the channel's mean and deviation."""
    return streams(lambda s: s.replace(embed={**s.embed, "patches": s.embed["patches"][1:]}))(preset)


WRONG = {
    "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
    "eps 1e-5": lambda p: p.replace(eps=1e-5),
    "raw pixels": unnormalised,
}


@case("vit")
def vit() -> Case:
    timm = library("timm")
    return vision_model(
        lambda: timm.models.vision_transformer.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=7
        ),
        presets.vit(**SMALL, patch=(3, 8, 8), patches=16, classes=7),
        8,
        32,
        note="timm VisionTransformer",
        wrong={**WRONG, "norms behind the sums": post_norm},
    )


def hf_vit(**settings):
    hf = library("transformers")
    return lambda: hf.ViTForImageClassification(hf.ViTConfig(**settings))


@case("vit: transformers")
def vit_of_transformers() -> Case:
    settings = {"hidden_size": DIM, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": HIDDEN}
    return vision_model(
        hf_vit(**settings, image_size=32, patch_size=8, num_labels=7, qkv_bias=False),
        presets.vit(**SMALL, hidden=HIDDEN, patch=(3, 8, 8), patches=16, classes=7, bias=False, eps=1e-12),
        8,
        32,
        note="transformers.ViTForImageClassification",
        initial=False,  # the preset starts as timm's
        wrong={**WRONG, "biases": lambda p: p.replace(bias=True)},
    )


@case("mixer")
def mixer() -> Case:
    timm = library("timm")
    return vision_model(
        lambda: timm.models.mlp_mixer.MlpMixer(img_size=32, patch_size=8, embed_dim=DIM, num_blocks=DEPTH, num_classes=7),
        presets.mixer(dim=DIM, depth=DEPTH, patch=(3, 8, 8), patches=16, classes=7),
        8,
        32,
        averaged,
        tuned=lambda reference: reference.stem.proj.weight.mul_(0.05),  # else no epsilon is seen behind it
        note="timm MlpMixer",
        wrong={
            **WRONG,
            "tanh gelu along places only": mixers(TokenMLP, mlp=MLP(DIM // 2, "gelu_tanh")),
            "a row for the mean": streams(lambda s: s.replace(heads={"class": s.heads["class"][1:]})),
        },
    )


@published("vit-base-patch16-224")
def vit_base() -> Case:
    timm = library("timm")
    return vision_model(lambda: timm.models.vision_transformer.VisionTransformer(), presets.vit(), 16, 224, note="timm")


@published("vit-tiny-patch16-224")
def vit_tiny() -> Case:
    return vit_of_size("vit-tiny-patch16-224")


@published("vit-small-patch16-224")
def vit_small() -> Case:
    return vit_of_size("vit-small-patch16-224")


@published("vit-large-patch16-224")
def vit_large() -> Case:
    return vit_of_size("vit-large-patch16-224", depth=2)


def vit_of_size(name: str, **cut: int) -> Case:
    """A published size beside timm's own model of that width; `cut` leaves blocks out."""
    timm = library("timm")
    preset = presets.vit(**{**presets.vit.published[name].fields, **cut})
    fresh = lambda: timm.models.vision_transformer.VisionTransformer(  # noqa: E731
        embed_dim=preset.dim, depth=preset.depth, num_heads=preset.heads
    )
    return vision_model(fresh, preset, 16, 224, note="timm")


@published("vit-base-patch16-224: transformers")
def vit_base_of_transformers() -> Case:
    return vision_model(hf_vit(num_labels=1000), presets.vit(eps=1e-12), 16, 224, note="transformers")


@published("mixer-b16-224")
def mixer_b16() -> Case:
    return mixer_of_size("mixer-b16-224")


@published("mixer-s16-224")
def mixer_s16() -> Case:
    return mixer_of_size("mixer-s16-224")


@published("mixer-l16-224")
def mixer_l16() -> Case:
    return mixer_of_size("mixer-l16-224", depth=2)


def mixer_of_size(name: str, **cut: int) -> Case:
    timm = library("timm")
    preset = presets.mixer(**{**presets.mixer.published[name].fields, **cut})
    fresh = lambda: timm.models.mlp_mixer.MlpMixer(num_blocks=preset.depth, embed_dim=preset.dim)  # noqa: E731
    return vision_model(fresh, preset, 16, 224, averaged, note="timm MlpMixer")
