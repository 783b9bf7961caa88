"""The plugins that are distributions of their own: built, installed as a stranger would, checked, and run by their own tests."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.clean import ROOT, make_environment, run

FOLDERS = sorted(p.parent for p in (ROOT / "plugins").glob("omnitok-*/pyproject.toml"))
PROJECTS: dict[Path, dict[str, Any]] = {f: tomllib.loads((f / "pyproject.toml").read_text())["project"] for f in FOLDERS}
NAMES = [(folder, name) for folder, project in PROJECTS.items() for name in project["entry-points"]["omnitok"]]


def label(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


@pytest.fixture(scope="module")
def python(omnitok_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with omnitok and all of them, from wheels; what they need comes from the package index."""
    folder = tmp_path_factory.mktemp("distributions")
    python = make_environment(folder / "venv", omnitok_wheel)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder / "wheels", *FOLDERS, cwd=folder)
    wheels = {w.name.split("-")[0].replace("_", "-"): w for w in (folder / "wheels").glob("*.whl")}
    wanted = []
    for project in PROJECTS.values():
        extras = ",".join(project.get("optional-dependencies", {}))
        wanted.append(f"{wheels[project['name']]}[{extras}]")
    run(python, "-m", "pip", "install", "--quiet", *wanted, cwd=folder)
    return python


def test_each_declares_its_range_and_its_own_name() -> None:
    """What `omnitok new` writes, all of them have."""
    assert len(FOLDERS) >= 6
    for folder, project in PROJECTS.items():
        assert project["name"] == folder.name
        assert "omnitok>=0.1,<0.2" in project["dependencies"], folder.name
        assert (folder / "README.md").exists() and list((folder / "tests").glob("test_*.py")), folder.name
        for suffix in project["entry-points"].get("omnitok.suffixes", {}):
            assert suffix.partition(".")[0] in project["entry-points"]["omnitok"], suffix


@pytest.mark.slow
def test_all_are_listed_and_none_is_broken(python: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    run(python, "-m", "omnitok", "plugins", "--check", cwd=tmp_path, OMNITOK_HOME=home)
    listed = json.loads(run(python, "-m", "omnitok", "plugins", "--json", cwd=tmp_path, OMNITOK_HOME=home))
    status = {row["name"]: row["status"] for row in listed}
    assert {name for _, name in NAMES} <= set(status)
    assert set(status.values()) == {"ok"}, status


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name"), NAMES, ids=label)
def test_it_keeps_every_promise_of_the_contract(python: Path, folder: Path, name: str, tmp_path: Path) -> None:
    run(python, "-m", "omnitok", "check", name, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=label)
def test_its_own_tests_pass(python: Path, folder: Path, tmp_path: Path) -> None:
    """Against what is installed: its sources are out of reach."""
    shutil.copytree(folder / "tests", tmp_path / "tests")
    for more in (folder / "recipes", folder / "README.md"):
        if more.is_dir():
            shutil.copytree(more, tmp_path / more.name)
        elif more.exists():
            shutil.copy(more, tmp_path)
    run(python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-W", "error", "tests", cwd=tmp_path)
