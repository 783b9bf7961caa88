"""What an observation becomes in a step: one token, or the patches of its picture and one token for the rest.

Shape letters: n rows, P patches, C numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from omnitok_image.patches import Patches, patch_channel
from torch import Tensor

from omnitok.errors import ConfigError, InputError
from omnitok.nn.steps import Axis
from omnitok.tokenizer import Channel

from .codec import Codec, observation_codec
from .episode import Path, Tree, tree_at, tree_with
from .flatten import accept, unflatten, walk
from .spaces import NOTHING, Box, Space, picture_leaves, space_with, width


@dataclass(frozen=True)
class PatchCodec:
    """Pictures as patches, cut and given back as the image plugin does."""

    space: Box
    patches: Patches
    grid: int
    """rows of the tables of the axes h and w"""

    kind: ClassVar[str] = "features"

    @property
    def tokens(self) -> int:
        return len(self.patches)

    def content(self, tree: Tree, what: str, cast: bool = False) -> Tensor:
        """n pictures -> [n * P, C] uint8. Raises InputError naming the part and the step that does not fit."""
        pictures = accept(self.space, np.asarray(tree), what, cast)
        shape = (len(pictures), self.patches.height, self.patches.width, self.patches.colours)
        return self.patches.cut(torch.from_numpy(np.array(pictures)).view(shape)).flatten(0, 1)

    def tree(self, content: Tensor) -> np.ndarray:
        """[n * P, C] -> n pictures of the space's shape."""
        return self.pictures(content).reshape(-1, *self.space.shape)

    def pictures(self, content: Tensor) -> np.ndarray:
        """[n * P, C] -> uint8 [n, height, width, colours]."""
        return self.patches.join(content.detach().cpu().unflatten(0, (-1, self.tokens))).numpy()

    def numbers(self, tree: Tree, what: str) -> None:
        """Nothing is measured: a pixel's bounds say its scale."""

    def channel(self, statistics: Mapping[str, Any] | None, axes: tuple[Axis, ...]) -> Channel:
        """Normalised by the bounds of every colour, behind one linear map."""
        levels = np.iinfo(self.space.dtype)
        low, high = (bound.reshape(-1, self.patches.colours) for bound in self.space.bounds())
        low, high = np.maximum(low, levels.min).min(0), np.minimum(high, levels.max).max(0)
        mean, std = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
        return patch_channel(self.patches.side, self.patches.colours, _short(mean), _short(std), self.grid, axes)

    def axes(self, rows: int) -> dict[str, Tensor]:
        """Where the patches of n pictures stand: [n * P] each."""
        return self.patches.axes(rows)

    def place(self, k: int) -> dict[str, int]:
        return self.patches.place(k)


@dataclass(frozen=True)
class Observed:
    """The tokens of an observation: `parts` in their order, of which `observation` holds patches where `path` is given.

    What lies beside the picture in a Dict or Tuple is the part `state`.
    """

    space: Space
    parts: Mapping[str, Codec | PatchCodec]
    path: Path | None = None

    def split(self, tree: Tree, what: str) -> Iterator[tuple[str, Codec | PatchCodec, Tree, str]]:
        """(part, codec, its rows, what to call them in messages). Raises InputError where the tree is not of the space."""
        if self.path is None:
            yield "observation", self.parts["observation"], tree, what
            return
        lengths = {len(rows) if rows.ndim else 0 for _, _, rows in walk(self.space, tree, what)}
        if len(lengths) > 1:
            raise InputError(f"{what}: its parts have different numbers of rows ({', '.join(map(str, sorted(lengths)))})")
        label = what + "".join(f"[{key!r}]" for key in self.path)
        yield "observation", self.parts["observation"], tree_at(tree, self.path), label
        if "state" in self.parts:
            yield "state", self.parts["state"], tree_with(tree, self.path, {}), what

    def contents(self, tree: Tree, what: str, cast: bool = False) -> dict[str, Tensor]:
        """n rows -> the content of every part, [n * its tokens, ...]."""
        return {part: codec.content(rows, label, cast) for part, codec, rows, label in self.split(tree, what)}

    def tree(self, contents: Mapping[str, Tensor]) -> Tree:
        """The inverse of `contents`."""
        rows = self.parts["observation"].tree(contents["observation"])
        if self.path is None:
            return rows
        around = space_with(self.space, self.path, NOTHING)
        rest = self.parts["state"].tree(contents["state"]) if "state" in self.parts else unflatten(around, np.zeros((0, 0)))
        return tree_with(rest, self.path, rows)

    def rows(self, contents: Mapping[str, Tensor]) -> int:
        """n. Raises InputError where the parts do not hold as many."""
        counts = {part: divmod(len(contents[part]), codec.tokens) for part, codec in self.parts.items()}
        if len(set(counts.values())) > 1 or any(left for _, left in counts.values()):
            told = ", ".join(f"{len(contents[part])} {part} tokens ({c.tokens} a step)" for part, c in self.parts.items())
            raise InputError(f"{told} are no whole observations")
        return next(iter(counts.values()))[0]


def observed(space: Space, patch_size: int | None, grid: int) -> Observed:
    """How observations of a space become tokens.

    Raises ConfigError where there are to be patches and not one picture, or more of them than rows of `grid`.
    """
    if patch_size is None:
        return Observed(space, {"observation": observation_codec(space)})
    found = list(picture_leaves(space))
    if len(found) != 1:
        names = ", ".join("".join(f"[{key!r}]" for key in path) for path, _ in found)
        raise ConfigError(
            f"patch_size = {patch_size} needs observations with one picture, uint8 [height, width] or [height, width, colours]; "
            f"this space has {f'{len(found)} ({names})' if found else 'none'}: leave patch_size out, or set env or "
            "observation_space to those of the data"
        )
    path, leaf = found[0]
    height, across, *colours = leaf.shape
    patches = Patches(patch_size, height, across, *(colours or [1]))
    if max(patches.rows, patches.columns) > grid:
        raise ConfigError(
            f"a picture of {height} x {across} pixels has {patches.rows} x {patches.columns} patches of {patch_size} pixels, "
            f"and grid = {grid}: raise grid or patch_size"
        )
    parts: dict[str, Codec | PatchCodec] = {"observation": PatchCodec(leaf, patches, grid)}
    rest = space_with(space, path, NOTHING)
    if width(rest):
        parts["state"] = observation_codec(rest)
    return Observed(space, parts, path)


def _short(values: np.ndarray) -> float | tuple[float, ...]:
    plain = tuple(values.tolist())
    return plain[0] if len(set(plain)) == 1 else plain
