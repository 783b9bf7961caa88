"""A wheel in a fresh environment that shares nothing of the checkout but the installed libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with omnitok installed from a wheel."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder / "wheel", ROOT, cwd=folder)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", *(folder / "wheel").glob("*.whl"), cwd=folder)
    (Path(purelib) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # torch is reused, not downloaded
    return python


def run(*command: object, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


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
