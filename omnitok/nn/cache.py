"""What decoding keeps of the past: keys and values in preallocated slots, with the structure columns that the visibility
rule needs, keys of a memory, and the states of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..layout import Layout
from .block import Block, Labels


class Cache:
    """Keys and values of `documents` growing documents. Shape letters: S documents, C slots.

    A forward pass with a cache calls `extend` once with the structure of the new tokens (order, position and pairs
    relative to the new part); every attention then writes its keys and values and reads all that are held. Tokens that no
    layer can see any more are dropped when slots run out.
    """

    def __init__(self, documents: int, capacity: int = 64) -> None:
        self.documents, self.capacity, self.least = documents, capacity, capacity
        self.lengths = torch.zeros(documents, dtype=torch.long)
        self.dropped = torch.zeros(documents, dtype=torch.long)
        """[S] tokens at the start of every document that are no longer held"""
        self.reaches: dict[Any, int | None] = {}
        self.columns: dict[str, Tensor] = {}
        self.layers: dict[Any, tuple[Tensor, Tensor]] = {}
        self.memory: dict[Any, tuple[Tensor, ...]] = {}
        self.reader = torch.arange(documents)
        """documents of the same number here read the same memory"""
        self.states: dict[Any, tuple[Tensor, ...]] = {}
        """what a layer that reads its past in another way keeps of it: tensors [S, ...], one row per document"""
        self.layout: Layout | None = None
        self.tokens = self.width = 0
        """of the longest document: its tokens, and how many of them are held"""

    def extend(self, layout: Layout) -> Layout:
        """Reserve slots for these tokens and return their layout, shifted behind what is held."""
        device = layout.segment.device
        before = self.lengths.to(device)
        added = torch.tensor(layout.lengths, device=device)
        self._make_room(before, max(layout.lengths, default=0))
        held = before[layout.segment]
        start = added.cumsum(0) - added
        self.row = layout.segment
        self.slot = (before - self.dropped - start)[layout.segment] + torch.arange(len(layout), device=device)
        self.before, self.lengths = before, before + added
        self.tokens, self.width = int(self.lengths.max()), int((self.lengths - self.dropped).max())
        moved = layout.replace(order=layout.order + held, position=layout.position + held)
        for name, values in {"order": moved.order, "position": moved.position, **moved.axes}.items():
            self._put(self.columns, name, values)
        self.layout = moved
        return moved

    def _make_room(self, lengths: Tensor, coming: int) -> None:
        """Slots for that many more tokens. Where the reach of every layer ends, no more than four times what they reach: then
        what lies further back is dropped."""
        self.dropped = self.dropped.to(lengths.device)
        reaches = [r for r in self.reaches.values() if r is not None]
        if len(reaches) == len(self.reaches):
            keep, most = max(reaches, default=1) - 1, self.least
            while most < 2 * (keep + coming):
                most *= 2
            if self.width + coming > most:
                self._drop(lengths, keep, most)
        while self.width + coming > self.capacity:
            self.capacity *= 2

    def _drop(self, lengths: Tensor, keep: int, slots: int) -> None:
        """Only the last `keep` tokens of every document are held, in that many slots."""
        dropped = torch.maximum(self.dropped, lengths - keep)
        moved = (dropped - self.dropped)[:, None] + torch.arange(keep, device=lengths.device)
        row = torch.arange(self.documents, device=lengths.device)[:, None]
        self.dropped, self.width, self.capacity = dropped, keep, slots

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
        held = dict(zip("kv", self.layers.get(owner, ()), strict=False))
        self._put(held, "k", k)
        self._put(held, "v", v)
        self.layers[owner] = (held["k"], held["v"])
        return held["k"][:, : self.width], held["v"][:, : self.width]

    def fixed(self, owner: Any, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Tensors [S, ...] that a layer computes once and keeps: keys and values of a memory."""
        if owner not in self.memory:
            self.memory[owner] = make()
        return self.memory[owner]

    def select(self, documents: Tensor) -> None:
        """Document i becomes a copy of what document `documents[i]` was: beams that go on, or documents that are left."""
        documents = documents.to(self.lengths.device)
        self.lengths, self.documents = self.lengths[documents], len(documents)
        self.dropped = self.dropped.to(documents.device)[documents]
        self.columns = {n: x[documents] for n, x in self.columns.items()}
        self.layers = {o: (self._moved(k, documents), self._moved(v, documents)) for o, (k, v) in self.layers.items()}
        self.states = {o: tuple(x[documents] for x in held) for o, held in self.states.items()}
        before, self.reader = self.reader, self.reader[documents.cpu()]
        if not torch.equal(before, self.reader):
            self.memory = {o: tuple(x[documents] for x in held) for o, held in self.memory.items()}

    def block(self) -> Block:
        """The new queries against everything held."""
        assert self.layout is not None
        layout, grid, width = self.layout, self.layout.grid, self.width
        column = torch.arange(width, device=layout.segment.device)
        held = column[None] < (self.lengths - self.dropped)[:, None]
        seen = self.columns["order"][:, None, :width] <= layout.order[grid.index][:, :, None]
        allowed = seen & held[:, None] & grid.valid[:, :, None]
        shape = (self.documents, grid.index.shape[1], width)

        def key_axis(name: str) -> Tensor:
            return self.columns[name][:, :width]

        free = None if bool(allowed.all()) else allowed
        return Block(shape, lambda a: layout.axis(a)[grid.index], key_axis, self._pairs(layout, shape), False, free)

    def _pairs(self, layout: Layout, shape: tuple[int, int, int]) -> dict[str, Labels]:
        """Pairs among the new tokens; their keys lie behind what was held before."""
        out = {}
        for name, (ends, labels) in layout.pairs.items():
            if len(labels):
                out[name] = (layout.grid.place[ends[0]] * shape[2] + self.slot[ends[1]], labels)
        return out

    def _moved(self, x: Tensor, documents: Tensor) -> Tensor:
        """Rows of x [S, C, ...] in a new order; no slot from `width` on holds anything."""
        moved = x.new_empty(len(documents), *x.shape[1:])
        torch.index_select(x[:, : self.width], 0, documents, out=moved[:, : self.width])
        moved[:, self.width :] = 0
        return moved

    def _put(self, store: dict[str, Tensor], name: str, values: Tensor) -> None:
        held = store.get(name)
        if held is None or held.shape[1] < self.capacity:
            grown = values.new_zeros(self.documents, self.capacity, *values.shape[1:])
            if held is not None:
                grown[:, : held.shape[1]] = held
            store[name] = held = grown
        held[self.row, self.slot] = values
