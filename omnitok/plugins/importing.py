"""One import of one plugin: guarded, at most once in a process, and remembered for the next."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pluggy

from .. import __version__
from ..errors import PluginError
from .discovery import Plugin, PluginStatus, Status
from .isolation import TooSlow, guarded
from .registration import register
from .remembered import LastImport, Memory, Result, note, now


@dataclass(frozen=True)
class Importer:
    """Imports plugins into this process. A failure is put on the plugin's record, so that no plugin takes another with it."""

    manager: pluggy.PluginManager
    memory: Memory | None
    """None: nothing is remembered."""
    seconds: float
    """most that one import may take; 0: no limit."""

    def __call__(self, plugin: Plugin) -> bool:
        """Whether the plugin can be used, after the one attempt to import it. Raises nothing but KeyboardInterrupt."""
        if not plugin.tried and plugin.record.retry:
            from .. import data, tokenizer  # noqa: F401 - torch comes with them, and is no part of a plugin's time

            last = self._begin(plugin.record)
            result: Result
            try:
                with guarded(self.seconds):
                    register(self.manager, plugin)
                result, error = "ok", ""
            except KeyboardInterrupt:
                self._end(plugin, last)
                raise
            except BaseException as raised:  # a plugin may raise anything, SystemExit among it
                result, error = "hung" if isinstance(raised, TooSlow) else "broken", failure(raised)
            plugin.tried = True
            status: Status = "ok" if result == "ok" else "broken"
            plugin.record = replace(plugin.record, status=status, error=error, when="", harmful=result == "hung")
            self._end(plugin, last_import(plugin.record, result, plugin.datasets or ()), last)
        return plugin.tried and plugin.record.status == "ok"

    def _begin(self, record: PluginStatus) -> LastImport | None:
        """How the last import went. One that has not gone well yet is announced: it may end the process."""
        if self.memory is None or record.is_file:
            return None
        last = self.memory.last(record.name, record.distribution, record.version)
        if last is None or last.result != "ok":
            self.memory.begin(record.name, record.distribution, record.version)
        return last

    def _end(self, plugin: Plugin, this: LastImport | None, last: LastImport | None = None) -> None:
        """Remember how it went, where that was announced or is new; None takes the announcement back."""
        if self.memory is None or plugin.record.is_file:
            return
        if this is None:
            self.memory.forget(plugin.record.name)
        elif last is None or last.result != "ok" or (this.result, this.datasets) != ("ok", last.datasets):
            written = self.memory.record({plugin.record.name: this})
            if not written and this.result != "ok":
                note(self.memory.problem)


def last_import(record: PluginStatus, result: Result, datasets: Iterable[str] = ()) -> LastImport:
    """What is remembered of an import that came to this record."""
    known = tuple(sorted(datasets)) if result == "ok" else ()
    return LastImport(
        record.distribution, record.version, __version__, result, now(), record.reason, record.error, datasets=known
    )


def as_last_seen(record: PluginStatus, last: LastImport | None) -> PluginStatus:
    """A record with how the last import went in an earlier process."""
    if last is None:
        return record
    if last.result == "ok":
        return replace(record, status="ok", when=last.time)
    return replace(
        record,
        status="broken",
        error=last.traceback or last.reason,
        when=last.time,
        retry=last.result != "ended",
        harmful=last.result in ("hung", "ended"),
    )


def failure(error: BaseException) -> str:
    """An error as it is recorded: the traceback, and on the last line what went wrong."""
    if isinstance(error, PluginError):
        return str(error)
    lines = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, TooSlow):
        return f"{lines}\n{error}"
    words = traceback.format_exception_only(error)
    if len(words) == 1 and "\n" in words[0].rstrip():  # a message of several lines
        return f"{lines}\n{' '.join(words[0].split())}"
    return lines
