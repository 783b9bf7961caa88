"""What decoding keeps of the past: keys and values in preallocated slots, with the axes that layers read of keys, keys of
a memory, and the states of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..layout import Layout
from .block import Block, Labels


class Cache:
    """Keys and values of `documents` growing documents. Shape letters: S documents, C slots, L new tokens per document.

    A forward pass with a cache calls `extend` once with the structure of the new tokens (order, position and pairs
    relative to the new part); every attention then writes its keys and values and reads all that are held. Tokens that no
    layer can see any more are dropped when slots run out.

    Order rises along a document, and what was fed before lies before what comes: new tokens see all that is held, and of
    their own part the first tokens up to their own order, which counts from the start of the part. Where documents are
    equally long, one slice takes their tokens.
    `axes` are those that are kept for keys; None: all.
    """

    def __init__(self, documents: int, capacity: int = 64, *, axes: Collection[str] | None = None) -> None:
        self.documents, self.capacity, self.least, self.axes = documents, capacity, capacity, axes
        self.lengths = [0] * documents
        """tokens of every document"""
        self.held = [0] * documents
        """how many of them, the last ones, lie in slots"""
        self.reaches: dict[Any, int | None] = {}
        self.columns: dict[str, Tensor] = {}
        self.layers: dict[Any, tuple[Tensor, Tensor]] = {}
        self.memory: dict[Any, tuple[Tensor, ...]] = {}
        self.reader = torch.arange(documents)
        """documents of the same number here read the same memory"""
        self.states: dict[Any, tuple[Tensor, ...]] = {}
        """what a layer that reads its past in another way keeps of it: tensors [S, ...], one row per document"""
        self.layout: Layout | None = None
        self.band: Tensor | None = None
        self.device = torch.device("cpu")
        self.tokens = self.width = 0
        """of the longest document: its tokens, and how many of them are held"""

    @property
    def dropped(self) -> Tensor:
        """[S] tokens at the start of every document that are no longer held"""
        return torch.tensor(self.lengths) - torch.tensor(self.held)

    def extend(self, layout: Layout) -> Layout:
        """Reserve slots for these tokens and return their layout, with positions behind what is held."""
        self.device = layout.segment.device
        self._make_room(max(layout.lengths, default=0))
        self.part, self.before = layout, self.held
        self.start = self.before[0] if layout.grid.full and len(set(self.before)) == 1 else None
        self.slot = None if self.start is not None else self._slots()
        shift = self._of_tokens(self.lengths)
        self.lengths = [n + new for n, new in zip(self.lengths, layout.lengths, strict=True)]
        self.held = [n + new for n, new in zip(self.before, layout.lengths, strict=True)]
        self.tokens, self.width = max(self.lengths, default=0), max(self.held, default=0)
        self.layout = layout.replace(position=layout.position + shift)
        for name in ("position", *self.layout.axes):
            if self.axes is None or name in self.axes:
                self.columns[name] = self._put(self.columns.get(name), self.layout.axis(name))
        return self.layout

    def _of_tokens(self, values: list[int]) -> int | Tensor:
        """A number per document as one per new token [N]; as one for all where they are equal."""
        if len(set(values)) == 1:
            return values[0]
        return torch.tensor(values, device=self.device)[self.part.segment]

    def _slots(self) -> Tensor:
        """[N] slots of the new tokens."""
        new = torch.tensor(self.part.lengths, device=self.device)
        begin = torch.tensor(self.before, device=self.device) - (new.cumsum(0) - new)
        return begin[self.part.segment] + torch.arange(len(self.part), device=self.device)

    def _make_room(self, coming: int) -> None:
        """Slots for that many more tokens. Where the reach of every layer ends, no more than four times what they reach: then
        what lies further back is dropped."""
        if None not in self.reaches.values():
            keep, most = max(self.reaches.values(), default=1) - 1, self.least  # type: ignore[type-var,operator]
            while most < 2 * (keep + coming):
                most *= 2
            if self.width + coming > most:
                self._drop(self.held, keep, most)
        while self.width + coming > self.capacity:
            self.capacity *= 2

    def _drop(self, held: list[int], keep: int, slots: int) -> None:
        """Only the last `keep` of these tokens of every document are held, in that many slots."""
        first = torch.tensor([max(0, n - keep) for n in held], device=self.device)
        moved = first[:, None] + torch.arange(keep, device=self.device)
        row = torch.arange(self.documents, device=self.device)[:, None]
        self.held, self.width, self.capacity = [min(n, keep) for n in held], keep, slots

        def shrunk(x: Tensor) -> Tensor:
            out = x.new_zeros(self.documents, slots, *x.shape[2:])
            out[:, :keep] = x[row, moved]
            return out

        self.columns = {n: shrunk(x) for n, x in self.columns.items()}
        self.layers = {o: (shrunk(k), shrunk(v)) for o, (k, v) in self.layers.items()}

    def write(self, owner: Any, k: Tensor, v: Tensor, reach: int | None = None) -> tuple[Tensor, Tensor]:
        """New keys and values [N, H, K] in; all that are held [S, width, H, K] out.

        `reach`: the layer sees no key that many positions back, or further; None: it sees all.
        """
        self.reaches[owner] = reach
        keys, values = self.layers.get(owner, (None, None))
        keys, values = self.layers[owner] = self._put(keys, k), self._put(values, v)
        return keys.narrow(1, 0, self.width), values.narrow(1, 0, self.width)

    def fixed(self, owner: Any, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Tensors [S, ...] that a layer computes once and keeps: keys and values of a memory."""
        if owner not in self.memory:
            self.memory[owner] = make()
        return self.memory[owner]

    def select(self, documents: Tensor) -> None:
        """Document i becomes a copy of what document `documents[i]` was: beams that go on, or documents that are left."""
        chosen, documents = documents.tolist(), documents.to(self.device)
        self.documents = len(chosen)
        self.lengths, self.held = [self.lengths[i] for i in chosen], [self.held[i] for i in chosen]
        self.columns = {n: x[documents] for n, x in self.columns.items()}
        self.layers = {o: (self._moved(k, documents), self._moved(v, documents)) for o, (k, v) in self.layers.items()}
        self.states = {o: tuple(x[documents] for x in held) for o, held in self.states.items()}
        before, self.reader = self.reader, self.reader[documents.cpu()]
        if not torch.equal(before, self.reader):
            self.memory = {o: tuple(x[documents] for x in held) for o, held in self.memory.items()}

    def block(self) -> Block:
        """The new queries against everything held."""
        assert self.layout is not None
        layout, grid = self.layout, self.layout.grid
        shape = (self.documents, grid.index.shape[1], self.width)
        return Block(shape, lambda a: layout.axis(a)[grid.index], self._key_axis, self._pairs(shape), *self._seen(shape))

    def _key_axis(self, name: str) -> Tensor:
        if name not in self.columns:
            raise ConfigError(f"a layer reads axis {name!r} of keys, which its mixer's `axes()` does not name: add it there")
        return self.columns[name][:, : self.width]

    def _seen(self, shape: tuple[int, int, int]) -> tuple[bool, Tensor | None]:
        """Whether the queries see what the causal rule says and no more, and if not what they see [S or 1, L, width]; None:
        all."""
        runs = self.part.runs
        if self.start is not None and len(runs) == 1:
            if runs[0].rule == "full" or shape[1] == 1:
                return False, None
            if runs[0].rule == "causal":
                if not self.start:
                    return True, None
                return False, self._behind(shape[1])[None]
        valid = self.part.grid.valid
        order = self.part.order[self.part.grid.index].masked_fill(~valid, len(self.part))
        seen = torch.searchsorted(order, order, right=True) + torch.tensor(self.before, device=self.device)[:, None]
        return False, torch.arange(self.width, device=self.device) < (seen * valid)[:, :, None]

    def _behind(self, new: int) -> Tensor:
        """[L, width] what equal causal documents see: part of one band, which lasts until their slots grow."""
        assert self.start is not None
        if self.band is None or self.band.shape != (new, self.capacity + new):
            self.band = torch.ones(new, self.capacity + new, dtype=torch.bool, device=self.device).tril(self.capacity)
        return self.band.narrow(1, self.capacity - self.start, self.width)

    def _pairs(self, shape: tuple[int, int, int]) -> dict[str, Labels]:
        """Pairs among the new tokens; their keys lie behind what was held before."""
        out = {}
        for name, (ends, labels) in self.part.pairs.items():
            if len(labels):
                slot = self._slots() if self.slot is None else self.slot
                out[name] = (self.part.grid.place[ends[0]] * shape[2] + slot[ends[1]], labels)
        return out

    def _moved(self, x: Tensor, documents: Tensor) -> Tensor:
        """Rows of x [S, C, ...] in a new order; no slot from `width` on holds anything."""
        moved = x.new_empty(len(documents), *x.shape[1:])
        torch.index_select(x[:, : self.width], 0, documents, out=moved[:, : self.width])
        moved[:, self.width :] = 0
        return moved

    def _put(self, held: Tensor | None, values: Tensor) -> Tensor:
        """The slots [S, C, ...] with the new tokens' values [N, ...] in them."""
        if held is None or held.shape[1] < self.capacity:
            grown = values.new_zeros(self.documents, self.capacity, *values.shape[1:])
            if held is not None:
                grown[:, : held.shape[1]] = held
            held = grown
        if self.start is not None:
            held.narrow(1, self.start, self.width - self.start).copy_(self.part.grid.rows(values))
        else:
            held[self.part.segment, self.slot] = values
        return held
