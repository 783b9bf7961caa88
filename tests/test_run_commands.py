"""The commands around runs: what they print, and the exit codes of mistakes."""

import json
from pathlib import Path

import pytest

from omnitok.cli import run

TOYS = str(Path(__file__).with_name("toys.py"))

RECIPE = """
[[tasks]]
name = "count"
data = { name = "words/counting" }
document = [{ waves = "wave" }, { words = "list" }]
objective = { next = { on = "words" } }

[model]
dim = 16
depth = 1
heads = 2

[train]
steps = 3
budget = 64
eval_samples = 4
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert (
        run(["train", str(recipe), "--out", str(out), "--plugin", TOYS, "--set", "train.lr=0.01", "--set", "train.seed=1"]) == 0
    )
    return out


def test_train_prints_scores_and_resumes(recipe, folder, capsys):
    words = ["train", str(recipe), "--out", str(folder), "--plugin", TOYS, "--resume"]
    assert run([*words, "--set", "train.lr=0.01", "--set", "train.seed=1", "--set", "train.steps=5"]) == 0
    printed = capsys.readouterr().out
    assert "chance" in printed
    assert "5 steps" in printed
    assert "lr = 0.01" in (folder / "recipe.toml").read_text()


def test_eval_as_table_and_as_json(folder, capsys):
    assert run(["eval", str(folder), "--plugin", TOYS]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert run(["eval", str(folder), "--plugin", TOYS, "--json", "--samples", "2", "--split", "train"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["count"]["samples"] == 2
    assert report["count"]["chance"].keys() == {"accuracy", "nats"}


def test_generate_from_a_file(folder, tmp_path, capsys):
    prompt = tmp_path / "prompt"
    prompt.write_text("1 2 3")
    words = ["generate", str(folder), "--plugin", TOYS, "--file", f"words={prompt}", "--max-tokens", "4", "--json"]
    assert run(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["channel"] == "words"
    assert len(first["ids"]) == first["tokens"] <= 4
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out) == first, "the same seed draws the same tokens"


def test_words_in_front_of_what_is_no_words(tmp_path, capsys):
    """The prompt goes to the nearest field of words in front; what is written is another kind of data, and begins empty."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace('{ waves = "wave" }', '{ text = "name" }'))
    more = ["--set", "train.steps=60", "--set", "train.lr=0.01"]
    assert run(["train", str(recipe), "--out", str(tmp_path / "run"), "--plugin", TOYS, *more]) == 0
    capsys.readouterr()
    words = ["generate", str(tmp_path / "run"), "--plugin", TOYS, "--max-tokens", "3", "--temperature", "0", "--json"]
    for prompt in ("low", "high"):
        assert run([*words, "--prompt", prompt]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["channel"] == "words" and found["tokens"] == len(found["ids"]) > 0
        assert found["answer"] == repr(found["ids"])


def test_config_show(recipe, capsys):
    assert run(["config", "show", str(recipe), "--plugin", TOYS, "--set", "train.seed=7"]) == 0
    printed = capsys.readouterr().out
    assert "seed = 7  # seeds weights, data order and every other choice" in printed
    assert "limit = 100  # longest list" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "{recipe}", "--out", "{folder}", "--plugin", TOYS], "already holds a run"),
        (["train", "nothing.toml", "--out", "x"], "nothing.toml: cannot read the recipe"),
        (
            ["train", "{recipe}", "--out", "{tmp}", "--set", "train.lrr=1"],
            "unknown field 'train.lrr' of Train; did you mean 'lr'?",
        ),
        (["train", "{recipe}", "--out", "{tmp}"], "unknown dataset 'words/counting'"),
        (["eval", "{tmp}"], "no complete checkpoint here"),
        (["eval", "{folder}"], "hand it over with --plugin"),
        (["generate", "{folder}", "--plugin", TOYS], "an empty prompt"),
        (["generate", "{folder}", "--plugin", TOYS, "--prompt", "one"], "takes files, not words"),
        (
            ["generate", "{folder}", "--plugin", TOYS, "--channel", "wods"],
            "unknown tokenizer of channel 'wods'; did you mean 'words'?",
        ),
        (
            ["generate", "{folder}", "--plugin", TOYS, "--channel", "waves", "--file", "words={numbers}"],
            "no task of this run predicts",
        ),
    ],
)
def test_mistakes_are_one_line(words, message, recipe, folder, tmp_path, capsys):
    numbers = tmp_path / "numbers"
    numbers.write_text("1 2")
    places = {"{recipe}": recipe, "{folder}": folder, "{tmp}": tmp_path, "words={numbers}": f"words={numbers}"}
    assert run([str(places.get(w, w)) for w in words]) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("error: ")
    assert message in printed
