"""Who is installed, whether they can be used, and what they provide: the host of plugins and its rooms.

Names are imported when they are first used: a list of plugins, and a doctor, need few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .discovery import PluginStatus
    from .host import Host, load_plugins

__all__ = ["Host", "PluginStatus", "load_plugins"]


def __getattr__(name: str) -> Any:
    if name == "PluginStatus":
        from .discovery import PluginStatus

        return PluginStatus
    if name in __all__:
        from . import host

        return getattr(host, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
