"""Point clouds as a set of patches: every point in exactly one of them, and the exact set back.

Shape letters: n points, m patches, K points of a patch, F numbers of a point.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import numpy as np
import torch
from msgspec import Meta

from omnitok.errors import ConfigError, InputError, did_you_mean
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .cloud import AXES, LARGEST, PointCloud, cells, farthest, middle
from .files import read_cloud, sniff_cloud
from .patch import PointPatch

DRAWN = 4000
"""Points that a drawing shows at most."""
NEAREST = 2.0**-149
"""The least radius of a cloud that positions are measured in: below it all its points are one."""


class PointCloudTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A `PointCloud` as patches of `group_size` points: the cells of a k-d tree, so that every point is in exactly one.

    Features are [m, group_size, 3 + values] float64; the last patch repeats its first point up to the
    size. They are embedded by `PointPatch`; where a patch lies is the axis `centre`: the middle of its box relative to the
    middle of the cloud, in units of the cloud's radius (or of `scale`), with sines and cosines of it, and the patch's size.

    Tokens are the same, bit for bit, for any order of the points; the patches are a set too (one position). Moving the
    cloud by what its numbers can hold exactly changes `centre` and what the model sees by rounding only. Coordinates are
    stored less an offset where that is exact (far from the origin: Sterbenz), so the set comes back bit for bit. Turning
    the cloud changes the patches. Values that `values` does not name are not kept, nor are the faces of a mesh.
    """

    name: ClassVar[str] = "pointcloud"
    round_trip: ClassVar[RoundTrip] = Exact()
    suffixes: ClassVar[tuple[str, ...]] = (".ply", ".xyz", ".pts", ".npy")

    group_size: Annotated[int, Meta(ge=1, le=4096, description="points of a patch")] = 32
    values: Annotated[
        tuple[str, ...], Meta(description='values of the points to keep, by their names in the file: "red", "nx", "intensity"')
    ] = ()
    sample: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="at most this many points, by farthest point sampling; lossy")
    ] = None
    scale: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="length that positions are measured in; unset: each cloud's radius")
    ] = None
    bands: Annotated[int, Meta(ge=0, le=16, description="octaves of sines and cosines of a patch's position")] = 4
    width: Annotated[int, Meta(ge=1, description="width of the small PointNet that embeds a patch")] = 64
    max_points: Annotated[int, Meta(ge=0, description="larger clouds are refused, from the header where there is one")] = 1 << 20
    max_bytes: Annotated[int, Meta(ge=1, description="longer files are refused")] = 1 << 28

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.values:
            if name in AXES or self.values.count(name) > 1:
                raise ConfigError(f"tokenizer 'pointcloud': field 'values': {name!r} is a coordinate, or is named twice")

    @property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of every value, as `fit` saw them."""
        if self.state is None:
            return (0.0,) * len(self.values), (1.0,) * len(self.values)
        learned = json.loads(self.state)
        return tuple(learned["mean"]), tuple(learned["std"])

    def channels(self) -> dict[str, Channel]:
        mean, std = self._statistics
        step = PointPatch(self.group_size, len(self.values), self.width)
        return {
            self.channel(): Channel(
                width=(self.group_size, 3 + len(self.values)),
                mean=(0.0, 0.0, 0.0, *mean),
                std=(1.0, 1.0, 1.0, *std),
                attend="full",
                ordered=False,
                embed=(step,),
                axes=(Axis("centre", 4 + 6 * self.bands, "linear"),),
            )
        }

    def fit(self, samples: Iterable[Any]) -> Self:
        """Learns mean and deviation of every value over all points of the samples."""
        if not self.values:
            return self
        number, total, square = 0, np.zeros(len(self.values)), np.zeros(len(self.values))
        for raw in samples:
            cloud = self.kept(raw)
            table = np.array([cloud.values[name] for name in self.values], dtype=np.float64)
            number, total, square = number + len(cloud), total + table.sum(1), square + (table**2).sum(1)
        if not number:
            return self
        mean = total / number
        spread = np.sqrt((square / number - mean**2).clip(min=0))
        learned = {"mean": mean.tolist(), "std": np.where(spread > 0, spread, 1.0).tolist()}
        return msgspec.structs.replace(self, state=json.dumps(learned).encode())

    def encode(self, raw: Any) -> TokenSequence:
        """A cloud -> tokens. Raises InputError for what is no cloud, lacks a value, or is over `max_points`."""
        cloud = self.kept(raw)
        rows = self._rows(cells(cloud.points, self.group_size))
        offset = exact_offset(cloud.points)
        columns = [cloud.points - offset, *(cloud.values[name][:, None] for name in self.values)]
        table = np.hstack([column.astype(np.float64) for column in columns])
        features = table[rows].reshape(-1, self.group_size, 3 + len(self.values))
        meta = {
            "points": len(cloud),
            "offset": offset.astype(np.float64).tolist(),
            "dtype": str(cloud.points.dtype),
            "values": {name: str(cloud.values[name].dtype) for name in self.values},
        }
        axes = {"centre": torch.from_numpy(self._centres(cloud.points, rows))}
        return TokenSequence((Span(self.channel(), features=torch.from_numpy(features), axes=axes, meta=meta),))

    def _rows(self, order: np.ndarray) -> np.ndarray:
        """[m * K] rows by patch; the last patch is filled up with its first point."""
        missing = -len(order) % self.group_size
        return np.r_[order, np.repeat(order[len(order) + missing - self.group_size :][:1], missing)]

    def _centres(self, points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[m, 4 + 6 bands] float32: position and half diagonal of every patch's box, sines and cosines of the position."""
        if not len(points):
            return np.zeros((0, 4 + 6 * self.bands), dtype=np.float32)
        patches = points[rows].reshape(-1, self.group_size, 3).astype(np.float64) - middle(points)
        low, high = patches.min(1), patches.max(1)
        unit = self.scale or max(float(np.sqrt((patches**2).sum(-1).max())), NEAREST)
        place, half = (low + high) / 2 / unit, np.linalg.norm((high - low) / 2, axis=1, keepdims=True) / unit
        angles = [np.pi * 2.0**k * place for k in range(self.bands)]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        found = np.hstack([place, half, *waves])
        if not np.abs(found).max() < LARGEST:
            raise InputError(f"a cloud {float(unit * np.abs(found).max()):g} wide is no cloud to measure in scale = {self.scale}")
        return found.astype(np.float32)

    def decode(self, tokens: TokenSequence) -> PointCloud:
        """The set of points, with the values that were kept."""
        spans = self.whole(tokens)
        if "" not in spans:
            raise InputError(f"nothing to decode: no tokens of {self.channel()!r}")
        features, meta = spans[""].features, spans[""].meta
        n, offset, dtype, kinds = _meta(meta, self.values)
        shape = (-(-n // self.group_size), self.group_size, 3 + len(self.values))
        if features is None or features.shape != shape:
            found = "ids" if features is None else f"features {list(features.shape)}"
            raise InputError(f"{self.channel()!r}: a cloud of {n} points has features {list(shape)}, got {found}")
        table = features.numpy().reshape(-1, shape[2])[:n]
        values = {name: table[:, 3 + k].astype(kind) for k, (name, kind) in enumerate(kinds.items())}
        return PointCloud(table[:, :3].astype(dtype) + offset.astype(dtype), values)

    def count(self, raw: Any) -> int:
        if not isinstance(raw, PointCloud):
            return len(self.encode(raw))
        return -(-min(len(raw), self.sample or len(raw)) // self.group_size)

    def kept(self, raw: Any) -> PointCloud:
        """Any cloud -> what `decode` will give back."""
        if not isinstance(raw, PointCloud):
            raise InputError(f"tokenizer 'pointcloud' wants an omnitok_pointcloud.cloud.PointCloud, got {type(raw).__name__}")
        if len(raw) > self.max_points:
            raise InputError(f"{len(raw)} points, more than max_points = {self.max_points}")
        for name in self.values:
            if name not in raw.values:
                raise InputError(f"the cloud has no value {name!r}; {did_you_mean(name, raw.values, 'values')}")
            if not _fits(raw.values[name]):
                raise InputError(f"value {name!r} holds {raw.values[name].dtype} beyond what float64 holds exactly")
        if self.sample is not None and len(raw) > self.sample:
            return raw.take(farthest(raw.points, self.sample), self.values)
        return raw if tuple(raw.values) == tuple(sorted(self.values)) else raw.take(np.arange(len(raw)), self.values)

    def read(self, path: Path) -> PointCloud:
        """A cloud from PLY (its vertices), XYZ or PTS text, or an array file; with the values that are kept."""
        path = Path(path)
        cloud = read_cloud(path, self.max_points, self.max_bytes)
        try:
            return self.kept(cloud)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def sniff(self, path: Path, head: bytes) -> bool:
        return sniff_cloud(Path(path), head)

    def samples(self, seed: int = 0) -> Iterable[PointCloud]:
        rng = np.random.default_rng(seed)
        for n, dtype, far in (
            (0, np.float32, 0),
            (1, np.float64, 0),
            (self.group_size, np.float32, 1000),
            (3 * self.group_size + 5, np.float32, 0),
            (2 * self.group_size + 1, np.float64, 5e6),
        ):
            n = min(n, self.sample or n)
            yield PointCloud((rng.normal(size=(n, 3)) + far).astype(dtype), self._dressed(rng, n))
        yield PointCloud(np.zeros((min(7, self.sample or 7), 3), np.float32), self._dressed(rng, min(7, self.sample or 7)))

    def _dressed(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        return {name: rng.integers(0, 256, n).astype(np.uint8) for name in self.values}

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        """Seen from the side and a little from above: every point, joined to the middle of its patch, which is the token."""
        cloud = self.kept(raw)
        rows = cells(cloud.points, self.group_size)
        flat = (cloud.points[rows].astype(np.float64) - middle(cloud.points)) @ VIEW
        patch = np.arange(len(rows)) // self.group_size
        centres = [flat[patch == k].mean(0) for k in range(-(-len(rows) // self.group_size))]
        nodes = [tuple(map(float, p)) for p in (*centres, *flat)]
        edges = [(int(patch[i]), len(centres) + i) for i in range(0, len(rows), 1 + len(rows) // DRAWN)]
        first = next((span.part[0] for span in tokens.spans if span.part is not None), 0)
        marks = list(range(len(centres)))[first : first + len(tokens)]
        title = f"{len(cloud)} points, {len(centres)} patches of {self.group_size}"
        return Picture("network", {"nodes": nodes, "edges": edges}, marks, title)


VIEW = np.array([[0.866, -0.25], [0.5, 0.433], [0.0, 0.866]])
"""x, y, z -> across and up the page: from the azimuth of 30 degrees, 30 degrees above the ground."""


def exact_offset(points: np.ndarray) -> np.ndarray:
    """[3] in the type of the points: what can be taken from every coordinate, and added again, without rounding.

    Where the largest of a column is at most twice the smallest (all of one sign), the difference of any two of them is
    exact (Sterbenz's lemma), so it is the middle of the column; elsewhere 0: the cloud is about as wide as it is far.
    """
    if not len(points):
        return np.zeros(3, points.dtype)
    low, high = np.abs(points).min(0), np.abs(points).max(0)
    one_sign = (points > 0).all(0) | (points < 0).all(0)
    return np.where(one_sign & (high / 2 <= low), np.sign(points[0]) * (low + (high - low) / 2), 0).astype(points.dtype)


def _fits(column: np.ndarray) -> bool:
    """Whether a column comes back from float64 as it was."""
    if column.dtype.kind == "f":
        return column.dtype.itemsize <= 8
    return not len(column) or max(abs(int(column.min())), abs(int(column.max()))) <= 1 << 53


def _meta(meta: Mapping[str, Any], names: tuple[str, ...]) -> tuple[int, np.ndarray, str, dict[str, str]]:
    """Points, offset, type and the types of the values. Raises InputError where something is missing."""
    n, offset, dtype, kinds = (meta.get(key) for key in ("points", "offset", "dtype", "values"))
    if not isinstance(n, int) or n < 0 or dtype not in ("float32", "float64") or not isinstance(offset, list | tuple):
        raise InputError(f"a cloud's meta needs 'points', 'offset' and 'dtype', got {sorted(meta)}")
    if not isinstance(kinds, Mapping) or set(kinds) != set(names):
        raise InputError(f"the tokens hold the values {sorted(kinds or ())}, the tokenizer is set to {list(names)}")
    return n, np.array(offset, dtype=np.float64), dtype, {name: kinds[name] for name in names}
