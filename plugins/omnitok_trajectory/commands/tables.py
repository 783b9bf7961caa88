"""How commands of this group print what they wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from omnitok.commands.common import console


def show(facts: Mapping[str, Any], as_json: bool) -> None:
    """One line per fact, or JSON."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
    console().print(table)
