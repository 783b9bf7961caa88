"""Faults in giving back, in refusing, and in reading files."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omnitok.errors import InputError
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Exact, OneWay

from .contract import respanned
from .good import GoodTokenizer
from .registry import fault

# -- round trip


@fault("round-trip", "sample 2: what is given back is not what was tokenized")
class TooExact(GoodTokenizer, frozen=True):
    """It promises more than float32 holds."""

    round_trip = Exact()


@fault("round-trip", "declared one-way, and decode gives something back")
class NotOneWay(GoodTokenizer, frozen=True):
    """It promises less than it does."""

    round_trip = OneWay()


@fault("round-trip", "differs by")
class Coarse(GoodTokenizer, frozen=True):
    """It gives the levels back."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        return [round(x, 1) for x in super().decode(tokens)]


@fault("range-edges", "sample 1 with 1e+300 at 0: differs by")
class Clipping(GoodTokenizer, frozen=True):
    """What is too large is made smaller in silence."""

    def values(self, raw: Any) -> torch.Tensor:
        return super().values([max(-1.0, min(1.0, x)) for x in raw] if isinstance(raw, list) else raw)


@fault("other-instance", "under another name")
class OwnName(GoodTokenizer, frozen=True):
    """It knows its tokens by the class's name."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        return tokens.select("good/value").spans[0].content[:, 0].tolist() if len(tokens) else []


@fault("cropped", "decode raised IndexError")
class Crashing(GoodTokenizer, frozen=True):
    """It does not know of pieces."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        if any(span.part is not None for span in tokens.spans):
            raise IndexError("out of range")
        return super().decode(tokens)


@fault("two-objects", "decode gives only sample 1 back")
class FirstOnly(GoodTokenizer, frozen=True):
    """Of two objects it gives back the first."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        first = {s.channel: s for s in reversed(tokens.spans) if s.features is not None}
        return super().decode(TokenSequence(tuple(s.replace(index=None) for s in first.values())))


@fault("foreign-tokens", "tokens of the channel 'nobodys-channel' are decoded")
class Omnivorous(GoodTokenizer, frozen=True):
    """It decodes whatever comes."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        return tokens.spans[0].content.flatten().tolist() if tokens.spans else []


@fault("foreign-tokens", "no tokens: decode raised IndexError")
class Needing(GoodTokenizer, frozen=True):
    """It takes for granted that there is a token."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        assert tokens.spans[0] is not None
        return super().decode(tokens)


@fault("decode-drops-end", "decode raised InputError: 16 is no level")
class Keeping(GoodTokenizer, frozen=True):
    """It does not know its own end."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        for span in tokens.spans:
            if span.ids is not None and bool((span.ids >= self.levels).any()):
                raise InputError(f"{int(span.ids.max())} is no level")
        return super().decode(tokens)


@fault("cut-and-join", "raised ValueError")
class Arrays(GoodTokenizer, frozen=True):
    """Its meta cannot be compared, so nobody knows which pieces belong together."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        return respanned(tokens, 0, meta={**tokens.spans[0].meta, "all": np.zeros(2)})


@fault("join-and-cut", "it changes when sample 0 and sample 1 are joined and cut apart")
class Floating(GoodTokenizer, frozen=True):
    """Where there are no pairs, their empty tensors are floats."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        return tokens if raw else TokenSequence(tokens.spans, {"next": (torch.zeros(2, 0), torch.zeros(0))})


LAST: list[Any] = []


@fault("saved-tokens", "from saved tokens")
class Remembering(GoodTokenizer, frozen=True):
    """It gives back what it saw last, if the tokens are the very ones that it made."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        LAST.append((tokens.spans[0].features, raw))
        return tokens

    def decode(self, tokens: TokenSequence) -> list[float]:
        super().decode(tokens)
        own = tokens.spans[0].features if tokens.spans else None
        return next((raw for features, raw in LAST if features is own), [9.0])


# -- refusal


@fault("wrong-object", "encode takes any object whatever")
class Credulous(GoodTokenizer, frozen=True):
    """What it does not know is nothing."""

    def values(self, raw: Any) -> torch.Tensor:
        return super().values(raw if isinstance(raw, list) else [])


@fault("wrong-object", "encode of an object() raised TypeError")
class Trusting(GoodTokenizer, frozen=True):
    """It takes for granted what it is given."""

    def values(self, raw: Any) -> torch.Tensor:
        return super().values(list(raw))


@fault("wrong-object", "which says nothing")
class Curt(GoodTokenizer, frozen=True):
    """It refuses without a word."""

    def values(self, raw: Any) -> torch.Tensor:
        try:
            return super().values(raw)
        except InputError:
            raise InputError("no") from None


@fault("wrong-types", "encode of [None] raised TypeError")
class Shallow(GoodTokenizer, frozen=True):
    """It looks at the container only."""

    def values(self, raw: Any) -> torch.Tensor:
        return super().values([float(x) for x in raw] if isinstance(raw, list) else raw)


@fault("nan", "sample 1 with nan at 0 is tokenized")
class Zeroing(GoodTokenizer, frozen=True):
    """What is no number becomes zero."""

    def values(self, raw: Any) -> torch.Tensor:
        return super().values([0.0 if x != x else x for x in raw] if isinstance(raw, list) else raw)


@fault("infinity", "sample 1 with inf at 0 is tokenized")
class Saturating(GoodTokenizer, frozen=True):
    """Infinity becomes one."""

    def values(self, raw: Any) -> torch.Tensor:
        infinite = float("inf")
        return super().values([1.0 if x == infinite else x for x in raw] if isinstance(raw, list) else raw)


@fault("empty", "with nothing in it: encode raised ValueError")
class Hungry(GoodTokenizer, frozen=True):
    """It takes the largest of nothing."""

    def values(self, raw: Any) -> torch.Tensor:
        if isinstance(raw, list) and raw is not EMPTY:
            max(raw)
        return super().values(raw)

    def samples(self, seed: int = 0) -> Iterable[list[float]]:
        return list(super().samples(seed))[1:]


EMPTY: list[float] = []


@fault("limits-refuse", "with max_beats = 1 it has 2 other tokens instead of 6")
class Cutting(GoodTokenizer, frozen=True):
    """What is too long is cut in silence."""

    def values(self, raw: Any) -> torch.Tensor:
        return super().values(raw[: self.max_beats] if isinstance(raw, list) else raw)


@fault("limits-named", 'over max_beats: "this is too long for me"')
class Vague(GoodTokenizer, frozen=True):
    """It does not say which limit."""

    def values(self, raw: Any) -> torch.Tensor:
        if isinstance(raw, list) and len(raw) > self.max_beats:
            raise InputError("this is too long for me")
        return super().values(raw)


@fault("words", "words('hello, world') raised ValueError")
class Expecting(GoodTokenizer, frozen=True):
    """It takes for granted that numbers are typed."""

    def words(self, text: str) -> list[float]:
        return [float(word) for word in text.split()]


@fault("words", "encode of it raised TypeError")
class Passing(GoodTokenizer, frozen=True):
    """It passes on what it cannot take, and does not look at what it takes."""

    def words(self, text: str) -> Any:
        return [text, None]

    def values(self, raw: Any) -> torch.Tensor:
        return super().values(raw if len(raw) != 2 or raw[1] is not None else [float(raw[1])])


@fault("sniff", "raised UnicodeDecodeError")
class Reading(GoodTokenizer, frozen=True):
    """It takes the beginning of every file for text."""

    def sniff(self, path: Path, head: bytes) -> bool:
        return head.decode().startswith("0")


@fault("sniff", "sniff answers None")
class Undecided(GoodTokenizer, frozen=True):
    """It says nothing where it does not know."""

    def sniff(self, path: Path, head: bytes) -> Any:
        return True if head.startswith(b"0.") else None


@fault("read-nothing", "a folder named folder.good: read raised IsADirectoryError")
class Direct(GoodTokenizer, frozen=True):
    """It opens what it is told to open."""

    def read(self, path: Path) -> list[float]:
        data = path.read_bytes()
        return super().read(path) if data else []


@fault("read-junk", "a file junk.good: read raised UnicodeDecodeError")
class Literal(GoodTokenizer, frozen=True):
    """It takes every file for text."""

    def read(self, path: Path) -> list[float]:
        if path.is_file() and path.stat().st_size < self.max_bytes:
            path.read_bytes().decode("ascii")
        return super().read(path)


@fault("read-junk", "the error does not name the file")
class Nameless(GoodTokenizer, frozen=True):
    """It does not say which file."""

    def read(self, path: Path) -> list[float]:
        try:
            return super().read(path)
        except InputError:
            raise InputError("not a list of numbers") from None


@fault("read-huge", "MemoryError")
class Greedy(GoodTokenizer, frozen=True):
    """It reads everything first."""

    def read(self, path: Path) -> list[float]:
        path.read_bytes()
        return super().read(path)


@fault("read-huge", "no answer within 2 seconds", HUGE_SECONDS=2.0)
class Patient(GoodTokenizer, frozen=True):
    """It looks at every block, however many there are."""

    def read(self, path: Path) -> list[float]:
        while path.stat().st_size > self.max_bytes:
            time.sleep(0.1)
        return super().read(path)


@fault("read-truncated", "cut to 50% still has 80 of 80 tokens")
class Padding(GoodTokenizer, frozen=True):
    """What is missing in a file is made up."""

    def read(self, path: Path) -> list[float]:
        try:
            return super().read(path)
        except InputError:
            words = path.read_text().split() if path.is_file() and path.stat().st_size < self.max_bytes else []
            if not words or not words[0].startswith("0."):
                raise
            return ([float(word) for word in words[:-1]] + [0.0] * 40)[:40]
