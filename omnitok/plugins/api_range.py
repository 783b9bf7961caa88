"""Which omnitok a plugin asks for: its distribution's own requirement, read without importing any of its code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

OURS = "omnitok"
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")


@dataclass(frozen=True)
class Range:
    """What a distribution asks of omnitok, held against the omnitok that is here."""

    asks: str = ""
    """such as "omnitok<0.2,>=0.1"; empty where it asks for none."""
    verdict: Literal["fits", "too old", "too new", "unreadable"] = "fits"
    """too new: it needs a newer omnitok than this one; too old: it was made for older ones."""


def canonical(name: str) -> str:
    """A distribution's name as installers compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def api_range(requirements: Iterable[str], here: str) -> Range:
    """A distribution's requirements (PEP 508) and the version of omnitok that is here -> what it asks for, and whether that fits.

    Extras in the requirement do not matter; a requirement whose marker does not hold here, or that belongs to an
    extra of the distribution, is none. A pre-release of omnitok is taken as pip takes it: 0.3.dev1 is not 0.3.
    """
    ours = [text for text in requirements if (m := _NAME.match(text)) and canonical(m[1]) == OURS]
    if not ours:
        return Range()
    from packaging.version import Version  # not earlier: most plugins are listed without it

    version = Version(here)
    asked = []
    verdict: Literal["fits", "too old", "too new"] = "fits"
    for text in ours:
        requirement = _parsed(text)
        if requirement is None:
            return Range(text.strip(), "unreadable")
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        asked.append(f"{OURS}{requirement.specifier}")
        if not requirement.specifier.contains(version, prereleases=True):
            verdict = "too new" if _wants_newer(requirement, version) else "too old"
    return Range(" and ".join(asked), verdict)


def _parsed(text: str) -> Requirement | None:
    """A requirement that can be read and whose marker can be evaluated."""
    from packaging.requirements import Requirement

    try:
        requirement = Requirement(text)
        if requirement.marker is not None:
            requirement.marker.evaluate({"extra": ""})
    except Exception:  # packaging has its own error for each part that may be wrong
        return None
    return requirement


def _wants_newer(requirement: Requirement, here: Version) -> bool:
    """Whether a bound that is not met lies above `here`."""
    from packaging.version import InvalidVersion, Version

    for part in requirement.specifier:
        try:
            bound = Version(part.version.removesuffix(".*"))
        except InvalidVersion:  # `===` takes any word
            continue
        if part.operator in (">=", ">", "~=", "==", "===") and not part.contains(here, prereleases=True) and here <= bound:
            return True
    return False
