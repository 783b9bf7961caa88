"""`omnitok doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.table import Column, Table

from ..doctor.findings import Finding
from ..doctor.report import SECONDS, as_json, as_markdown, examine, summary
from ..errors import ConfigError
from .common import console

STYLES = {"problem": "red", "warning": "yellow", "ok": ""}


def doctor(
    *,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
    markdown: Annotated[bool, Parameter(help="Print Markdown for an issue, without names and private folders.")] = False,
    timeout: Annotated[float, Parameter(help="Seconds that torch, and what a plugin examines, may take.")] = SECONDS,
) -> int:
    """Examine this installation: versions, GPU, plugins, folders, settings; each finding comes with its next step.

    Exit code 1 where there is a problem. `python -m omnitok.doctor` is the same where `omnitok` itself does not start.
    """
    if json and markdown:
        raise ConfigError("--json and --markdown: choose one")
    if timeout <= 0:
        raise ConfigError(f"--timeout {timeout:g}: must be more than 0 seconds")
    findings = examine(timeout)
    if json or markdown:
        print(as_json(findings) if json else as_markdown(findings))
    else:
        _print(findings)
    return int(any(f.level == "problem" for f in findings))


def _print(findings: Sequence[Finding]) -> None:
    table = Table("", Column("found", overflow="fold"), Column("next step", overflow="fold"))
    for finding in findings:
        table.add_row(finding.level, finding.what, finding.next, style=STYLES[finding.level])
    console().print(table)
    console().print(summary(findings))
