"""Which plugin a file belongs to: by its suffix, and where several claim that, by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, InputError
from .discovery import PluginStatus

if TYPE_CHECKING:
    from .host import Host

SNIFFED_BYTES = 4096


def claimant(host: Host, path: Path) -> str:
    """The name of the plugin that reads a file. No plugin is imported but where several claim its suffix.

    Raises InputError where none or several remain, with the names to choose from.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: is a folder; name the files in it" if path.is_dir() else f"{path}: is no regular file")
    records = [r for r in host.status() if any(path.name.lower().endswith(suffix) for suffix in r.suffixes)]
    names = tuple(dict.fromkeys(r.name for r in records if r.retry))
    if len(names) > 1:
        names = _sniff(host, path, [r for r in records if r.retry])
    if len(names) == 1:
        return names[0]
    if records and not names:
        raise InputError(f"{path}: {host.refused(records[0].name)}")
    choice = " or ".join(
        f"--as {n}"
        for n in names or dict.fromkeys(r.name for r in host.status() if r.retry and not (r.is_file and r.status == "broken"))
    )
    found = f"{len(names)} plugins read this" if names else f"no plugin claims {path.suffix or 'names without a suffix'}"
    broken = [r for r in host.status() if r.is_file and r.status == "broken" and not names]
    hints = "".join(f"; {r.distribution} cannot be used: {r.reason}" for r in broken)
    raise InputError(f"{path}: {found}; choose with {choice or 'a plugin: none is installed'}{hints}")


def _sniff(host: Host, path: Path, records: list[PluginStatus]) -> tuple[str, ...]:
    """Those of the claimants that take the file for theirs, or all where none does; one that breaks has no say."""
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    whole, kept = [], []
    for record in records:
        if record.harmful:
            continue
        try:
            tokenizer = host.tokenizer(record.name)
            whole.append(record.name)
            if tokenizer.sniff(path, head):
                kept.append(record.name)
        except ConfigError:  # it says nothing before it is configured
            whole.append(record.name)
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever a plugin raises
            continue
    return tuple(dict.fromkeys(kept or whole or [r.name for r in records]))
