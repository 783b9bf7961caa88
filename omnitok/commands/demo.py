"""`omnitok demo`: the demos that come with omnitok. Each is one script, run as `python demos/NAME.py` would run it."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from ..errors import unknown_name
from .common import console


def demo(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Run a demo by name, with its own options; without a name, list them."""
    scripts = {path.stem.replace("_", "-"): path for path in sorted(folder().glob("[!_]*.py"))}
    if not arguments or arguments[0] in ("--help", "-h"):
        table = Table("demo", "what it shows")
        for name, path in scripts.items():
            table.add_row(name, _first_sentence(path))
        console().print(table if scripts else "no demos are installed")
        console().print("`omnitok demo NAME` runs one, `omnitok demo NAME --help` lists its options")
        return
    name, *rest = arguments
    if name not in scripts:
        raise unknown_name("demo", name, scripts, "demos")
    before = sys.argv, sys.path[:]
    sys.argv = [f"omnitok demo {name}", *rest]
    sys.path.insert(0, str(scripts[name].parent))
    try:
        runpy.run_path(str(scripts[name]), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before


def folder() -> Path:
    """Where the demos are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "demos"
    return inside if inside.is_dir() else package.parent / "demos"


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return " ".join(text.partition("\n\n")[0].split())
