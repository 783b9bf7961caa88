"""Versions: which omnitok a distribution works with, and which version it is itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from .base import Skip, Subject, check, checks_of

GROUP = "versions"
CORE = "omnitok"


def _distribution(subject: Subject) -> metadata.Distribution:
    if subject.status is None or subject.status.is_file:
        raise Skip("it is not installed as a distribution")
    if subject.status.distribution == CORE:
        raise Skip("it is part of omnitok itself")
    return metadata.distribution(subject.status.distribution)


@check(
    GROUP,
    "version",
    "The distribution has a version that runs can name: a checkpoint tells what it was made with",
    'set `version = "1.0"` (PEP 440) in its pyproject.toml',
)
def version(subject: Subject) -> Iterator[str]:
    found = _distribution(subject).version
    if not found or not re.fullmatch(
        r"v?(\d+!)?\d+(\.\d+)*([._-]?(a|b|c|rc|alpha|beta|pre|post|rev|r|dev)[._-]?\d*)*(\+[\w.]+)?", found
    ):
        yield f"its version is {found!r}"


@check(
    GROUP,
    "api-range",
    "The distribution requires the omnitok that it was written for: too old and too new ones are refused by name",
    'write `dependencies = ["omnitok>=0.1,<0.2"]` into its pyproject.toml',
)
def api_range(subject: Subject) -> Iterator[str]:
    requirements = _distribution(subject).requires or []
    own = [r for r in requirements if re.match(rf"{CORE}\b(?![-_.\w])", r.strip(), re.IGNORECASE)]
    if not own:
        yield f"it does not require omnitok (it requires {', '.join(requirements) or 'nothing'})"
        return
    bounds = own[0].partition(";")[0]
    if "~=" not in bounds and "==" not in bounds:
        if ">" not in bounds:
            yield f"{own[0]!r} names no oldest omnitok"
        if "<" not in bounds:
            yield f"{own[0]!r} names no newest omnitok"


CHECKS = checks_of(globals())
