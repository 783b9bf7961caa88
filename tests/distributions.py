"""Distributions as an installer leaves them in a folder of the path: modules and metadata."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PULSE = Path(__file__).parent / "pulse.py"

Install = Callable[..., None]


def install(
    folder: Path,
    name: str,
    code: str,
    entries: Mapping[str, str] | None = None,
    module: str = "",
    version: str = "1.0",
    requires: Sequence[str] = (),
    commands: Mapping[str, str] | None = None,
) -> None:
    """One distribution: a module, and entry points for a plugin (`name`), its suffixes (`name.suffix`) and its commands."""
    module = module or name.replace("-", "_")
    entries = {module: module} if entries is None else entries
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = [f"Requires-Dist: {text}\n" for text in requires]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{''.join(lines)}")
    groups: dict[str, list[str]] = {}
    for key, value in entries.items():
        groups.setdefault("omnitok.suffixes" if "." in key else "omnitok", []).append(f"{key} = {value}")
    for key, value in (commands or {}).items():
        groups.setdefault("omnitok.commands", []).append(f"{key} = {value}")
    text = "\n".join(f"[{group}]\n" + "\n".join(lines) for group, lines in groups.items())
    (info / "entry_points.txt").write_text(text + "\n")


def pulse(name: str, more: str = "") -> str:
    """The code of a whole plugin under another name, with some lines at its end."""
    code = PULSE.read_text().replace('"pulse"', f'"{name}"').replace('"pulse/beats"', f'"{name}/beats"')
    return code + textwrap.dedent(more)


def omnitok(
    *arguments: object, site: Path | None = None, seconds: float = 120, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command as people run it, with a folder of distributions on the path."""
    path = [str(site)] if site else []
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*path, *sys.path]), "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-m", "omnitok", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env, cwd=cwd)
