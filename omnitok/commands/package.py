"""The files of a plugin's package, from templates; written whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from string import Template

import msgspec

from .. import __version__
from ..errors import InputError


class Facts(msgspec.Struct, frozen=True):
    """What a package says of one tokenizer."""

    name: str
    about: str
    """the first line of its docstring."""
    suffixes: tuple[str, ...] = ()
    channel: str = ""
    """the first of its channels."""
    generates: bool = True
    needs: tuple[str, ...] = ()
    """configuration fields without a default."""
    dataset: tuple[str, str] | None = None
    """a dataset of the same plugin, and the field that holds the objects."""


def module_of(name: str) -> str:
    """The module of a plugin's package."""
    return f"omnitok_{name.replace('-', '_')}"


def package(name: str, facts: Sequence[Facts], code: bytes | None = None) -> dict[str, bytes]:
    """The files of a package by their names: of the example, or of a plugin's own `code`, which goes in byte for byte."""
    module, distribution = module_of(name), f"omnitok-{name}"
    ready = [f.name for f in facts if not f.needs]
    claims = [(f.name, suffix) for f in facts for suffix in f.suffixes]
    lines = "\n".join(f'"{plugin}{suffix}" = "{module}"' for plugin, suffix in claims)
    values = {
        "name": facts[0].name,
        "names": " and ".join(f.name for f in facts),
        "stem": "".join(word.capitalize() for word in name.split("-")),
        "distribution": distribution,
        "module": module,
        "python": metadata.metadata("omnitok")["Requires-Python"],
        "requirement": requirement(__version__),
        "plugins": "\n".join(f'{f.name} = "{module}"' for f in facts) + "\n",
        "suffixes": f'[project.entry-points."omnitok.suffixes"]\n{lines}\n' if claims else "",
        "checked": ", ".join(f'"{each}"' for each in ready),
        "claims": repr({f.name: f.suffixes for f in facts}).replace("'", '"'),
        "about": "\n".join(_about(f) for f in facts),
        "use": "".join(_use(f) for f in facts[:1]),
    }
    test = _filled("test.py", values) + (_filled("test_toy.py", values) if code is None else "")
    return {
        f"{module}.py": _filled("plugin.py", values).encode() if code is None else code,
        "pyproject.toml": _filled("pyproject.toml", values).encode(),
        f"tests/test_{module.removeprefix('omnitok_')}.py": test.encode(),
        "README.md": _filled("README.md", values).encode(),
    }


def requirement(version: str) -> str:
    """The API range of a plugin written today: this minor version of omnitok, and no later one."""
    major, minor = re.findall(r"\d+", version)[:2]
    return f"omnitok>={major}.{minor},<{major}.{int(minor) + 1}"


def _about(facts: Facts) -> str:
    files = f" Reads {' '.join(facts.suffixes)}." if facts.suffixes else ""
    needs = f" Its configuration must say {', '.join(facts.needs)}." if facts.needs else ""
    return f"- `{facts.name}`: {facts.about}{files}{needs}"


def _use(facts: Facts) -> str:
    values = {"name": facts.name, "channel": facts.channel}
    if facts.suffixes:
        suffix = facts.suffixes[0]
        go_on = f'omnitok generate runs/first --prompt "at rest" --channel {facts.channel}\n' if facts.generates else ""
        return _filled("use_files.md", {**values, "suffix": suffix, "generate": go_on})
    if facts.dataset:
        return _filled("use_dataset.md", {**values, "dataset": facts.dataset[0], "field": facts.dataset[1]})
    return _filled("use_none.md", values)


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = resources.files("omnitok.commands").joinpath("templates", f"{template}.template").read_text("utf-8")
    return Template(text).substitute(values)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none. Raises InputError naming the folder where the disk refuses."""
    work = folder.with_name(f".{folder.name}-{os.getpid()}.part")
    try:
        work.mkdir()
        for path, data in files.items():
            (work / path).parent.mkdir(exist_ok=True)
            (work / path).write_bytes(data)
        work.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
