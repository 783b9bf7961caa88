"""`omnitok presets`: what it says is counted and true, and its recipes are recipes."""

import json
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from omnitok import presets
from omnitok.cli import run
from omnitok.commands.presets import recipe_of, shape_of
from omnitok.recipe import make_recipe
from omnitok.weights import Reference

REFERENCES = [name for name in presets.names() if issubclass(presets.get(name), Reference)]
KNOWN = {"gpt2": 124_439_808, "bert": 109_514_298, "vit": 86_567_656, "t5": 60_506_624, "llama": 6_738_415_616}
"""as their papers and libraries count them"""


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["presets", *words]) == 0
    return capsys.readouterr().out


def test_the_list_has_every_preset_with_its_count(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in json.loads(printed(capsys, "--json"))}
    assert list(rows) == presets.names()
    for name in REFERENCES:
        (count,) = rows[name]["published"].values()
        assert count == KNOWN.get(name, count) and count > 0 and rows[name]["source"] and rows[name]["suits"]


def test_the_list_as_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnitok.commands.presets.parameters", lambda cls, size: 124_439_808)
    listed = printed(capsys)
    assert all(name in listed for name in presets.names()) and "124,439,808" in listed


@pytest.mark.parametrize("name", ["vit", "decoder"])
def test_one_preset_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(printed(capsys, name, "--json"))
    assert [f["name"] for f in facts["fields"]] == list(presets.get(name).__struct_fields__)
    assert all(f["meaning"] for f in facts["fields"])
    explained = printed(capsys, name)
    assert facts["recipe"] in explained and all(size in explained for size in facts["published"])


def test_an_unknown_preset_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", "gpt-2"]) == 2
    assert "did you mean 'gpt2'" in capsys.readouterr().err


@pytest.mark.parametrize("name", presets.names())
def test_a_recipe_that_is_offered_is_one(name: str) -> None:
    plain = recipe_of(presets.get(name))
    if not plain:
        pytest.skip("takes more than one folder of files")
    recipe = make_recipe(tomllib.loads(plain))
    assert recipe.preset_name == name and recipe.preset() == presets.get(name)()


SMALL = {"dim": 16, "depth": 1, "heads": 2, "kv_heads": 1, "hidden": 32}
"""where a preset has such a field"""
MORE = {"gptj": {"rotary": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("name", presets.names())
def test_a_recipe_that_is_offered_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = recipe_of(presets.get(name))
    if not plain:
        pytest.skip("takes more than one folder of files")
    for i in range(4):
        folder = tmp_path / "data" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.txt").write_text("some words in a file")
        Image.new("RGB", (32, 32), (50 * i, 0, 0)).save(folder / f"{i}.png")
    fields = {k: v for k, v in SMALL.items() if k in presets.get(name).__struct_fields__} | MORE.get(name, {})
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(plain)
    sets = [f"--set=model.{k}={v}" for k, v in fields.items()] + ["--set=train.steps=1", "--set=train.budget=1024"]
    assert run(["train", "recipe.toml", "--out", "run", *sets]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_every_published_size_can_be_made(name: str) -> None:
    cls = presets.get(name)
    for size in cls.published.values():
        shape_of(cls(**size.fields), size.channels)


@pytest.mark.slow
@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in printed(capsys, name)
