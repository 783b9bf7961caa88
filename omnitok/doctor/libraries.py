"""Python, omnitok and the libraries it declares, against the versions that are installed; read from metadata alone."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from .. import __version__
from .findings import Complaint, Finding, fine

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OURS = "omnitok"
FOR_DEVELOPERS = ("dev", "test", "parity")

NOT_INSTALLED = Complaint(
    "omnitok-not-installed",
    "problem",
    "omnitok {version} runs from its source and is not installed, so no plugin, not even a built-in one, can be found",
    "install it: `pip install omnitok`, or `pip install -e .` in the checkout",
)
ANOTHER_VERSION = Complaint(
    "omnitok-twice",
    "warning",
    "the code that runs is omnitok {code}, and the installed metadata says {metadata}",
    "`pip uninstall omnitok` until none is left, then install one again",
)
OLD_PYTHON = Complaint(
    "python-version",
    "problem",
    "Python {version} is outside what omnitok declares ({asked})",
    "make an environment with another one, such as `python3.12 -m venv .venv`",
)
NO_PACKAGING = Complaint(
    "packaging-missing",
    "problem",
    "the library `packaging` is missing, so versions cannot be compared",
    "`pip install packaging`",
)
MISSING = Complaint("library-missing", "problem", "{name} is not installed; omnitok needs {asked}", '`pip install "{asked}"`')
OUT_OF_RANGE = Complaint(
    "library-version", "problem", "{name} {version} is outside what omnitok declares ({asked})", '`pip install "{asked}"`'
)
NO_VERSION = Complaint(
    "library-unreadable",
    "warning",
    "the installed {name} says its version is {version!r}, which cannot be compared",
    '`pip install --force-reinstall "{asked}"`',
)
EXTRA_OUT_OF_RANGE = Complaint(
    "extra-version",
    "warning",
    "{name} {version} is outside what the extra {extra!r} declares ({asked})",
    '`pip install "omnitok[{extra}]"`',
)


def versions() -> dict[str, str]:
    """Python, the system, omnitok and the libraries it declares, by name; "" where one is missing."""
    names = [re.split(r"[^A-Za-z0-9._-]", r, maxsplit=1)[0] for r in _declared() if "extra ==" not in r]
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {"python": platform.python_version(), "system": system, OURS: __version__, **{n: _version(n) for n in names}}


def python() -> Iterator[Finding]:
    """The interpreter, and whether the omnitok that runs is the one that is installed."""
    name = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    try:
        facts = metadata.metadata(OURS)
    except metadata.PackageNotFoundError:
        yield NOT_INSTALLED(version=__version__)
        return
    asked = facts["Requires-Python"] or ""
    try:
        from packaging.specifiers import SpecifierSet

        fits = SpecifierSet(asked).contains(platform.python_version(), prereleases=True)
    except ImportError:  # said by `dependencies`
        fits = True
    yield fine("python", name) if fits else OLD_PYTHON(version=platform.python_version(), asked=asked)
    if facts["Version"] != __version__:
        yield ANOTHER_VERSION(code=__version__, metadata=facts["Version"])
    else:
        yield fine("omnitok", f"omnitok {__version__}")


def dependencies() -> Iterator[Finding]:
    """Every library that omnitok declares."""
    try:
        needed = [r for r in _requirements() if _holds(r, "")]
    except ImportError:
        yield NO_PACKAGING()
        yield from (MISSING(name=n, asked=n) for n, version in versions().items() if not version and n != "packaging")
        return
    findings = [f for r in needed if (f := _judge(r)) is not None]
    yield from findings
    if needed and not findings:
        yield fine("libraries", f"{len(needed)} libraries that omnitok declares are there, each in its range")


def extras() -> Iterator[Finding]:
    """Which optional parts are there, and the line that adds one."""
    try:
        parsed = _requirements()
    except ImportError:
        return
    for extra in _extras():
        needed = _expanded(extra, parsed)
        there = {r.name: _version(r.name) for r in needed}
        wrong = [r for r in needed if there[r.name] and _fits(r, there[r.name]) is False]
        for r in wrong:
            yield EXTRA_OUT_OF_RANGE(name=r.name, version=there[r.name], extra=extra, asked=_plain(r))
        lacking = [name for name, version in there.items() if not version]
        if lacking:
            words = (
                f"the extra {extra!r} is not installed" if len(lacking) == len(there) else f"the extra {extra!r} is there in part"
            )
            yield fine("extra", f"{words} (without {', '.join(lacking)})", f'where you need it: `pip install "omnitok[{extra}]"`')
        elif not wrong:
            yield fine("extra", f"the extra {extra!r} is installed")


def asked_for(*names: str) -> str:
    """The arguments of a pip line for libraries, in the ranges that omnitok declares: '"torch>=2,<3" "other>=1"'."""
    declared = {r.name: _plain(r) for r in _requirements() if _holds(r, "")}
    return " ".join(f'"{declared.get(name, name)}"' for name in names)


def _judge(requirement: Requirement) -> Finding | None:
    version, asked = _version(requirement.name), _plain(requirement)
    if not version:
        return MISSING(name=requirement.name, asked=asked)
    fits = _fits(requirement, version)
    if fits is None:
        return NO_VERSION(name=requirement.name, version=version, asked=asked)
    return None if fits else OUT_OF_RANGE(name=requirement.name, version=version, asked=asked)


def _declared() -> list[str]:
    try:
        return metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return []


def _requirements() -> list[Requirement]:
    from packaging.requirements import Requirement

    return [Requirement(text) for text in _declared()]


def _extras() -> list[str]:
    try:
        found = metadata.metadata(OURS).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
    return [extra for extra in found if extra not in FOR_DEVELOPERS]


def _expanded(extra: str, parsed: list[Requirement]) -> list[Requirement]:
    """What an extra adds, with the extras that it names."""
    own = [r for r in parsed if _holds(r, extra) and not _holds(r, "")]
    inner = [other for r in own if r.name == OURS for other in r.extras]
    return [r for r in own if r.name != OURS] + [r for other in sorted(inner) for r in _expanded(other, parsed)]


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _fits(requirement: Requirement, version: str) -> bool | None:
    """None where the version is no version."""
    from packaging.version import InvalidVersion, Version

    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return None


def _plain(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    bounds = sorted(map(str, requirement.specifier), key=lambda bound: (not bound.startswith(">"), bound))
    return f"{requirement.name}{extras}{','.join(bounds)}"


def _version(name: str) -> str:
    try:
        return metadata.version(name) or ""
    except Exception:  # missing, or metadata that cannot be read
        return ""
