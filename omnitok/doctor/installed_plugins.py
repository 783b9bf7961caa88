"""The installed plugins, by their metadata and by how they were last seen: none is imported."""

from __future__ import annotations

from collections.abc import Iterator

from .findings import Complaint, Finding, fine

NONE = Complaint(
    "plugins-none", "problem", "no plugin is installed, not even a built-in one", "`pip install --force-reinstall omnitok`"
)
BROKEN = Complaint("plugin-broken", "problem", "plugin {name!r} of {whose} cannot be used: {reason}", "{remedy}")
DUPLICATE = Complaint("plugin-duplicate", "problem", "plugin {name!r} is provided by {whose}, so by none", "{remedy}")
TOO_NEW = Complaint(
    "plugin-too-new", "problem", "plugin {name!r} of {whose} asks for {asks}, and this omnitok is older", "{remedy}"
)
TOO_OLD = Complaint(
    "plugin-too-old", "problem", "plugin {name!r} of {whose} asks for {asks}, and this omnitok is newer", "{remedy}"
)
STATE = Complaint(
    "state-unreadable", "warning", "what was remembered of plugins is lost: {reason}", "delete that file; it is written again"
)


def plugins() -> Iterator[Finding]:
    """Which plugins can be used, as far as is known without importing them."""
    try:
        from ..plugins import Host
        from ..plugins.discovery import PluginStatus, installed
        from ..plugins.refusals import remedies
        from ..plugins.remembered import Memory
    except ImportError:  # a library is missing, which is said where the libraries are looked at
        return

    memory = Memory()
    if memory.problem:
        yield STATE(reason=memory.problem)
    records = Host(installed(), memory=memory, seconds=0).status()  # none is imported
    kinds = {"broken": BROKEN, "duplicate": DUPLICATE, "too new": TOO_NEW, "too old": TOO_OLD}
    told = set()
    for record in records:
        if record.status not in kinds or record.name in told:
            continue
        told.add(record.name)
        same: list[PluginStatus] = [r for r in records if r.name == record.name]
        whose = " and ".join(f"{r.distribution} {r.version}".rstrip() for r in same)
        values = {"name": record.name, "whose": whose, "reason": record.reason, "asks": record.asks}
        yield kinds[record.status](**values, remedy=", or ".join(remedies(record, same)))
    usable = [r.name for r in records if r.status in ("ok", "not imported")]
    disabled = [r.name for r in records if r.status == "disabled"]
    if not records:
        yield NONE()
    elif usable:
        words = f"{len(usable)} plugins: {', '.join(usable)}" + (f"; disabled: {', '.join(disabled)}" if disabled else "")
        yield fine("plugins", words, "`omnitok check` holds them against the contract")
