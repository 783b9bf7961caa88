"""Videos: tubelets and back, animated files composed and timed right, films, and every file that is cut short refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_video.clip import Video, at_rate, spread
from omnitok_video.containers import kind_of, survey
from omnitok_video.datasets import DIRECTIONS, Motion
from omnitok_video.tokenizer import VideoTokenizer
from PIL import Image

from omnitok import load_plugins
from omnitok.errors import ConfigError, InputError
from omnitok.testing import parametrize_with_checks

VIDEO = VideoTokenizer(patch_size=4)


@parametrize_with_checks(["video", VideoTokenizer(mode="L", patch_size=5, tubelet=3), VideoTokenizer(mode="RGBA", frames=2)])
def test_contract(tokenizer: Any, check: Any) -> None:
    check(tokenizer)


def clip(count: int, height: int, width: int, *colours: int, seed: int = 0, step: int = 50) -> Video:
    frames = np.random.default_rng(seed).integers(0, 256, (count, height, width, *colours), dtype=np.uint8)
    return Video(frames, tuple(step * (i + 1) for i in range(count)), 0)


def blocks(seed: int = 0, count: int = 5, colours: int = 3, side: int = 8) -> list[Image.Image]:
    """Pictures of few colours, which a GIF's palette holds exactly, each with another part changed."""
    rng = np.random.default_rng(seed)
    frame = np.zeros((side, side, colours), np.uint8)
    frame[..., 3:] = 255
    out = []
    for i in range(count):
        y, x = rng.integers(0, side - 2, 2)
        frame[y : y + 3, x : x + 3, :3] = rng.integers(0, 4, 3) * 85
        frame[0, 0, :3] = 40 * i  # no frame is the one before, or Pillow would merge the two
        out.append(Image.fromarray(frame.copy()))
    return out


def written(format: str, pictures: list[Image.Image], **options: Any) -> bytes:
    file = io.BytesIO()
    options = {"duration": [40 * (i + 1) for i in range(len(pictures))], "loop": 0} | options
    pictures[0].save(file, format, save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


FILES = {
    "GIF": ("gif", {}),
    "PNG": ("png", {}),
    "WEBP": ("webp", {"lossless": True}),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clip.bin"


# -- tubelets


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 13), st.integers(1, 13), st.integers(1, 4), st.integers(1, 6), st.sampled_from(["L", "RGB"])
)
def test_frames_and_durations_come_back(count: int, height: int, width: int, tubelet: int, patch: int, mode: str) -> None:
    video = clip(count, height, width, *((3,) if mode == "RGB" else ()))
    tokenizer = VideoTokenizer(tubelet=tubelet, patch_size=patch, mode=mode)
    tokens = tokenizer.encode(video)
    assert len(tokens) == -(-count // tubelet) * -(-height // patch) * -(-width // patch) == tokenizer.count(video)
    assert tokens.spans[0].features.dtype == torch.uint8
    assert tokenizer.decode(tokens) == video


def test_a_tubelet_is_flattened_as_a_conv3d_reads_it() -> None:
    video = clip(4, 8, 8, 3)
    features = VIDEO.encode(video).spans[0].features.float()
    x = torch.from_numpy(video.frames).permute(3, 0, 1, 2)[None].float()
    weight = torch.randn(7, 3, 2, 4, 4)
    want = torch.nn.functional.conv3d(x, weight, stride=(2, 4, 4)).flatten(2)[0].T
    torch.testing.assert_close(features @ weight.flatten(1).T, want, rtol=1e-4, atol=1e-2)


def test_axes_say_when_and_where() -> None:
    axes = VIDEO.encode(clip(4, 8, 12, 3)).spans[0].axes
    assert list(zip(*(axes[a].tolist() for a in "thw"), strict=True)) == [
        (t, h, w) for t in range(2) for h in range(2) for w in range(3)
    ]


def test_one_mean_per_colour_reaches_every_number_of_a_tubelet() -> None:
    channel = VideoTokenizer(patch_size=2, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)).channels()["video"]
    assert channel.mean == (1.0,) * 8 + (2.0,) * 8 + (3.0,) * 8
    assert channel.width == (24,)


def test_the_drawing_marks_each_token_inside_the_sheet() -> None:
    video = clip(19, 6, 9, 3)
    tokens = VIDEO.encode(video)
    picture = VIDEO.show(video, tokens)
    height, width = picture.data.shape[:2]
    assert len(set(picture.marks)) == len(tokens)
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in picture.marks)


# -- choosing frames


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.integers(1, 40))
def test_spread_frames_keep_the_time_and_the_order(durations: list[int], count: int) -> None:
    frames = np.arange(len(durations), dtype=np.uint8).reshape(-1, 1, 1)
    video = spread(Video(frames, tuple(durations)), count)
    assert len(video) == min(count, len(durations))
    assert sum(video.durations) == sum(durations)
    assert (np.diff(video.frames[:, 0, 0].astype(int)) > 0).all() and video.frames[0, 0, 0] == 0
    assert spread(video, count) == video


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.floats(1, 60))
def test_a_rate_is_reached_and_then_nothing_changes(durations: list[int], fps: float) -> None:
    frames = np.arange(len(durations), dtype=np.uint8).reshape(-1, 1, 1)
    video = at_rate(Video(frames, tuple(durations)), fps, 10_000)
    assert set(video.durations) == {1000 / fps}
    assert abs(video.seconds - sum(durations) / 1000) <= max(0.5, 1) / fps
    assert (np.diff(video.frames[:, 0, 0].astype(int)) >= 0).all()
    assert at_rate(video, fps, 10_000) == video


def test_frames_and_fps_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both"):
        VideoTokenizer(frames=3, fps=5.0)


def test_wrong_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="'video', field 'mean': mode RGB has 3 bands"):
        VideoTokenizer(mean=(1.0, 2.0))


# -- files


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("seed", range(4))
def test_animations_are_composed_and_timed(format: str, seed: int, path: Path) -> None:
    pictures = blocks(seed)
    path.write_bytes(written(format, pictures, **FILES[format][1]))
    video = VIDEO.read(path)
    assert np.array_equal(video.frames, np.stack([np.array(p) for p in pictures]))
    assert video.durations == (40, 80, 120, 160, 200)
    assert video.loop == 0
    assert VIDEO.decode(VIDEO.encode(video)) == video


@pytest.mark.parametrize("disposal", [1, 2])
def test_disposal_of_partial_gif_frames(disposal: int, path: Path) -> None:
    """Three transparent frames with one dot each: the dots pile up, or each is cleared before the next."""
    pictures = []
    for i in range(3):
        frame = np.zeros((6, 6, 4), np.uint8)
        frame[i, i] = (200, 0, 0, 255)
        pictures.append(Image.fromarray(frame))
    path.write_bytes(written("GIF", pictures, disposal=disposal))
    red = (VIDEO.read(path).frames[..., 1] == 0).reshape(3, -1).sum(1).tolist()
    assert red == ([1, 2, 3] if disposal == 1 else [1, 1, 1])


def test_the_still_of_an_apng_is_no_frame(path: Path) -> None:
    still, *pictures = blocks(count=4)
    path.write_bytes(written("PNG", [still, *pictures], default_image=True, duration=[10, 20, 30]))
    video = VIDEO.read(path)
    assert np.array_equal(video.frames, np.stack([np.array(p) for p in pictures]))
    assert video.durations == (10, 20, 30)


def test_how_often_it_plays_is_kept(path: Path) -> None:
    path.write_bytes(written("GIF", blocks(), loop=3))
    assert VIDEO.read(path).loop == 3
    path.write_bytes(written("GIF", blocks(), loop=None))
    assert VIDEO.read(path).loop is None


@pytest.mark.parametrize("format", FILES)
def test_every_prefix_is_refused(format: str, path: Path) -> None:
    data = written(format, blocks(), **FILES[format][1])
    for end in (*range(0, len(data), 7), len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"clip\.bin"):
            VIDEO.read(path)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(list(FILES)))
def test_damaged_files_give_a_video_or_an_error_for_people(data: st.DataObject, format: str) -> None:
    whole = bytearray(_WRITTEN[format])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    _SCRATCH.write_bytes(bytes(whole))
    tokenizer, found = VideoTokenizer(max_pixels=1 << 16), None
    try:
        found = tokenizer.read(_SCRATCH)
    except InputError as error:
        message = str(error)
    assert str(_SCRATCH) in message if found is None else found.frames[..., 0].size <= 1 << 16


_WRITTEN = {format: written(format, blocks(), **options) for format, (_, options) in FILES.items()}
_SCRATCH = Path("unset")


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}._SCRATCH", tmp_path / "damaged.bin")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_frames": 4}, "5 frames, more than max_frames = 4"),
        ({"max_pixels": 100}, "320 pixels, more than max_pixels = 100"),
        ({"max_seconds": 0.5}, "0.6 seconds, more than max_seconds = 0.5"),
        ({"max_bytes": 20}, "bytes, more than max_bytes = 20"),
    ],
)
def test_limits_come_from_headers(limit: dict[str, Any], message: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(written("GIF", blocks()))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded before the limit was checked"))
    with pytest.raises(InputError, match=message):
        VideoTokenizer(**limit).read(path)


def test_a_plain_picture_is_a_film_of_one_frame_but_is_left_to_others(path: Path) -> None:
    blocks()[0].save(path, "PNG")
    assert len(VIDEO.read(path)) == 1
    assert not VIDEO.sniff(path, path.read_bytes())
    path.write_bytes(written("GIF", blocks()))
    assert VIDEO.sniff(path, path.read_bytes()[:4096])


@pytest.mark.parametrize("data", [b"", b"hello", b"RIFF\x00\x00\x00\x00WAVE", b"\x00\x00\x00\x1cftypavif"])
def test_other_files_are_refused(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    assert kind_of(data) is None
    with pytest.raises(InputError, match="not a GIF, APNG, WebP, MP4 or WebM"):
        VIDEO.read(path)


@pytest.mark.parametrize(
    ("frames", "durations", "message"),
    [
        (np.zeros((2, 3, 3), np.float32), (1, 1), "float32"),
        (np.zeros((2, 3), np.uint8), (1, 1), r"not uint8 \[2, 3\]"),
        (np.zeros((0, 3, 3), np.uint8), (), "empty"),
        (np.zeros((2, 3, 3, 5), np.uint8), (1, 1), "1 to 4 colours"),
        (np.zeros((2, 3, 3), np.uint8), (1,), "1 durations for 2 frames"),
        (np.zeros((2, 3, 3), np.uint8), (1, float("nan")), "duration nan of frame 1"),
        (np.zeros((2, 3, 3), np.uint8), (1, -1), "duration -1 of frame 1"),
    ],
)
def test_what_is_no_video_is_refused(frames: np.ndarray, durations: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Video(frames, durations)


# -- films


def film(path: Path, format: str, codec: str, pixels: str, count: int = 7) -> bytes:
    """A film written to `path`, its index in front of its frames where the format has one."""
    av = pytest.importorskip("av", reason="the extra omnitok-video[av]")
    with av.open(str(path), "w", format=format, options={"movflags": "faststart"} if format == "mp4" else {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = pixels
        for i in range(count):
            picture = np.full((32, 32, 3), 30 * i, np.uint8)
            picture[:16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


FILMS = [("mp4", "mpeg4", "yuv420p"), ("webm", "libvpx-vp9", "yuv420p"), ("matroska", "ffv1", "bgr0")]


@pytest.mark.parametrize(("format", "codec", "pixels"), FILMS)
def test_films_give_their_frames_and_timestamps(format: str, codec: str, pixels: str, path: Path) -> None:
    film(path, format, codec, pixels)
    video = VIDEO.read(path)
    assert video.frames.shape == (7, 32, 32, 3)
    assert video.durations == pytest.approx((100,) * 7)
    grey = video.frames[:, 24:].mean((1, 2, 3))
    assert np.abs(grey - 30 * np.arange(7)).max() < 6  # lossy codecs; ffv1 is exact
    assert video.frames[:, :8].min() > 240
    if codec == "ffv1":
        assert np.array_equal(grey, 30.0 * np.arange(7))


@pytest.mark.parametrize(("format", "codec", "pixels"), FILMS)
def test_a_film_that_is_cut_short_is_refused(format: str, codec: str, pixels: str, path: Path) -> None:
    data = film(path, format, codec, pixels)
    for end in range(8, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"clip\.bin"):
            VIDEO.read(path)


def test_limits_of_films(path: Path) -> None:
    film(path, *FILMS[0])
    for limit, message in (
        ({"max_frames": 6}, "7 frames, more than max_frames = 6"),
        ({"max_seconds": 0.5}, "max_seconds = 0.5"),
        ({"max_pixels": 1000}, "max_pixels = 1000"),
    ):
        with pytest.raises(InputError, match=message):
            VideoTokenizer(**limit).read(path)


def test_without_pyav_the_error_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"\x00\x00\x00\x08ftyp\x00\x00\x00\x08moov")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match=r"pip install \"omnitok-video\[av\]\""):
        VIDEO.read(path)


def test_a_survey_needs_no_pillow() -> None:
    assert survey(_WRITTEN["WEBP"]).durations == (40, 80, 120, 160, 200)


# -- data


def test_no_single_frame_tells_the_direction() -> None:
    """Where the shape is in a frame is spread alike for every direction: a nearest-mean rule is at chance."""
    train, held_out = (list(Motion(count=800).split(name)) for name in ("train", "eval"))
    x, y = _frames(train), np.array([s["label"] for s in train])
    means = np.stack([x[y == c].mean(0) for c in range(4)])
    guess = ((_frames(held_out)[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (guess == [s["label"] for s in held_out]).mean() < 0.35


def _frames(samples: list[Any]) -> np.ndarray:
    return np.stack([s["clip"].frames[4].ravel() for s in samples]).astype(np.float64)


def test_two_frames_tell_it() -> None:
    for sample in list(Motion(count=40).split("eval"))[:40]:
        a, b = (f.astype(float) - 30 for f in sample["clip"].frames[:2])
        down, right = DIRECTIONS[sample["direction"]]
        score = {
            name: max((np.roll(a, (d * k, r * k), (0, 1)) * b).sum() for k in (1, 2, 3)) for name, (d, r) in DIRECTIONS.items()
        }
        assert max(score, key=lambda name: score[name]) == sample["direction"], (down, right)


def test_splits_share_no_clip_and_are_drawn_again_alike() -> None:
    data = Motion(count=8)
    train, held_out = data.split("train"), data.split("eval")
    assert (len(train), len(held_out)) == (8, 4)
    assert train[3]["clip"] == data.split("train")[3]["clip"]
    assert all(a["clip"] != b["clip"] for a in train for b in held_out)


def test_a_folder_of_clips_is_a_dataset(tmp_path: Path) -> None:
    """Folders name the classes: the core's own folder dataset, through this plugin's suffixes."""
    from omnitok.recipe import make_recipe
    from omnitok.tasks import prepare

    for number, sample in enumerate(Motion(count=8, side=12).split("train")):
        folder = tmp_path / sample["direction"]
        folder.mkdir(exist_ok=True)
        pictures = [Image.fromarray(f) for f in sample["clip"].frames]
        (folder / f"{number}.gif").write_bytes(written("GIF", pictures, duration=80))
    recipe = make_recipe(
        {
            "tokenizers": {"video": {"mode": "L", "patch_size": 4}},
            "tasks": [
                {
                    "name": "motion",
                    "data": {"folder": str(tmp_path)},
                    "document": [{"video": "file"}],
                    "objective": {"classify": {"label": "folder"}},
                }
            ],
        }
    )
    tasks = prepare(recipe, load_plugins())
    assert tasks.objectives["motion"].names == tuple(sorted(DIRECTIONS))
    sample = tasks.split(recipe.tasks[0], "train")[0]
    assert len(tasks.encode("video", "file", sample)) == 4 * 3 * 3
