"""Twenty plugins installed: what lists them imports neither torch nor one of them, and is quick."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omnitok.plugins.remembered import LastImport, Memory, now
from tests.distributions import install

LIMIT = 0.5
"""seconds of processor time, promised for the list and for --help"""
ROUNDS = 3


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty distributions, each with a range of versions, suffixes and a command; ten were imported before, five not well."""
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))
    folder = tmp_path / "site"
    folder.mkdir()
    imports = {}
    for i in range(20):
        name = f"many{i:02d}"
        entries = {name: name, f"{name}.a{i}": name, f"{name}.b{i}": name}
        asks = ["omnitok>=0.1", "torch>=2", "omnitok[hub]<90; extra == 'more'"]
        install(folder, f"fake-{name}", "1 / 0", entries, module=name, requires=asks, commands={f"{name}-run": f"{name}:run"})
        if i < 10:
            text = "" if i < 5 else "Traceback ...\nZeroDivisionError: division by zero"
            imports[name] = LastImport(
                f"fake-{name}", "1.0", "0.1.0", "broken" if text else "ok", now(), text.rpartition("\n")[2], text
            )
    assert Memory().record(imports)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [["plugins"], ["plugins", "--json"], ["--help"], ["plugins", "--help"], ["plugins", "disable", "many03"], ["many04-run"]],
    ids=" ".join,
)
def test_the_list_is_quick_and_imports_nothing(arguments: list[str], site: Path) -> None:
    code = (
        "import sys; from omnitok.cli import run; code = run(sys.argv[1:]); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy') or m.startswith(('many', 'omnitok_'))]); "
        "print(code)"
    )
    path = {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | path
    )
    *out, imported, status = done.stdout.splitlines()
    if arguments == ["many04-run"]:  # this one asks for its code
        assert status == "2"
        assert (
            done.stderr == "error: command 'many04-run' of fake-many04 1.0 cannot be used: ZeroDivisionError: division by zero\n"
        )
        return
    assert (status, imported, done.stderr) == ("0", "[]", "")
    if arguments == ["plugins", "--json"]:
        found = {r["name"]: r["status"] for r in json.loads("\n".join(out))}
        assert [found[f"many{i:02d}"] for i in (0, 5, 10)] == ["ok", "broken", "not imported"]
    took, wall = [], []
    for _ in range(ROUNDS):
        begin = os.times()
        subprocess.run([sys.executable, "-m", "omnitok", *arguments], capture_output=True, timeout=60, env=os.environ | path)
        end = os.times()
        took.append(end.children_user - begin.children_user)
        wall.append(end.elapsed - begin.elapsed)
        if took[-1] < LIMIT / 2:
            break
    print(f"\nomnitok {' '.join(arguments)}: {min(took):.2f} s of processor time, {min(wall):.2f} s in all, with 25 plugins")
    assert min(took) < LIMIT
