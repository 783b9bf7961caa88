"""A plugin in one file, never installed: every command takes it with --plugin, and a run knows the file it was made with."""

import json
from pathlib import Path

import pytest

from omnitok import cli
from tests.distributions import PULSE

RECIPE = """
[[tasks]]
name = "beat"
data = { name = "pulse/beats", count = 9 }
document = [{ pulse = "pulse" }]
objective = { next = { on = "pulse" } }

[model]
dim = 16
depth = 1
heads = 2

[train]
steps = 2
budget = 64
eval_samples = 4
"""
CODE = PULSE.read_text().replace('"pulse": [', '"pulse": 4 * [')
MINE = ("--plugin", "./my.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """my.py, recipe.toml and the run of it."""
    place = tmp_path_factory.mktemp("one-file")
    (place / "my.py").write_text(CODE)
    (place / "recipe.toml").write_text(RECIPE)
    (place / "a.beat").write_text("0.5 0.25")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert cli.run(["train", "recipe.toml", "--out", "run", *MINE]) == 0
    return place


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tokenize", "a.beat", "--as", "pulse"], "within bound"),
        (["plugins"], " my.py "),
        (["plugins", "pulse"], "pulse/beats"),
        (["plugins", "--check", "pulse"], " my.py "),
        (["config", "show", "recipe.toml"], "num_bins = 64"),
        (["eval", "run"], "step 2 of run"),
        (["generate", "run", "--file", "pulse=a.beat", "--max-tokens", "3", "--json"], '"channel": "pulse"'),
        (["train", "recipe.toml", "--out", "run", "--resume", "--set", "train.steps=3"], "3 steps"),
        (["train", "recipe.toml", "--out", "from", "--from", "run"], "2 steps"),
        (["check", "pulse", "--only", "registration"], "kept"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_every_command_takes_a_file(
    arguments: list[str], part: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    code = cli.run([*arguments, *MINE])
    out, err = capsys.readouterr()
    assert code == 0
    assert part in out
    assert arguments[0] == "train" or not err  # which shows how far it is


def test_the_same_file_elsewhere_is_the_same_plugin(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "renamed.py").write_text(CODE)
    assert cli.run(["eval", str(folder / "run"), "--json", "--plugin", "renamed.py"]) == 0
    assert json.loads(capsys.readouterr().out)["beat"]["samples"] > 0


@pytest.mark.parametrize("command", ["eval", "generate", "train"])
def test_a_file_that_has_changed_is_refused_with_what_to_do(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(CODE + "\n# another line\n")
    run = str(folder / "run")
    arguments = {
        "eval": ["eval", run],
        "generate": ["generate", run, "--file", f"pulse={folder / 'a.beat'}"],
        "train": ["train", str(folder / "recipe.toml"), "--out", "new", "--from", run],
    }[command]
    assert cli.run([*arguments, *MINE]) == cli.MISUSED
    err = capsys.readouterr().err
    assert err.startswith("error: plugin file my.py is not the one that ")
    assert "it has changed since, or is another; hand over my.py as it was (sha256:" in err
    assert err.count("\n") == 1


def test_a_run_without_its_file_says_which(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["eval", str(folder / "run")]) == cli.MISUSED
    assert "was made with plugin 'pulse' from the file my.py: hand it over with --plugin" in capsys.readouterr().err
