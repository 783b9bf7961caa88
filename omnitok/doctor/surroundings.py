"""What surrounds a start of omnitok: our environment variables, files that hide libraries, the command on the PATH."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from .findings import Complaint, Finding, fine
from .libraries import OURS, versions

VARIABLES = {
    "OMNITOK_DATA": "the folder of public data sets",
    "OMNITOK_DEBUG": "1 shows the traceback of an error",
    "OMNITOK_HOME": "the folder of omnitok's own state",
    "OMNITOK_IMPORT_SECONDS": "how long the import of a plugin may take",
    "OMNITOK_PLUGINS": "the only plugins to load, by name",
    "OMNITOK_STRICT": "1 makes a plugin that cannot be used fatal",
}
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}

UNKNOWN_VARIABLE = Complaint(
    "variable-unknown", "warning", "omnitok has no environment variable {name}", "{hint}, or `unset {name}`"
)
NO_DATA = Complaint(
    "data-folder",
    "problem",
    "OMNITOK_DATA={value} is no folder, so no public data set is found",
    "make it the folder that holds them, or `unset OMNITOK_DATA`",
)
NO_PLUGIN = Complaint(
    "variable-plugins",
    "problem",
    "OMNITOK_PLUGINS names {name!r}, and no plugin of that name is installed",
    "{hint}, or `unset OMNITOK_PLUGINS`",
)
NO_SECONDS = Complaint(
    "variable-seconds",
    "problem",
    "OMNITOK_IMPORT_SECONDS={value!r} is no number of seconds",
    "`export OMNITOK_IMPORT_SECONDS=30`, or `unset OMNITOK_IMPORT_SECONDS`",
)
HIDDEN = Complaint(
    "library-hidden",
    "warning",
    "{path} hides the library {name} from `python -m` and from scripts that are started in this folder",
    "rename it, or work in another folder",
)
OTHER_SCRIPT = Complaint(
    "script-elsewhere",
    "warning",
    "the command `omnitok` on the PATH ({script}) belongs to another Python ({owner}) than this one ({python})",
    "`{python} -m omnitok`, or activate this environment",
)
NO_SCRIPT = Complaint(
    "script-missing",
    "warning",
    "no command `omnitok` is on the PATH",
    "activate the environment, or `{python} -m omnitok`",
)


def variables() -> Iterator[Finding]:
    """Every OMNITOK_ variable: whether there is such a one, and whether its value can be used."""
    told = sorted(name for name in os.environ if name.startswith("OMNITOK_"))
    wrong = [f for name in told for f in _variable(name, os.environ[name])]
    yield from wrong
    if not wrong:
        yield fine("variables", ", ".join(f"{n}={os.environ[n]}" for n in told) or "no OMNITOK_ variable is set")


def _variable(name: str, value: str) -> Iterator[Finding]:
    if name not in VARIABLES:
        close = difflib.get_close_matches(name, VARIABLES, n=1)
        yield UNKNOWN_VARIABLE(name=name, hint=f"perhaps {close[0]} is meant" if close else f"there are {', '.join(VARIABLES)}")
    elif name == "OMNITOK_DATA" and value and not Path(value).is_dir():
        yield NO_DATA(value=value)
    elif name == "OMNITOK_PLUGINS":
        yield from _named_plugins(value)
    elif name == "OMNITOK_IMPORT_SECONDS" and value:
        try:
            fits = 0 <= float(value) < float("inf")
        except ValueError:
            fits = False
        if not fits:
            yield NO_SECONDS(value=value)


def _named_plugins(value: str) -> Iterator[Finding]:
    from ..plugins.discovery import installed

    known = sorted({plugin.record.name for plugin in installed()})
    for name in (word.strip() for word in value.split(",")):
        if name and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield NO_PLUGIN(
                name=name, hint=f"perhaps {close[0]!r} is meant" if close else f"there are {', '.join(known) or 'none'}"
            )


def hidden_libraries() -> Iterator[Finding]:
    """Files and folders here that Python would take for a library."""
    try:
        here = Path.cwd()
    except OSError:  # said where folders are looked at
        return
    libraries = [n for n in versions() if n not in ("python", "system")]
    hiding = [(name, path) for name in libraries for path in _hides(here, imported_as(name))]
    for name, path in hiding:
        yield HIDDEN(path=path, name=name)
    if not hiding:
        yield fine("library-hidden", "no file here hides a library")


def imported_as(distribution: str) -> str:
    """The name that a library is imported by."""
    return IMPORTED_AS.get(distribution, distribution.replace("-", "_"))


def _hides(here: Path, module: str) -> list[Path]:
    found = [p for p in (here / f"{module}.py", here / module / "__init__.py") if p.is_file()]
    ours = Path(__file__).parents[1] / "__init__.py"
    if module == OURS:  # the checkout itself hides nothing
        found = [p for p in found if not p.samefile(ours)]
    return found


def script() -> Iterator[Finding]:
    """The `omnitok` that a shell finds, and the Python it starts."""
    found = shutil.which(OURS)
    if found is None:
        yield NO_SCRIPT(python=sys.executable)
        return
    owner = _owner(Path(found))
    if owner is not None and owner.parent != Path(sys.executable).parent:
        yield OTHER_SCRIPT(script=found, owner=owner, python=sys.executable)
    else:
        yield fine("script", f"the command `omnitok` on the PATH is {found}")


def _owner(path: Path) -> Path | None:
    """The interpreter in a script's first line, or in the `exec` line behind it where the path is long; None: not told."""
    with path.open("rb") as file:
        lines = file.read(4096).decode("utf-8", "replace").splitlines()
    if not lines or not lines[0].startswith("#!"):
        return None
    words = lines[0].removeprefix("#!").split()
    if words == ["/bin/sh"] and len(lines) > 1 and lines[1].startswith("'''exec'"):
        words = lines[1].removeprefix("'''exec'").split()
    return Path(words[0].strip('"')) if words and not words[0].endswith("/env") else None
