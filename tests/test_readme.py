"""The README's code blocks run as they stand; commands that train take two steps here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    """Every shell command but the two that install, which continuous integration runs itself."""
    lines = [line.partition("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("pip ")]


def shortened(command: str) -> list[str]:
    words = shlex.split(command)
    if words[:2] == ["omnitok", "train"]:
        words += ["--set", "train.steps=2", "--set", "train.eval_samples=4"]
    if words[:2] == ["omnitok", "demo"]:
        words += ["--steps", "2"]
    assert words[0] == "omnitok", f"a README command that this test does not know: {command}"
    return [sys.executable, "-m", *words]


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_blocks_run(number: int) -> None:
    exec(compile(blocks("python")[number], f"README block {number}", "exec"), {"__name__": "readme"})


def test_the_two_commands_stand_there() -> None:
    assert "pip install -e . && omnitok demo mixed" in README
    assert 'pip install -e ".[test]" && pytest' in README


def test_figures_and_links_exist() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_shell_commands_run_in_order(tmp_path: Path) -> None:
    for name in ("README.md", "demos", "plugins", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    for command in commands():
        done = subprocess.run(shortened(command), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (tmp_path / "tokens.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_plugin_of_the_readme_passes_the_checks(tmp_path: Path) -> None:
    plugin = next(b for b in blocks("python") if "class PulseTokenizer" in b)
    (tmp_path / "pulse.py").write_text(plugin)
    command = [sys.executable, "-m", "omnitok", "check", "--plugin", "pulse.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
