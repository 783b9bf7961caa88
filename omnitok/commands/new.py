"""`omnitok new`: a plugin's package, ready to be installed, checked and edited; of a one-file plugin, or of a small example."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from ..errors import ConfigError, InputError, PluginError
from ..plugins.discovery import installed
from .child import ChildFailure, run_in_child, serve
from .common import console
from .package import Facts, module_of, package, write

SECONDS = 60.0
"""that a one-file plugin may take to say what is in it."""
LONGEST_NAME = 50
_PLAIN = re.compile(r"[a-z][a-z0-9_-]*(/[A-Za-z0-9_.-]+)?")
"""names that may stand in TOML and in Python as they are."""


def new(
    name: Annotated[str, Parameter(help="Name of the plugin and of its tokenizer, such as heart-rate.")],
    /,
    *,
    from_: Annotated[Path | None, Parameter(name="--from", help="A one-file plugin, FILE.py, to be packaged as it is.")] = None,
) -> int:
    """Write a plugin's package into ./omnitok-NAME: to edit an example, or to publish a one-file plugin."""
    name = normal(name)
    folder = Path(f"omnitok-{name}")
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists already and is left as it is; move it away, or choose another name")
    if from_ is None:
        facts = [Facts(name, _ABOUT, (f".{name}",), name)]
    else:
        facts = read_facts(name, from_)
    for each in facts:
        _refuse_taken(each.name, from_)
    files = package(name, facts, None if from_ is None else from_.read_bytes())
    write(folder, files)
    _tell(folder, facts[0].name, files, own=from_ is not None)
    return 0


_ABOUT = "Readings in [-1, 1], one token each."


def normal(name: str) -> str:
    """A name as packages are named: lower case, words joined by "-"; `omnitok-` before it is dropped.

    Raises ConfigError with the reason where it cannot be the name of a plugin.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ConfigError(f"plugin name {name!r}: use letters, digits, '-' and '_'")
    plain = re.sub(r"[-_]+", "-", name).lower().removeprefix("omnitok-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", plain):
        raise ConfigError(f"plugin name {name!r}: begin with a letter, and end with a letter or a digit")
    if len(plain) > LONGEST_NAME:
        raise ConfigError(f"plugin name {name!r} has {len(plain)} characters; {LONGEST_NAME} are the most")
    word = plain.replace("-", "_")
    if keyword.iskeyword(word) or keyword.issoftkeyword(word):
        raise ConfigError(f"plugin name {name!r} is a keyword of Python; choose another")
    if word in sys.stdlib_module_names:
        raise ConfigError(f"plugin name {name!r} is a module of Python's standard library; choose another")
    return plain


def _refuse_taken(name: str, source: Path | None) -> None:
    """Raises ConfigError where an installed plugin, or another module than the file itself, has the name."""
    for plugin in installed():
        if _same(plugin.record.name, name):
            whose = f"{plugin.record.distribution} {plugin.record.version}"
            raise ConfigError(f"plugin name {name!r} is taken by {whose}, and two of one name cannot be used; choose another")
    module = module_of(name)
    found = importlib.util.find_spec(module)
    if found is not None and not (source and found.origin and Path(found.origin).resolve() == source.resolve()):
        raise ConfigError(f"a module {module} is installed already ({found.origin}); choose another name")


def _same(one: str, other: str) -> bool:
    return one.lower().replace("_", "-") == other.lower().replace("_", "-")


# -- what a one-file plugin holds


def read_facts(name: str, file: Path) -> list[Facts]:
    """What a one-file plugin says of its tokenizers, the one called `name` first; it is imported in a process of its own.

    Raises ConfigError where there is no such file or tokenizer, PluginError where the file cannot be imported.
    """
    if not file.is_file():
        raise ConfigError(f"--from {file}: no such file")
    answer = run_in_child(__name__, {"file": str(file.resolve())}, SECONDS)
    if isinstance(answer, ChildFailure):
        raise PluginError(f"{file} cannot be packaged: {answer}")
    if isinstance(answer, str):
        raise PluginError(f"{file} cannot be packaged: {answer}")
    facts = msgspec.convert(answer, list[Facts])
    facts.sort(key=lambda f: not _same(f.name, name))
    for each in facts:
        if not _PLAIN.fullmatch(each.name) or "/" in each.name:
            raise ConfigError(f"{file} names a tokenizer {each.name!r}; use lower-case letters, digits, '-' and '_'")
    if not _same(facts[0].name, name):
        choice = " or ".join(f"`omnitok new {f.name} --from {file}`" for f in facts)
        raise ConfigError(f"{file} has no tokenizer {name!r}; {choice}")
    return facts


def describe(task: Mapping[str, Any]) -> list[dict[str, Any]] | str:
    """The child: import the file and say what is in it, or why not."""
    from ..plugins import load_plugins

    host = load_plugins(only=[], files=[task["file"]])
    broken = next((r for r in host.status() if r.status == "broken"), None)
    if broken is not None:
        return broken.reason
    return [msgspec.to_builtins(_facts(host, record.name, record.suffixes)) for record in host.status()]


def _facts(host: Any, name: str, suffixes: tuple[str, ...]) -> Facts:
    cls = host.tokenizer_class(name)
    about = next(iter((cls.__doc__ or "").strip().splitlines()), "")
    needs = tuple(field for field, info in cls.config_fields().items() if info.required)
    facts = Facts(name, about, suffixes, name, needs=needs)
    if needs:
        return facts
    tokenizer = cls()
    try:
        dataset = host.dataset(next(d for d in host.datasets() if d.partition("/")[0] == name))
        names = dataset.name, next(iter(dataset.split("train")[0]))
        known = names if all(map(_PLAIN.fullmatch, names)) else None
    except Exception:  # none, or one that has to be downloaded or configured first
        known = None
    return msgspec.structs.replace(
        facts, channel=next(iter(tokenizer.channels())), generates=_generates(tokenizer), dataset=known
    )


def _generates(tokenizer: Any) -> bool:
    """Whether it says where generated tokens go."""
    tokens = [tokenizer.encode(raw) for raw in tokenizer.samples(0)]
    longest = max(tokens, key=len)
    try:
        tokenizer.place(0, {k: v for span in longest.spans for k, v in span.meta.items()})
    except InputError:
        return False
    return True


def _tell(folder: Path, name: str, files: Mapping[str, bytes], own: bool) -> None:
    module = next(iter(files))
    lines = [f"wrote {folder}: {', '.join(files)}", "", "next:", f'  pip install -e "./{folder}[test]"']
    if not own:
        lines.append(f"  edit {folder}/{module}")
    lines += [f"  omnitok check {name}", f"  pytest {folder}"]
    console().print("\n".join(lines))


if __name__ == "__main__":
    serve(lambda task: describe(task))
