"""Parity cases: models of image patches."""

import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Document
from omnitok.model import CONTROL
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, READ, SMALL, Case, asked, case, library, noise, published

MEAN, STD = 127.0, 64.0


def patches(pixels: Tensor, size: int) -> Tensor:
    """[3, h, w] normalised pixels -> [n, 3 * size * size] raw ones, band by band, row by row."""
    rows = pixels.shape[1] // size
    raw = pixels * STD + MEAN
    return raw.view(3, rows, size, -1, size).permute(1, 3, 0, 2, 4).reshape(-1, 3 * size * size)


def picture(pixels: Tensor, size: int) -> Document:
    sequence = TokenSequence((Span(CONTROL, READ), Span("image", features=patches(pixels, size))))
    return Document({"main": sequence}, {"label": asked("main:class", torch.tensor([0]))})


def vision_model(fresh, preset, size: int, side: int, **more) -> Case:
    """A classifier of square pictures behind a class token."""
    return Case(
        fresh,
        preset,
        {"image": Channel(width=(3 * size * size,), mean=MEAN, std=STD)},
        [noise(3, side, side, seed=i) for i in range(3)],
        lambda pixels: picture(pixels, size),
        lambda reference, pixels: {"label": reference(pixels[None])},
        **more,
    )


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
        wrong={"tanh gelu": lambda p: p.replace(act="gelu_tanh"), "eps 1e-5": lambda p: p.replace(eps=1e-5)},
    )


@published("vit-base-patch16-224")
def vit_base() -> Case:
    timm = library("timm")
    return vision_model(lambda: timm.models.vision_transformer.VisionTransformer(), presets.vit(), 16, 224, note="timm")
