"""The image plugin: exact pixels back, every kind of picture, clear errors for damaged files, datasets."""

import csv
import io
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_image import register_datasets, register_tokenizers
from omnitok_image.datasets import Digits, Emoji, Fashion, Photos
from omnitok_image.pictures import FORMATS
from omnitok_image.tokenizer import ImageTokenizer
from PIL import Image

from omnitok.errors import ConfigError, InputError

MODES = ("L", "RGB", "RGBA")


def noise(height, width, mode="RGB", seed=0):
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, *bands), dtype=np.uint8))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# -- laws


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    patch=st.integers(1, 17),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 99),
)
def test_any_size_comes_back_pixel_by_pixel(height, width, patch, mode, seed):
    tokenizer, image = ImageTokenizer(patch_size=patch, mode=mode), noise(height, width, mode, seed)
    tokens = tokenizer.encode(image)
    (span,) = tokens.spans
    assert tokenizer.decode(tokens) == image
    assert span.features.dtype == torch.uint8
    assert tokenizer.count(image) == tokenizer.count(np.asarray(image)) == len(tokens)
    for k in range(len(tokens)):
        assert tokenizer.place(k, span.meta) == (span.channel, {name: int(values[k]) for name, values in span.axes.items()})
    assert tokenizer.place(len(tokens), span.meta) is None


@pytest.mark.parametrize(
    "config",
    [{}, {"mode": "L"}, {"mode": "RGBA"}, {"uneven": "resize"}, {"size": (20, 33)}, {"size": (20, 33), "uneven": "resize"}],
)
def test_samples_come_back(config):
    tokenizer = ImageTokenizer(patch_size=8, **config).named("pic")
    for image in tokenizer.samples(3):
        tokens = tokenizer.encode(image)
        assert tokens == tokenizer.encode(image) == pickle.loads(pickle.dumps(tokens))
        assert tokenizer.decode(tokens) == image
        assert set(tokens.channels) == set(tokenizer.channels()) == {"pic"}
        assert tokens.spans[0].features.shape[1:] == tokenizer.channels()["pic"].width


def test_a_patch_is_laid_out_as_the_weights_of_a_convolution():
    image, p = noise(8, 12), 4
    weight = torch.randn(5, 3, p, p, dtype=torch.float64)
    patches = ImageTokenizer(patch_size=p).encode(image).spans[0].features.double()
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).double()[None]
    by_convolution = torch.nn.functional.conv2d(pixels, weight, stride=p).flatten(2)[0].T
    torch.testing.assert_close(patches @ weight.flatten(1).T, by_convolution)


def test_resizing_gives_back_the_resized_picture():
    tokenizer = ImageTokenizer(patch_size=8, uneven="resize")
    back = tokenizer.decode(tokenizer.encode(noise(21, 3)))
    assert back.size == (8, 24)
    assert ImageTokenizer(size=(10, 20)).decode(ImageTokenizer(size=(10, 20)).encode(noise(3, 3))).size == (20, 10)


def test_generated_values_are_rounded_and_clipped():
    tokenizer = ImageTokenizer(patch_size=2, mode="L")
    tokens = tokenizer.encode(np.array([[0, 255], [7, 8]], np.uint8))
    (span,) = tokens.spans
    loud = span.replace(features=span.features.float() * 1.001 + torch.tensor([-3.0, 3, 0.2, -0.2]))
    assert np.asarray(tokenizer.decode(type(tokens)((loud,)))).tolist() == [[0, 255], [7, 8]]


def test_mean_and_std_per_band_follow_the_patch_layout():
    channel = ImageTokenizer(patch_size=2, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 2.0)).channels()["image"]
    values = torch.tensor([[1.0] * 4 + [2.0] * 4 + [5.0] * 4])
    assert channel.normal(values).tolist() == [[0.0] * 8 + [1.0] * 4]


def test_preprocessor_file_round_trip(tmp_path):
    tokenizer = ImageTokenizer(patch_size=4, size=(8, 12), mean=(10.0, 20.0, 30.0), std=51.0, resample="bicubic", grid=9)
    tokenizer.save_pretrained(tmp_path)
    again = ImageTokenizer.from_pretrained(tmp_path)
    assert again.encode(noise(5, 5)) == tokenizer.encode(noise(5, 5))
    assert (again.grid, again.resample, again.std) == (9, "bicubic", pytest.approx(51.0))
    assert again.mean == pytest.approx((10.0, 20.0, 30.0))
    wider = {"do_center_crop": True, "size": {"shortest_edge": 9}, "crop_size": 8}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(wider))
    with pytest.raises(InputError, match="only a square of the shortest edge"):
        ImageTokenizer.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_center_crop": True, "do_resize": False}))
    with pytest.raises(InputError, match="pictures that it does not resize"):
        ImageTokenizer.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(InputError, match="preprocessor_config"):
        ImageTokenizer.from_pretrained(tmp_path)


def test_the_centre_is_cut_out_of_what_covers_the_size(tmp_path):
    clip = {"do_center_crop": True, "size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(clip))
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"patch_size": 4}}))
    tokenizer = ImageTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.size, tokenizer.aspect, tokenizer.patch_size) == ((8, 8), "crop", 4)
    for height, width in ((10, 25), (25, 10), (9, 9), (3, 5)):
        image = noise(height, width)
        short = min(height, width)
        across, down = int(width * (8 / short)), int(height * (8 / short))
        left, top = (across - 8) // 2, (down - 8) // 2
        want = image.resize((across, down), Image.Resampling.BICUBIC).crop((left, top, left + 8, top + 8))
        assert np.array_equal(tokenizer.decode(tokenizer.encode(image)), want)
        assert tokenizer.count(image) == 4
    tokenizer.save_pretrained(tmp_path / "again")
    assert ImageTokenizer.from_pretrained(tmp_path / "again").picture(image) == tokenizer.picture(image)
    with pytest.raises(InputError, match="squares only"):
        ImageTokenizer(size=(8, 12), aspect="crop").save_pretrained(tmp_path)


# -- kinds of picture


def test_what_each_kind_of_picture_becomes():
    def pixel(image, mode="RGB"):
        return ImageTokenizer(mode=mode).picture(image).getpixel((0, 0))

    assert pixel(Image.new("L", (1, 1), 9)) == (9, 9, 9)
    assert pixel(Image.new("1", (1, 1), 1)) == (255, 255, 255)
    assert pixel(Image.new("CMYK", (1, 1), (0, 255, 255, 0))) == (255, 0, 0)
    assert pixel(Image.new("RGBA", (1, 1), (10, 20, 30, 0))) == (255, 255, 255)  # clear: the white below
    assert pixel(Image.new("RGBA", (1, 1), (10, 20, 30, 255))) == (10, 20, 30)
    assert pixel(Image.new("LA", (1, 1), (0, 0)), "L") == 255
    assert pixel(Image.new("RGBA", (1, 1), (10, 20, 30, 40)), "RGBA") == (10, 20, 30, 40)
    assert pixel(Image.new("RGB", (1, 1), (10, 20, 30)), "RGBA") == (10, 20, 30, 255)
    assert pixel(Image.new("I;16", (1, 1), 0x1234), "L") == 0x12
    assert pixel(Image.new("I", (1, 1), 65535), "L") == 255
    assert pixel(np.full((1, 1), 0xABCD, np.uint16), "L") == 0xAB
    assert pixel(np.full((1, 1, 1), 5, np.uint8)) == (5, 5, 5)
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 7, 8, 9])
    assert pixel(palette) == (7, 8, 9)
    clear = Image.open(io.BytesIO(encoded(palette, "PNG", transparency=1)))
    assert pixel(clear) == (255, 255, 255)


def test_exif_turns_the_picture():
    image = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(io.BytesIO(encoded(image, "PNG", exif=exif)))
    assert ImageTokenizer().picture(turned) == image.transpose(Image.Transpose.ROTATE_270)
    assert ImageTokenizer(patch_size=4).count(turned) == len(ImageTokenizer(patch_size=4).encode(turned)) == 2


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert ImageTokenizer().read(tmp_path / "two.gif") == frames[0]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_and_round_trips(tmp_path, kind):
    options = {"WEBP": {"lossless": True}, "ICO": {"sizes": [(33, 18)]}}.get(kind, {})
    image, path = noise(18, 33), tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(encoded(image, kind, **options))
    tokenizer = ImageTokenizer()
    raw = tokenizer.read(path)
    assert tokenizer.decode(tokenizer.encode(raw)) == raw
    assert tokenizer.sniff(path, path.read_bytes()[:4096])
    if kind not in ("JPEG", "GIF", "AVIF"):  # these lose something
        assert raw == image


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_refused_by_name_or_whole(tmp_path, kind):
    path = tmp_path / "cut"
    data = encoded(noise(18, 33), kind)
    path.write_bytes(data)
    whole = ImageTokenizer().read(path)
    errors = {}
    for cut in (3, 20, 60, len(data) // 3, len(data) // 2, len(data) - 40, len(data) - 13, len(data) - 2):
        path.write_bytes(data[:cut])
        try:
            assert ImageTokenizer().read(path) == whole  # only what stands behind the pixels was lost
        except InputError as error:
            errors[cut] = str(error)
    assert len(errors) >= 5
    assert all(str(path) in error and f"({cut} bytes)" in error and "\n" not in error for cut, error in errors.items())


# -- refusals


def test_refusals_name_the_reason(tmp_path):
    tokenizer = ImageTokenizer(max_pixels=100)
    with pytest.raises(InputError, match=r"0x3 pixels is empty"):
        tokenizer.encode(Image.new("RGB", (0, 3)))
    with pytest.raises(InputError, match="empty"):
        tokenizer.encode(np.zeros((0, 3), np.uint8))
    with pytest.raises(InputError, match="max_pixels = 100"):
        tokenizer.encode(noise(11, 10))
    with pytest.raises(InputError, match="float64"):
        tokenizer.encode(np.zeros((2, 2)))
    with pytest.raises(InputError, match="floats"):
        tokenizer.encode(Image.new("F", (2, 2), float("nan")))
    with pytest.raises(InputError, match=r"0\.\.65535"):
        tokenizer.encode(Image.new("I", (1, 1), -1))
    with pytest.raises(InputError, match=r"\[2, 2, 5\]"):
        tokenizer.encode(np.zeros((2, 2, 5), np.uint8))
    with pytest.raises(InputError, match="uint8 or uint16"):
        tokenizer.encode("a string")
    with pytest.raises(InputError, match=r"missing\.png: No such file"):
        tokenizer.read(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png: not a picture \(10 bytes\)"):
        tokenizer.read(tmp_path / "text.png")
    (tmp_path / "big.png").write_bytes(encoded(noise(11, 10), "PNG"))
    with pytest.raises(InputError, match=r"big\.png: 10x11 pixels are over the limit"):
        tokenizer.read(tmp_path / "big.png")


def test_a_bomb_is_refused_from_its_header_without_a_warning(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(encoded(Image.new("1", (20000, 5000)), "PNG"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"bomb\.png"):
            ImageTokenizer().read(path)


def test_decode_refuses_what_is_not_one_whole_picture():
    tokenizer = ImageTokenizer(patch_size=4)
    tokens = tokenizer.encode(noise(8, 8))
    with pytest.raises(InputError, match="cropped"):
        tokenizer.decode(tokens[1:3])
    with pytest.raises(InputError, match="twice"):
        tokenizer.decode(tokens + tokens)
    with pytest.raises(InputError, match="nothing to decode"):
        tokenizer.decode(type(tokens)())
    with pytest.raises(InputError, match=r"features \[1, 48\], got features \[4, 48\]"):
        tokenizer.decode(type(tokens)((tokens.spans[0].replace(meta={"size": [2, 2]}),)))
    with pytest.raises(InputError, match="meta needs 'size'"):
        tokenizer.place(0, {})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch_size", 0),
        ("mode", "HSV"),
        ("size", (0, 3)),
        ("uneven", "crop"),
        ("mean", (1.0, 2.0)),
        ("std", 0.0),
        ("grid", 0),
        ("max_pixels", 10**9),
    ],
)
def test_a_bad_field_is_named(field, value):
    with pytest.raises(ConfigError, match=f"'{field}'"):
        ImageTokenizer(**{field: value})


def test_show_lays_one_rectangle_on_every_token():
    tokenizer, image = ImageTokenizer(patch_size=4, mode="RGBA"), noise(6, 9, "RGBA")
    picture = tokenizer.show(image, tokenizer.encode(image))
    covered = np.zeros((6, 9), int)
    for x, y, width, height in picture.marks:
        covered[y : y + height, x : x + width] += 1
    assert picture.kind == "image" and picture.data.shape == (6, 9, 3)
    assert len(picture.marks) == tokenizer.count(image) and (covered == 1).all()


# -- datasets


def test_what_the_plugin_registers():
    assert register_tokenizers() == [ImageTokenizer]
    assert [d.name for d in register_datasets()] == ["image/digits", "image/fashion", "image/emoji", "image/photos"]


def test_digits_are_split_by_class_and_keep_their_levels():
    from sklearn.datasets import load_digits

    parts = {name: Digits().split(name) for name in ("train", "eval")}
    labels = {name: [row["label"] for row in part] for name, part in parts.items()}
    assert len(parts["train"]) + len(parts["eval"]) == 1797
    assert all(abs(labels["eval"].count(k) / labels["train"].count(k) - 1 / 4) < 0.02 for k in range(10))
    seen = {row["picture"].tobytes() for row in parts["train"]}
    assert not any(row["picture"].tobytes() in seen for row in parts["eval"])
    levels = (np.stack([row["picture"] for row in parts["eval"]]).astype(int) + 8) // 16
    originals = {x.astype(int).tobytes() for x in load_digits().images}
    assert all(x.tobytes() in originals for x in levels)
    assert parts["eval"][0]["word"] == Digits().metadata()["classes"][parts["eval"][0]["label"]]
    with pytest.raises(ConfigError, match="test"):
        Digits().split("test")


def test_without_data_the_error_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("OMNITOK_DATA", raising=False)
    with pytest.raises(ConfigError, match="OMNITOK_DATA"):
        Fashion().split("train")
    with pytest.raises(ConfigError, match="no folder"):
        Emoji(folder=str(tmp_path / "none")).split("train")
    with pytest.raises(InputError, match="captions"):
        Photos(folder=str(tmp_path)).split("train")


def test_fashion(data_folder):
    part = Fashion(folder=str(data_folder / "fashion-mnist")).split("eval")
    assert len(part) == 10_000 and part[0]["picture"].shape == (28, 28) and part[0]["word"] == "ankle boot"


def test_emoji_and_photos(data_folder):
    emoji = {name: Emoji(folder=str(data_folder / "emoji")).split(name) for name in ("train", "eval")}
    assert sum(map(len, emoji.values())) == 1416
    sample = emoji["eval"][0]
    assert sample["picture"].size == (72, 72) and sample["picture"].mode == "RGBA" and sample["name"]
    photos = {name: Photos(folder=str(data_folder / "photos")).split(name) for name in ("train", "eval")}
    assert sum(map(len, photos.values())) == 11
    for part in photos.values():
        for sample in part:
            assert len(ImageTokenizer().encode(sample["picture"])) > 0 and sample["caption"]


# -- third-party files


def test_well_formed_files(data_folder):
    tokenizer, count = ImageTokenizer(), 0
    for path in sorted([*(data_folder / "image-formats").iterdir(), *(data_folder / "photos").iterdir()]):
        if path.suffix not in ("", ".tsv"):
            raw = tokenizer.read(path)
            assert tokenizer.decode(tokenizer.encode(raw)) == raw, path.name
            count += 1
    assert count == 34


def test_one_picture_in_several_formats_is_one_token_sequence(data_folder):
    tokenizer, folder = ImageTokenizer(), data_folder / "image-formats"
    first, *others = (
        tokenizer.encode(tokenizer.read(folder / name))
        for name in ("hopper.png", "hopper.bmp", "hopper.tif", "hopper_idat_after_image_end.png")
    )
    assert len(first) == 64 and all(other == first for other in others)


def test_malformed_files_end_in_tokens_or_one_line(data_folder, tmp_path):
    folder = data_folder / "malformed"
    with (folder / "manifest.tsv").open() as file:
        expected = {
            row["file"].replace("/", "__"): row["expect"]
            for row in csv.DictReader(file, delimiter="\t")
            if "image" in row["file"]
        }
    with zipfile.ZipFile(folder / "malformed.zip") as archive:
        for name in archive.namelist():
            if name.startswith("image"):
                (tmp_path / name.replace("/", "__")).write_bytes(archive.read(name))
    script = Path(__file__).with_name("malformed.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", script, "omnitok_image", tmp_path], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0 and not done.stderr, done.stderr[-2000:]
    rows = json.loads(done.stdout)
    assert {row["file"] for row in rows} == set(expected) and len(rows) == 250
    for row in rows:
        assert row["seconds"] < 10, row
        if row["error"] is None:
            assert row["tokens"] > 0, row
        else:
            assert expected[row["file"]] != "good", row
            assert row["file"] in row["error"] and "\n" not in row["error"], row
