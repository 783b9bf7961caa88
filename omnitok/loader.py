"""The endless stream of packed batches for training: the same batches whatever the number of workers, and after a resume."""

from __future__ import annotations

import math
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from . import errors
from .batch import Document, PackedBatch, Schema, collate
from .draws import Draw, Draws, Source, chance
from .errors import ConfigError, OmnitokError
from .packing import Packer

CHUNK = 8
"""Draws that a worker answers at once; it changes no batch, only the number of messages."""
TIMEOUT = 300.0
"""Seconds after which a worker that does not answer is an error."""

Make = Callable[[str, int, str], Document]
"""(task, sample, key) -> document, picklable; whatever it leaves to chance comes from `chance(key, purpose)`."""


class Loader:
    """An endless iterator of packed batches of the documents that `make` makes of `draws`.

    `state()` is the state as of the batches handed out, whatever was prefetched; `restore` goes on from it exactly.
    A sample that cannot be made is one error that names task and sample, raised when its turn comes.
    """

    _state: dict[str, Any]

    def __init__(
        self,
        make: Make,
        draws: Draws,
        budget: int,
        schema: Schema,
        workers: int = 0,
        chunk: int = CHUNK,
        timeout: float = TIMEOUT,
    ) -> None:
        """`budget` in tokens of a batch; `workers` processes make the documents (0: this one); `timeout` in seconds."""
        if workers < 0 or chunk < 1 or not 0 < timeout < math.inf:
            raise ConfigError(
                f"workers, chunk and timeout must be at least 0, 1 and a second, got {workers}, {chunk} and {timeout}"
            )
        self.make, self.draws, self.budget, self.schema = make, draws, budget, schema
        self.workers, self.chunk, self.timeout = workers, chunk, timeout
        self._begin(())

    def __iter__(self) -> Iterator[PackedBatch]:
        return self

    def __next__(self) -> PackedBatch:
        try:
            while not self._packer.full:
                draw, document = self._document()
                self._packer.push((draw, document), len(document), _title(draw))
            batch = collate([document for _, document in self._packer.take()], self.schema)
        except BaseException:
            self.restore(self._state)  # stand behind the last batch, as `state` says
            raise
        self._state = self._snapshot()
        return batch

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON values: the counters, and the draws that still wait for a batch."""
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Raises CheckpointError where it belongs to other data or another setting."""
        self.draws.restore(state["draws"])
        self._begin(Draw(*draw) for draw in state["waiting"])

    def close(self) -> None:
        """Stop the workers; the next batch starts them again."""
        self.restore(self._state)

    def _begin(self, waiting: Iterable[Draw]) -> None:
        self._packer: Packer[tuple[Draw, Document]] = Packer(self.budget)
        self._again: deque[Draw] = deque(waiting)
        self._made: Iterator[tuple[Draw, Document | Failure]] | None = None
        self._state = self._snapshot()

    def _snapshot(self) -> dict[str, Any]:
        waiting = [draw for draw, _ in self._packer.pending] + list(self._again)
        return {"draws": self.draws.state(), "waiting": [list(draw) for draw in waiting]}

    def _document(self) -> tuple[Draw, Document]:
        if self._again:
            draw = self._again.popleft()
            made = _inline(self.make, draw, self.draws.key(draw))
        else:
            self._made = self._made or (self._from_workers() if self.workers else self._from_here())
            draw, made = next(self._made)
            next(self.draws)  # the stream runs ahead on a copy; this one counts what has come in
        if isinstance(made, Failure):
            raise made.error()
        return draw, made if made.name else made.replace(name=f"{draw.task}/{draw.sample}")

    def _from_here(self) -> Iterator[tuple[Draw, Document | Failure]]:
        for draw in self.draws.copy():
            yield draw, _inline(self.make, draw, self.draws.key(draw))

    def _from_workers(self) -> Iterator[tuple[Draw, Document | Failure]]:
        """In the order drawn, from chunks that workers make ahead of time."""
        ahead, asked = self.draws.copy(), deque[list[Draw]]()

        def chunks() -> Iterator[list[tuple[Draw, str]]]:
            while True:
                asked.append(list(islice(ahead, self.chunk)))
                yield [(draw, ahead.key(draw)) for draw in asked[-1]]

        loader: DataLoader[Any] = DataLoader(
            _Chunks(self.make),  # type: ignore[arg-type]
            batch_size=None,
            sampler=chunks(),
            num_workers=self.workers,
            collate_fn=_as_is,
            timeout=self.timeout,
            prefetch_factor=max(2, 64 // (self.chunk * self.workers)),
            generator=torch.Generator(),  # else it would draw from the global one, which belongs to the model
        )
        answers = iter(loader)
        while True:
            try:
                made = next(answers)
            except RuntimeError as error:  # torch's own: a worker died, or did not answer in time
                raise OmnitokError(
                    f"a data worker died or did not answer for {self.timeout:g} s, at one of {', '.join(map(_title, asked[0]))}; "
                    f"workers = 0 shows which ({str(error).splitlines()[0]})"
                ) from error
            yield from zip(asked.popleft(), made, strict=True)


@dataclass(frozen=True)
class Failure:
    """A sample that could not be made, on its way from a worker."""

    kind: type[OmnitokError]
    message: str
    trace: str

    def error(self) -> OmnitokError:
        """The error to raise; the traceback of where it happened is its note."""
        error = self.kind(self.message)
        error.add_note(self.trace)
        return error


class _Chunks:
    """The data set that workers see: a chunk of draws -> their documents."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def __getitem__(self, chunk: list[tuple[Draw, str]]) -> list[Document | Failure]:
        return [_attempt(self.make, draw, key) for draw, key in chunk]


def _attempt(make: Make, draw: Draw, key: str) -> Document | Failure:
    try:
        return make(draw.task, draw.sample, key)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # native libraries raise panics that are no Exception
        kind = next((k for k in type(error).__mro__ if k.__module__ == errors.__name__), OmnitokError)
        said = str(error) if isinstance(error, OmnitokError) else f"{type(error).__name__}: {error}"
        return Failure(kind, f"{_title(draw)}: {said}", "".join(traceback.format_exception(error)))


def _inline(make: Make, draw: Draw, key: str) -> Document | Failure:
    """As in a worker, which has one thread: sums in another order would be other numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _attempt(make, draw, key)
    finally:
        torch.set_num_threads(threads)


def _title(draw: Draw) -> str:
    return f"task {draw.task!r}, sample {draw.sample}"


def _as_is(chunk: Any) -> Any:
    return chunk


__all__ = ["CHUNK", "TIMEOUT", "Draw", "Draws", "Loader", "Make", "Source", "chance"]
