"""A wheel in a fresh environment that shares nothing of the checkout but the installed libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clean import ROOT, make_environment, run


@pytest.fixture(scope="module")
def python(omnitok_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with omnitok installed from a wheel."""
    return make_environment(tmp_path_factory.mktemp("clean") / "venv", omnitok_wheel)


@pytest.mark.slow
def test_the_wheel_holds_the_core_the_plugins_and_the_demos(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import omnitok, omnitok_text; print(omnitok.__file__, omnitok_text.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where
    listed = run(python, "-m", "omnitok", "plugins", "--json", cwd=tmp_path)
    assert all(f'"{name}"' in listed for name in ("text", "image", "audio", "trajectory", "graph"))
    assert "duplicate" not in listed


@pytest.mark.slow
@pytest.mark.parametrize("demo", ["mixed", "decision-transformer"])
def test_demos_run_from_the_wheel(python: Path, tmp_path: Path, demo: str) -> None:
    extra = ("--episodes", "1") if demo == "decision-transformer" else ()
    run(python, "-m", "omnitok", "demo", demo, "--steps", "2", *extra, "--out", tmp_path / "run", cwd=tmp_path)
    assert (tmp_path / "run" / "result.json").exists()
    assert list((tmp_path / "run").glob("*.png"))
