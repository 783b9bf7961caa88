"""Bytes keep the contract; every byte comes back; folders are read by the fragment; formats differ as they claim."""

from __future__ import annotations

import gzip
import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omnitok_bytes.datasets import FORMATS, Formats, Fragments
from omnitok_bytes.tokenizer import BytesTokenizer

import omnitok as ot
from omnitok.errors import ConfigError, InputError
from omnitok.testing import parametrize_with_checks

torch.set_num_threads(1)
PATCHES = BytesTokenizer(patch_size=3)


@parametrize_with_checks(["bytes", PATCHES])
def test_contract(tokenizer, check) -> None:
    check(tokenizer)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_every_byte_comes_back_whole_or_in_pieces(data: bytes, patch_size: int) -> None:
    tokenizer = BytesTokenizer(patch_size=patch_size)
    tokens = tokenizer.encode(data)
    assert len(tokens) == tokenizer.count(data) == -(-len(data) // patch_size)
    assert tokenizer.decode(tokens) == data
    for k in range(len(tokens) + 1):
        assert tokenizer.decode(tokens[:k]) == data[: k * patch_size]
        assert tokenizer.decode(tokens[k:]) == data[k * patch_size :]


@given(st.binary(max_size=50))
def test_the_patch_embedding_tells_every_place_from_every_other(data: bytes) -> None:
    """Two different patches never share all their ids: bytes in another order are other tokens."""
    ids = PATCHES.encode(data).spans[0].ids if data else torch.zeros(0, 3, dtype=torch.long)
    assert all(((row < 0) | (row // 256 == torch.arange(3))).all() for row in ids)


def test_any_buffer_of_bytes_is_taken_and_nothing_else(tmp_path: Path) -> None:
    tokenizer, data = BytesTokenizer(), bytes(range(256))
    path = tmp_path / "data"
    path.write_bytes(data)
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    for raw in (data, bytearray(data), memoryview(data), mapped, np.frombuffer(data, np.uint8)[::1]):
        assert tokenizer.decode(tokenizer.encode(raw)) == data
    assert tokenizer.decode(tokenizer.encode(memoryview(data)[::2])) == data[::2]
    for raw, words in (("text", "got str"), (np.zeros(3), "float64"), (np.zeros((2, 2), np.uint8), r"\[2, 2\]")):
        with pytest.raises(InputError, match=words):
            tokenizer.encode(raw)


def test_a_file_over_the_limit_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file that no memory could hold
    with pytest.raises(InputError, match=r"large.bin: 1099511627776 bytes, more than max_bytes = 16777216"):
        BytesTokenizer().read(path)
    with pytest.raises(InputError, match="No such file"):
        BytesTokenizer().read(tmp_path / "absent")


def test_an_id_that_is_no_byte_of_its_column_is_refused() -> None:
    tokens = PATCHES.encode(b"abcdef")
    (span,) = tokens.spans
    swapped = ot.TokenSequence((span.replace(ids=span.ids.flip(1)),))
    with pytest.raises(InputError, match="no byte of its column"):
        PATCHES.decode(swapped)


def test_the_picture_is_a_hex_dump_with_a_mark_for_every_token() -> None:
    data = bytes(range(40))
    picture = PATCHES.show(data, PATCHES.encode(data))
    words = [picture.data[a:b].split() for a, b in picture.marks]
    assert [int(x, 16) for row in words for x in row] == list(data)
    assert [len(row) for row in words] == [3] * 13 + [1]


def test_words_are_their_utf8() -> None:
    assert BytesTokenizer().words("Ähre") == "Ähre".encode()
    assert BytesTokenizer().words("\udcff") == b"\xff", "as a shell hands over a byte that is no character"


# -- datasets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind, make in (("noise", rng.bytes), ("zeros", bytes), ("gz", lambda n: gzip.compress(bytes(n)))):
        (tmp_path / kind / "deep").mkdir(parents=True)
        for i in range(6):
            (tmp_path / kind / ("deep" if i % 2 else "") / f"{i}.dat").write_bytes(make(1000 + i))
    return tmp_path


def test_a_folder_is_split_by_file_and_read_by_the_fragment(folder: Path) -> None:
    dataset = Fragments(folder=str(folder), length=128, fragments=4)
    assert dataset.metadata() == {"classes": ["gz", "noise", "zeros"]}
    parts = {name: list(dataset.split(name)) for name in ("train", "eval")}
    files = {name: {s["file"] for s in part} for name, part in parts.items()}
    assert not files["train"] & files["eval"] and len(files["train"] | files["eval"]) == 18
    for sample in parts["train"] + parts["eval"]:
        data = (folder / sample["file"]).read_bytes()
        assert sample["start"] % 128 == 0 and sample["bytes"] == data[sample["start"] : sample["start"] + 128]
        assert dataset.metadata()["classes"][sample["label"]] == Path(sample["file"]).parts[0]
    assert Counter(Counter(s["file"] for s in parts["train"]).values()).keys() <= {1, 4}, "short files are one fragment"
    assert {len({s["label"] for s in part}) for part in parts.values()} == {3}


def test_a_file_that_shrinks_while_training_is_an_error_and_no_shorter_sample(folder: Path) -> None:
    samples = Fragments(folder=str(folder), length=128, fragments=4).split("train")
    i = next(i for i, f in enumerate(samples.fragments) if f.start > 0)
    samples.fragments[i].path.write_bytes(b"short")
    with pytest.raises(InputError, match="it has changed since it was listed"):
        samples[i]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda home: None, "no subfolder with files"),
        (lambda home: (home / "a").mkdir() or (home / "a" / "x").write_bytes(b"x"), "class 'a' has one file"),
    ],
)
def test_a_folder_that_teaches_nothing_is_refused(tmp_path: Path, make, words: str) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=words):
        Fragments(folder=str(tmp_path)).split("train")
    with pytest.raises(ConfigError, match="does not exist"):
        Fragments(folder=str(tmp_path / "absent")).split("train")


def test_formats_are_balanced_and_byte_orders_have_the_same_bytes() -> None:
    dataset = Formats(per_class=80)
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert set(Counter(s["label"] for s in train).values()) == {80}
    assert not {s["bytes"] for s in train} & {s["bytes"] for s in held_out}
    assert {len(s["bytes"]) for s in train} == {256}
    names = list(FORMATS)
    zeros = {n: [s["bytes"][0::2].count(0) > 100 for s in train if names[s["label"]] == n] for n in ("utf-16-le", "utf-16-be")}
    assert all(zeros["utf-16-be"]) and not any(zeros["utf-16-le"]), "only the order of the bytes tells them apart"


# -- README

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def trained(text: str, out: Path) -> None:
    """Two small steps of a recipe."""
    from omnitok.plugins import load_plugins
    from omnitok.recipe import make_recipe
    from omnitok.train import train

    plain = tomllib.loads(text)
    plain["train"] |= {"steps": 2, "threads": 1, "evaluate_every": 0, "checkpoint_every": 0}
    plain["model"] |= {"dim": 16, "depth": 1}
    assert train(make_recipe(plain), out, load_plugins(), quiet=True).report is not None


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.split()[1])
def test_recipes_of_the_readme_run(folder: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    home = tmp_path_factory.mktemp("home")
    folder.rename(home / "samples")
    monkeypatch.chdir(home)
    trained(text, home / "run")


def test_the_readme_tells_the_ids() -> None:
    data = bytes.fromhex("7f 45 4c 46 02 01")
    assert " ".join(map(str, BytesTokenizer().encode(data).spans[0].ids.tolist())) in README
    assert " ".join(map(str, BytesTokenizer(patch_size=4).encode(data).spans[0].ids.tolist())) in README
