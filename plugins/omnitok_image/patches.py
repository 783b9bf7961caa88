"""Square patches of pixels and back: how this plugin cuts pictures, and others that hold some.

Shape letters: H height, W width, C colours, p side of a patch, P patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from omnitok.nn.steps import Axis
from omnitok.tokenizer import Channel

Numbers = float | tuple[float, ...]


@dataclass(frozen=True)
class Patches:
    """The patches of pictures [H, W, C] of one size, row by row; a side that no patch divides is padded with zeros."""

    side: int
    height: int
    width: int
    colours: int

    @property
    def rows(self) -> int:
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        return -(-self.width // self.side)

    def __len__(self) -> int:
        return self.rows * self.columns

    @property
    def size(self) -> int:
        """Numbers of a patch."""
        return self.colours * self.side**2

    def cut(self, pixels: Tensor) -> Tensor:
        """[..., H, W, C] -> [..., P, C p p], flattened "(c p q)" as in a ViT's convolution."""
        p, right, below = self.side, self.columns * self.side - self.width, self.rows * self.side - self.height
        padded = F.pad(pixels, (0, 0, 0, right, 0, below))
        return rearrange(padded, "... (h p) (w q) c -> ... (h w) (c p q)", p=p, q=p).contiguous()

    def join(self, features: Tensor) -> Tensor:
        """[..., P, C p p] -> [..., H, W, C] uint8, the inverse of `cut`; what a model generated is rounded and clipped."""
        if features.is_floating_point():
            features = features.nan_to_num().round().clamp(0, 255)
        shape = {"h": self.rows, "p": self.side, "q": self.side}
        pixels = rearrange(features.to(torch.uint8), "... (h w) (c p q) -> ... (h p) (w q) c", **shape)
        return pixels[..., : self.height, : self.width, :].contiguous()

    def axes(self, pictures: int = 1) -> dict[str, Tensor]:
        """Row and column of every patch of so many pictures, one behind the other: [pictures * P] each."""
        k = torch.arange(len(self)).repeat(pictures)
        return {"h": k // self.columns, "w": k % self.columns}

    def place(self, k: int) -> dict[str, int]:
        """Row and column of patch k."""
        return {"h": k // self.columns, "w": k % self.columns}


def patch_channel(side: int, colours: int, mean: Numbers, std: Numbers, grid: int, before: tuple[Axis, ...] = ()) -> Channel:
    """Patches as a channel: they see each other, and each says where it stands.

    `mean` and `std` are one number, or one per colour; `grid` the rows of the tables of the axes h and w, which all
    pictures of a model share; `before` axes that come first.
    """
    layout: Mapping[str, Numbers] = {
        name: tuple(x for x in numbers for _ in range(side**2)) if isinstance(numbers, tuple) else numbers
        for name, numbers in (("mean", mean), ("std", std))
    }
    axes = (*before, Axis("h", grid), Axis("w", grid))
    return Channel(width=(colours * side**2,), mean=layout["mean"], std=layout["std"], attend="full", axes=axes)
