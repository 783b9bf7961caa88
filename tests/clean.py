"""Clean virtual environments: omnitok from a wheel, and nothing else of the checkout; the installed libraries are shared."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path, code: int = 0, **environment: str) -> str:
    """A command's output; it must end with this exit code."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")} | environment
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """omnitok as a wheel in this folder."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("omnitok-*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of a new environment in this folder with the wheel in it; torch is shared, not downloaded."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    (Path(purelib) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python
