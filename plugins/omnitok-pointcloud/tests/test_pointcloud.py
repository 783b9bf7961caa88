"""Point clouds: the exact set back, the same tokens for any order, moved clouds, and files of every kind and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omnitok_pointcloud.cloud import PointCloud, cells, farthest
from omnitok_pointcloud.datasets import SHAPES, Shapes
from omnitok_pointcloud.patch import PointPatch
from omnitok_pointcloud.tokenizer import PointCloudTokenizer, exact_offset
from plyfile import PlyData, PlyElement

from omnitok import build, pack, presets
from omnitok.errors import ConfigError, InputError
from omnitok.record import same
from omnitok.testing import parametrize_with_checks

CLOUD = PointCloudTokenizer(group_size=8)


@parametrize_with_checks(
    ["pointcloud", PointCloudTokenizer(group_size=5, values=("red", "nx")), PointCloudTokenizer(sample=20, group_size=7)]
)
def test_contract(tokenizer: Any, check: Any) -> None:
    check(tokenizer)


def numbers(dtype: str) -> st.SearchStrategy[np.ndarray]:
    width = 32 if dtype == "float32" else 64
    one = st.floats(-1000, 1000, width=width) | st.floats(4096, 4100, width=width) | st.just(-0.0)
    return st.integers(0, 40).flatmap(lambda n: arrays(dtype, (n, 3), elements=one))


def coloured(n: int, seed: int = 0) -> PointCloud:
    rng = np.random.default_rng(seed)
    values = {"red": rng.integers(0, 256, n).astype(np.uint8), "nx": rng.normal(size=n).astype(np.float32)}
    return PointCloud(rng.normal(size=(n, 3)), values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cloud.xyz"


# -- the set and its tokens


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["float32", "float64"]).flatmap(numbers), st.integers(1, 9))
def test_the_set_comes_back_bit_for_bit(points: np.ndarray, size: int) -> None:
    cloud, tokenizer = PointCloud(points), PointCloudTokenizer(group_size=size)
    tokens = tokenizer.encode(cloud)
    back = tokenizer.decode(tokens)
    assert back == cloud and back.points.dtype == points.dtype
    assert len(tokens) == -(-len(points) // size) == tokenizer.count(cloud)
    assert sorted(map(tuple, back.points.tolist())) == sorted(map(tuple, points.tolist()))  # as a multiset


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["float32", "float64"]).flatmap(numbers), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_tokens(points: np.ndarray, random: Any) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    label = np.arange(len(points)) % 3
    tokenizer = PointCloudTokenizer(group_size=4, values=("label",), sample=25)
    a, b = PointCloud(points, {"label": label}), PointCloud(points[order], {"label": label[order]})
    assert a == b and same(tokenizer.encode(a), tokenizer.encode(b))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99), st.tuples(*[st.integers(-4096, 4096)] * 3))
def test_a_moved_cloud_has_the_same_patches(n: int, seed: int, move: tuple[int, int, int]) -> None:
    """Coordinates in 1/1024 and whole moves: every sum is exact, so that nothing but the place changes."""
    points = np.random.default_rng(seed).integers(-2048, 2048, (n, 3)) / 1024
    here, there = (CLOUD.encode(PointCloud(p)).spans[0] for p in (points, points + np.array(move, float)))
    assert torch.equal(here.axes["centre"], there.axes["centre"])
    module = PointPatch(8).build(24, 16)
    a, b = (span.features + torch.tensor(span.meta["offset"] * 1) for span in (here, there))
    torch.testing.assert_close(a, b - torch.tensor(move, dtype=torch.float64), rtol=0, atol=0)
    torch.testing.assert_close(module(here.features), module(there.features), rtol=1e-3, atol=1e-3)


def test_far_from_the_origin_the_model_still_sees_millimetres() -> None:
    """Coordinates as surveyors have them, beyond what float32 tells apart: features are small, and exact."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (64, 3)) + np.array([412_345.25, 5_654_321.5, 118.0])
    span = CLOUD.encode(PointCloud(points)).spans[0]
    assert span.features.abs().max() < 1
    near = CLOUD.encode(PointCloud(points - [412_345, 5_654_321, 118])).spans[0]
    module = PointPatch(8).build(24, 16)
    torch.testing.assert_close(module(span.features), module(near.features), rtol=1e-4, atol=1e-4)


@settings(max_examples=200, deadline=None)
@given(arrays("float32", (5, 3), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_the_offset_is_taken_and_added_without_rounding(points: np.ndarray) -> None:
    points = points + np.float32(0)
    offset = exact_offset(points)
    assert offset.dtype == points.dtype
    assert np.array_equal((points - offset) + offset, points)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 70), st.integers(1, 9), st.integers(0, 99))
def test_cells_hold_every_point_once_and_are_full(n: int, size: int, seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 6, (n, 3)).astype(np.float32)
    assert sorted(cells(points, size).tolist()) == list(range(n))


def test_cells_are_boxes_apart() -> None:
    """On a line, patches are runs; in a plane, no two patches of a k-d tree overlap."""
    line = np.zeros((32, 3))
    line[:, 1] = np.random.default_rng(0).permutation(32)
    assert np.array_equal(line[cells(line, 4), 1], np.arange(32))
    points = np.random.default_rng(1).normal(size=(64, 3))
    boxes = points[cells(points, 8)].reshape(8, 8, 3)
    low, high = boxes.min(1), boxes.max(1)
    overlap = ((low[:, None] < high[None]) & (high[:, None] > low[None])).all(-1)
    assert np.array_equal(overlap, np.eye(8, dtype=bool))


def test_farthest_points_are_spread_and_start_alike() -> None:
    points = PointCloud(np.random.default_rng(0).uniform(size=(200, 3))).points
    chosen = points[farthest(points, 20)]
    gaps = np.linalg.norm(chosen[:, None] - chosen, axis=-1) + np.eye(20) * 9
    cover = np.linalg.norm(points[:, None] - chosen, axis=-1).min(1).max()
    assert cover <= gaps.min() + 1e-12  # the law of farthest point sampling
    assert np.array_equal(farthest(points, 5), farthest(points, 20)[:5])


def test_sampling_twice_changes_nothing() -> None:
    tokenizer = PointCloudTokenizer(sample=30, values=("red",))
    once = tokenizer.kept(coloured(100))
    assert len(once) == 30 and tokenizer.kept(once) == once == tokenizer.decode(tokenizer.encode(once))


# -- the embedding


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 99))
def test_a_patch_is_a_set_to_the_model(real: int, seed: int) -> None:
    """The order of its points, points that are there twice, its place and its size make no difference."""
    torch.manual_seed(seed)
    module = PointPatch(8, 2).build(40, 16)
    x = torch.randn(1, real, 5)
    fill = x[:, torch.randint(0, real, (8 - real,))]
    turned = torch.cat([x, fill], 1)[:, torch.randperm(8)]
    moved = torch.cat([turned[..., :3] * 4 + 2, turned[..., 3:]], -1)
    want = module(torch.cat([x, x[:, :1].expand(-1, 8 - real, -1)], 1))
    torch.testing.assert_close(module(turned), want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(module(moved), want, rtol=1e-3, atol=1e-4)


def test_the_order_of_the_patches_makes_no_difference_to_a_model() -> None:
    """A channel of a set: its tokens share one position."""
    torch.manual_seed(0)
    tokens = CLOUD.encode(PointCloud(np.random.default_rng(0).normal(size=(40, 3))))
    span = tokens.spans[0]
    turn = torch.randperm(len(span))
    other = span.replace(features=span.features[turn], axes={"centre": span.axes["centre"][turn]})
    model = build(presets.encoder(dim=32, depth=2), CLOUD.channels()).eval()
    a, b = (model.hidden(next(iter(pack([type(tokens)((s,))], budget=64, tokenizers=[CLOUD]))))["main"] for s in (span, other))
    torch.testing.assert_close(a[turn], b, rtol=1e-4, atol=1e-5)


def test_fit_learns_mean_and_deviation_of_the_values() -> None:
    clouds = [coloured(50, seed) for seed in range(3)]
    channel = PointCloudTokenizer(values=("red", "nx")).fit(clouds).channels()["pointcloud"]
    red = np.concatenate([c.values["red"] for c in clouds])
    assert channel.mean[:3] == (0, 0, 0) and channel.mean[3] == pytest.approx(red.mean())
    assert channel.std[:3] == (1, 1, 1) and channel.std[3] == pytest.approx(red.std())


def test_the_drawing_has_a_node_for_each_patch() -> None:
    cloud = coloured(50)
    picture = CLOUD.show(cloud, CLOUD.encode(cloud))
    assert picture.marks == list(range(7)) and len(picture.data["nodes"]) == 57


# -- what is refused


@pytest.mark.parametrize(
    ("points", "values", "message"),
    [
        (np.zeros((3, 2), np.float32), {}, r"float32 \[3, 2\]"),
        (np.zeros((3, 3), np.int64), {}, "int64"),
        ([[0.0, 0.0, 0.0]], {}, "not list"),
        (np.array([[0, 0, 0], [0, np.nan, 0]], np.float32), {}, "'y' of point 1 is nan"),
        (np.array([[0, 0, np.inf]], np.float64), {}, "'z' of point 0 is inf"),
        (np.array([[1e31, 0, 0]], np.float64), {}, "at most 1e"),
        (np.zeros((2, 3)), {"red": np.zeros(3)}, "'red' has"),
        (np.zeros((2, 3)), {"red": np.array([1.0, np.nan])}, "'red' of point 1 is nan"),
        (np.zeros((2, 3)), {"x": np.zeros(2)}, "'x' has"),
    ],
)
def test_what_is_no_cloud_is_refused(points: Any, values: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PointCloud(points, values)


def test_a_value_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no value 'rad'; did you mean 'red'"):
        PointCloudTokenizer(values=("rad",)).encode(coloured(3))
    with pytest.raises(InputError, match="beyond what float64 holds"):
        PointCloudTokenizer(values=("id",)).encode(PointCloud(np.zeros((1, 3)), {"id": np.array([(1 << 53) + 1])}))
    with pytest.raises(ConfigError, match="'values'"):
        PointCloudTokenizer(values=("x",))


# -- files


def ply(path: Path, cloud: PointCloud, text: bool = False, order: str = "<", mesh: bool = False) -> None:
    kind = {"float32": "f4", "float64": "f8"}[str(cloud.points.dtype)]
    rows = np.empty(len(cloud), [(a, kind) for a in "xyz"] + [(n, v.dtype.str[1:]) for n, v in cloud.values.items()])
    for k, axis in enumerate("xyz"):
        rows[axis] = cloud.points[:, k]
    for name, column in cloud.values.items():
        rows[name] = column
    elements = [PlyElement.describe(rows, "vertex")]
    if mesh:
        faces = np.array([([0, 1, 2],), ([1, 2, 3],)], dtype=[("vertex_indices", "i4", (3,))])
        elements.append(PlyElement.describe(faces, "face"))
    PlyData(elements, text=text, byte_order="=" if text else order).write(str(path))


@pytest.mark.parametrize("form", [{"text": True}, {"order": "<"}, {"order": ">"}], ids=["ascii", "little", "big"])
@pytest.mark.parametrize("mesh", [False, True])
def test_ply_of_every_form(form: dict[str, Any], mesh: bool, tmp_path: Path) -> None:
    cloud = coloured(20)
    ply(tmp_path / "a.ply", cloud, mesh=mesh, **form)
    tokenizer = PointCloudTokenizer(values=("red", "nx"))
    found = tokenizer.read(tmp_path / "a.ply")
    assert found == cloud and found.values["red"].dtype == np.uint8
    assert tokenizer.decode(tokenizer.encode(found)) == cloud
    assert not CLOUD.read(tmp_path / "a.ply").values  # what is not named is not kept


@pytest.mark.parametrize("form", [{"text": True}, {"order": "<"}], ids=["ascii", "binary"])
def test_every_prefix_of_a_ply_is_refused(form: dict[str, Any], tmp_path: Path) -> None:
    ply(tmp_path / "a.ply", PointCloud(np.random.default_rng(0).normal(size=(9, 3))), **form)
    data = (tmp_path / "a.ply").read_bytes()
    for end in range(0, len(data) - 24 if "text" in form else len(data), 5):  # the last number of a text may be cut unseen
        (tmp_path / "a.ply").write_bytes(data[:end])
        with pytest.raises(InputError, match=r"a\.ply"):
            CLOUD.read(tmp_path / "a.ply")


def test_limits_come_from_the_header(tmp_path: Path) -> None:
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n"
    (tmp_path / "a.ply").write_bytes(head)
    with pytest.raises(InputError, match="99999999999 points, more than max_points"):
        CLOUD.read(tmp_path / "a.ply")
    np.save(tmp_path / "a.npy", np.zeros((20, 3)))
    with pytest.raises(InputError, match="20 points, more than max_points = 19"):
        PointCloudTokenizer(max_points=19).read(tmp_path / "a.npy")
    with pytest.raises(InputError, match="bytes, more than max_bytes = 9"):
        PointCloudTokenizer(max_bytes=9).read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n4 five 6\n", "line 2: 'five' is no number"),
        ("1 2 3\n\n4 5\n", "line 3: 2 numbers; wanted 3, as in the first line"),
        ("1 2\n", "line 1: 2 numbers; wanted at least x, y and z"),
        ("# a\n1 2 nan\n", "line 2: '1 2 nan' holds NaN"),
        ("3\nwater\nO 0 0 0\n", "line 1: 1 numbers"),
        ("1 2 1_0\n", "line 1: '1_0' is no number"),
    ],
)
def test_lines_of_text_are_named(text: str, message: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=rf"cloud\.xyz: {message}"):
        CLOUD.read(path)


def test_xyz_text_with_commas_comments_and_more_columns(path: Path) -> None:
    path.write_text("# x y z w\n1, 2, 3, 4\n\n-1 0 1e3 7\n")
    found = PointCloudTokenizer(values=("column3",)).read(path)
    assert found == PointCloud(np.array([[1.0, 2, 3], [-1, 0, 1000]]), {"column3": np.array([4.0, 7.0])})
    path.write_text("")
    assert len(CLOUD.read(path)) == 0 == len(CLOUD.encode(CLOUD.read(path)))


def test_pts_text(tmp_path: Path) -> None:
    path = tmp_path / "scan.pts"
    path.write_text("2\n0 0 1 -90 255 0 9\n0 1 0 12 1 2 3\n")
    found = PointCloudTokenizer(values=("intensity", "red")).read(path)
    assert found.values["intensity"].tolist() == [-90, 12] and found.values["red"].tolist() == [255, 1]
    for text, message in (
        ("3\n0 0 1\n0 1 0\n", "line 1 announces 3 points, and 2 follow"),
        ("0 0 1\n", "line 1: '0 0 1' is not the number of points"),
        ("1\n0 0 1 2 3\n", "5 columns; a PTS file has 3, 4, 6, 7"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            CLOUD.read(path)


def test_arrays_and_never_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    array = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.save(path, array)
    assert PointCloudTokenizer(values=("column3",)).read(path) == PointCloud(array[:, :3], {"column3": array[:, 3]})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="cut short"):
        CLOUD.read(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not object"):
        CLOUD.read(path)
    np.save(path, np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"not float64 \[3, 2\]"):
        CLOUD.read(path)


def test_files_are_told_from_others(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    np.save(tmp_path / "b.npy", np.zeros(3))
    assert CLOUD.sniff(tmp_path / "a.npy", (tmp_path / "a.npy").read_bytes())
    assert not CLOUD.sniff(tmp_path / "b.npy", (tmp_path / "b.npy").read_bytes())
    assert CLOUD.sniff(Path("a.xyz"), b"1 2 3\n") and not CLOUD.sniff(Path("a.xyz"), b"3\nwater\nO 0 0 0\n")
    assert CLOUD.sniff(Path("a.pts"), b"2\n0 0 1\n")


# -- data


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_solids_are_centred_bounded_and_never_equal(shape: int) -> None:
    a, b = (Shapes(noise=0.0, stretch=1.0, missing=0.0).draw(shape + 6 * k) for k in range(2))
    assert a["shape"] == SHAPES[shape] and a["cloud"] != b["cloud"] and len(a["cloud"]) == 256
    points = a["cloud"].points.astype(np.float64)
    far = np.linalg.norm(points - points.mean(0), axis=1)
    assert far.max() / far.mean() < 2.6
    if SHAPES[shape] == "sphere":
        assert np.ptp(np.linalg.svd(points - points.mean(0))[1]) < 2.5


def test_splits_are_drawn_again_alike_and_share_nothing() -> None:
    data = Shapes(count=12, held_out=6, points=32)
    train, held_out = list(data.split("train")), list(data.split("eval"))
    assert (len(train), len(held_out)) == (12, 6)
    assert train[5]["cloud"] == data.split("train")[5]["cloud"]
    assert all(a["cloud"] != b["cloud"] for a in train for b in held_out)
