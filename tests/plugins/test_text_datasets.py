"""The corpora: what a sample holds, and that nothing held out is trained on."""

import pytest
from omnitok_text.datasets import Banking77, Shakespeare, Topics, chunks

from omnitok.errors import ConfigError, InputError


def test_chunks_keep_paragraphs_and_lose_nothing():
    paragraphs = ["a" * 30, "b" * 30, "c" * 250, "d"]
    made = chunks(paragraphs, 100)
    assert made[0] == "a" * 30 + "\n\n" + "b" * 30
    assert max(map(len, made)) <= 100
    assert "".join(made).replace("\n\n", "") == "".join(paragraphs)


def test_topics():
    dataset = Topics()
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert all(sample["body"].strip() for sample in (*train, *held_out))
    size = {name: sum(len(s["body"]) for s in part) for name, part in {"train": train, "eval": held_out}.items()}
    assert size["train"] > 300_000
    assert 0.05 < size["eval"] / size["train"] < 0.2
    assert {s["topic"] for s in train}.isdisjoint(s["topic"] for s in held_out)
    learnt = {p for s in train for p in s["body"].split("\n\n")}
    assert not learnt & {p for s in held_out for p in s["body"].split("\n\n")}
    with pytest.raises(ConfigError, match="no split 'trian'; did you mean 'train'"):
        dataset.split("trian")


def test_no_data_folder_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.delenv("OMNITOK_DATA", raising=False)
    with pytest.raises(ConfigError, match="OMNITOK_DATA"):
        Shakespeare().split("train")
    with pytest.raises(ConfigError, match="no folder"):
        Banking77(folder=str(tmp_path / "none")).metadata()
    with pytest.raises(InputError, match=r"input\.txt"):
        Shakespeare(folder=str(tmp_path)).split("train")


def test_shakespeare(tmp_path):
    text = "\n\n".join(f"line {i}" for i in range(1000))
    (tmp_path / "input.txt").write_text(text)
    dataset = Shakespeare(folder=str(tmp_path), chunk=200)
    train, held_out = ([line for s in dataset.split(name) for line in s["body"].split()] for name in ("train", "eval"))
    assert train == text[: len(text) * 9 // 10].split()
    assert held_out == text[len(text) * 9 // 10 :].split()


def test_shakespeare_real(data_folder):
    samples = {name: Shakespeare().split(name) for name in ("train", "eval")}
    assert samples["train"][0]["body"].startswith("First Citizen:\nBefore we proceed")
    size = {name: sum(len(s["body"]) for s in part) for name, part in samples.items()}
    assert 0.10 < size["eval"] / size["train"] < 0.12


def test_banking77_real(data_folder):
    dataset = Banking77()
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert (len(train), len(held_out)) == (10_003, 3_080)
    assert len(dataset.metadata()["classes"]) == 77 == len({s["label"] for s in train})
    assert dataset.metadata()["classes"][train[0]["label"]] == "card_arrival"
