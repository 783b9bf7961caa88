"""The page for plugin authors runs as it stands: its files are written, its commands are typed, its pictures are drawn anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clean import ROOT, make_environment, run

PAGE = (ROOT / "plugins" / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
NAMED = re.compile(r"# ([\w-]+\.(?:py|toml))\n")


@pytest.mark.parametrize("number", [i for i, (language, _) in enumerate(BLOCKS) if language == "python"])
def test_python_blocks_run(number: int) -> None:
    exec(compile(BLOCKS[number][1], f"plugins/README block {number}", "exec"), {"__name__": "author_docs"})


def test_links_and_headings_exist() -> None:
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    for target in re.findall(r"\]\((?!http)([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in headings, target
        else:
            assert (ROOT / "plugins" / target.partition("#")[0]).exists(), target


def test_members_and_commands_that_are_named_exist() -> None:
    from omnitok.cli import COMMANDS
    from omnitok.tokenizer import Tokenizer

    contract = PAGE[PAGE.index("## The contract") : PAGE.index("## Channels and axes")]
    for name in re.findall(r"`(\w+)(?:\([\w, ]*\))?`", "".join(re.findall(r"^\| (`.*?) \|", contract, re.MULTILINE))):
        assert hasattr(Tokenizer, name) or name in Tokenizer.__annotations__, name
    for name in set(re.findall(r"`omnitok (\w+)", PAGE)):
        assert name in COMMANDS, name


@pytest.mark.slow
def test_the_ten_minutes(omnitok_wheel: Path, tmp_path: Path) -> None:
    """Every block in order, in an environment of its own."""
    python = make_environment(tmp_path / "venv", omnitok_wheel)
    (python.parent / "pytest").write_text(f'#!/bin/sh\nexec {python} -m pytest "$@"\n')
    (python.parent / "pytest").chmod(0o755)
    place = tmp_path / "work"
    place.mkdir()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    printed = ""
    for language, text in BLOCKS:
        name = NAMED.match(text)
        if name is not None:
            (place / name[1]).write_text(text)
        elif language == "bash":
            printed += run("bash", "-euc", text, cwd=place, PATH=path)
    days = re.findall(r"array\(\[(.*?)\]\)", printed, re.DOTALL)
    hot, cold = (sum(map(float, day.split(","))) / len(day.split(",")) for day in days)
    assert 20 < hot < 30 and -5 < cold < 5, "the word says which kind of day is written"


@pytest.mark.slow
def test_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    """They are drawn from real tokens, and the committed ones are there."""
    script = ROOT / "plugins" / "pictures" / "draw.py"
    copy = tmp_path / "draw.py"
    copy.write_text(script.read_text())
    subprocess.run([sys.executable, str(copy)], check=True, timeout=120)
    drawn = sorted(p.name for p in tmp_path.glob("*.png"))
    assert drawn == sorted(p.name for p in script.parent.glob("*.png")) != []
