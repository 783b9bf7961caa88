"""Bytes as ids: one per token, closed by an end, or a patch of several in one token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from omnitok.errors import InputError
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

VALUES = 256
END = 256
ROW = 16
"""Bytes in a line of the picture."""


class BytesTokenizer(Tokenizer, frozen=True, kw_only=True):
    """`bytes` (or a bytearray, a memoryview, a memory map, a uint8 array [n]) -> one token per byte or patch of bytes.

    With `patch_size = 1` ids are [n] in 0..255, and 256 is the `end` that lets a model generate files (ByT5, arXiv
    2105.13626, without its special ids). With `patch_size = p` a token is p ids [n, p], where byte b in column j is
    256 j + b: the table looks up each place by itself and adds them, which is the patch embedding of MegaByte (arXiv
    2305.07185, equation 2) before its shift. Columns behind the last byte hold -1, no content. Patches are read, not
    generated: `next` needs one id per token. Exact, always; no bytes are no tokens. `decode` gives `bytes`.
    """

    name: ClassVar[str] = "bytes"
    suffixes: ClassVar[tuple[str, ...]] = (".bin",)
    round_trip: ClassVar[RoundTrip] = Exact()

    patch_size: Annotated[int, Meta(ge=1, le=4096, description="bytes per token; generation needs 1")] = 1
    max_bytes: Annotated[
        int, Meta(ge=0, description="longer objects are refused; a file's size is checked before it is read")
    ] = 1 << 24

    def channels(self) -> dict[str, Channel]:
        if self.patch_size == 1:
            return {self.channel(): Channel(vocab=VALUES + 1, end=END)}
        return {self.channel(): Channel(vocab=VALUES * self.patch_size)}

    def encode(self, raw: Any) -> TokenSequence:
        """Raises InputError for what holds no bytes, and over `max_bytes`."""
        values = self._values(raw)
        if self.patch_size == 1:
            return TokenSequence((Span(self.channel(), torch.from_numpy(values.astype(np.int64))),))
        padded = np.full(self.count(values) * self.patch_size, -1, dtype=np.int64)
        padded[: len(values)] = values
        ids = torch.from_numpy(padded).view(-1, self.patch_size)
        ids = torch.where(ids < 0, -1, ids + self._offsets())
        return TokenSequence((Span(self.channel(), ids, meta={"bytes": len(values)}),))

    def _values(self, raw: Any) -> np.ndarray:
        """[n] uint8 over the memory of the object itself."""
        if isinstance(raw, np.ndarray) and (raw.dtype != np.uint8 or raw.ndim != 1):
            raise InputError(f"tokenizer 'bytes' wants a uint8 array [n], got {raw.dtype} {list(raw.shape)}")
        try:
            view = memoryview(raw)
        except TypeError:
            raise InputError(f"tokenizer 'bytes' wants bytes or a buffer of them, got {type(raw).__name__}") from None
        if view.nbytes > self.max_bytes:
            raise InputError(f"{view.nbytes} bytes, more than max_bytes = {self.max_bytes}")
        if not view.c_contiguous:
            view = memoryview(view.tobytes())
        return np.frombuffer(view, dtype=np.uint8) if view.nbytes else np.zeros(0, np.uint8)

    def _offsets(self) -> Tensor:
        """[patch_size] first id of every column."""
        return torch.arange(self.patch_size) * VALUES

    def decode(self, tokens: TokenSequence) -> bytes:
        """The bytes; `end` is dropped. A piece of a file is bytes too, so cropped and joined sequences decode."""
        found = [self._bytes(span) for span in tokens.spans]
        return b"".join(found)

    def _bytes(self, span: Span) -> bytes:
        name = self.channel()
        if span.channel != name or span.ids is None:
            raise InputError(f"channel {span.channel!r} is not {name!r}: select the bytes first")
        ids = span.ids.cpu()
        if self.patch_size == 1:
            kept = ids[ids != END]
            first = torch.zeros_like(kept)
        else:
            if ids.dim() != 2 or ids.shape[1] != self.patch_size:
                raise InputError(f"channel {name!r} holds ids {list(ids.shape)}, not [n, {self.patch_size}]")
            present = ids != -1
            kept, first = ids[present], self._offsets().expand_as(ids)[present]
        wrong = kept[(kept < first) | (kept >= first + VALUES)]
        if len(wrong):
            raise InputError(f"id {int(wrong[0])} of channel {name!r} is no byte of its column")
        return (kept - first).numpy().astype(np.uint8).tobytes()

    def count(self, raw: Any) -> int:
        return -(-len(self._values(raw)) // self.patch_size)

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """A file is never complete by itself, `end` says when it is; in patches, after the bytes that `meta` counts."""
        if self.patch_size == 1:
            return self.channel(), {}
        if not isinstance(meta.get("bytes"), int):
            raise InputError("patches of bytes need their number of bytes in `meta`; with patch_size = 1 `end` says when to stop")
        return (self.channel(), {}) if k * self.patch_size < meta["bytes"] else None

    def read(self, path: Path) -> bytes:
        """A file's bytes. Raises InputError naming the file where it cannot be read or is longer than `max_bytes`."""
        return read_bytes(Path(path), self.max_bytes)

    def words(self, text: str) -> bytes:
        """Words on a command line stand for their UTF-8, and for bytes that are none as the shell hands them over."""
        try:
            return text.encode(errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise InputError(f"character {error.start} is a lone surrogate, which stands for no bytes") from None

    def samples(self, seed: int = 0) -> Iterable[bytes]:
        rng = np.random.default_rng(seed)
        yield from (b"", b"\0", b"hello, bytes\r\n", bytes(range(VALUES)), "東京 🙂".encode("utf-16"))
        yield rng.integers(0, VALUES, 5 * self.patch_size + 3, dtype=np.uint8).tobytes()

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        """A hex dump of 16 bytes a line, each token with its own colour."""
        values, p = self._values(raw), self.patch_size
        lines = [values[i : i + ROW].tobytes().hex(" ") for i in range(0, len(values), ROW)]
        first = next((span.part[0] for span in tokens.spans if span.part is not None), 0)
        numbers = range(first, first + len(tokens))
        marks = [(3 * min(len(values), k * p), 3 * min(len(values), (k + 1) * p)) for k in numbers]
        title = f"{len(values)} bytes, {len(tokens)} tokens of {p}" if p > 1 else f"{len(values)} bytes"
        return Picture("text", "".join(line + "\n" for line in lines), marks, title)


def read_bytes(path: Path, limit: int, start: int = 0, length: int | None = None) -> bytes:
    """`length` bytes of a file from `start` on, or all of them. Raises InputError naming the file.

    Only what is asked for is read, so a fragment of a large file costs no more than a small file. A file that is longer
    than `limit`, or that ends before the fragment does, is refused.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{path}: {size} bytes, more than max_bytes = {limit}")
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(limit + 1 if length is None else length)  # a device has size 0 and no end
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(data) > limit:
        raise InputError(f"{path}: more than max_bytes = {limit}")
    if length is not None and len(data) < length:
        raise InputError(f"{path}: ends {length - len(data)} bytes early; it has changed since it was listed")
    return data
