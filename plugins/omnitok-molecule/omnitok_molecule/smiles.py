"""SMILES as text: the tokens of Schwaller et al., and the exact string back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import torch
from msgspec import Meta

from omnitok.errors import InputError
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .files import read_text

PATTERN = re.compile(r"\[[^\[\]]+\]|Br|Cl|B|C|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|\$|-|\+|\\|/|:|~|@|\?|>|\*|%[0-9]{2}|[0-9]")
"""The regular expression of "Found in Translation" (Schwaller et al., arXiv 1711.04810), with the bond "$"."""

CHARACTERS = tuple(chr(code) for code in range(33, 127))
"""Every sign that a SMILES may hold: what is in no vocabulary is spelt."""
COMMON = ("Br", "Cl", "[nH]", "[C@H]", "[C@@H]", "[N+]", "[O-]", *(f"%{k}" for k in range(10, 20)))


class SmilesTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A SMILES string as one token per atom, bond, branch and ring mark, closed by an `end` id; exact for every string.

    The string is split by the regular expression that reaction models use; chemistry is not checked, and nothing is made
    canonical. `fit` collects the brackets and other long tokens of the training strings; one that it has not seen is spelt
    character by character, so nothing is unknown. A string with a sign that begins no token is refused, with its place.
    """

    name: ClassVar[str] = "smiles"
    round_trip: ClassVar[RoundTrip] = Exact()
    suffixes: ClassVar[tuple[str, ...]] = (".smiles",)

    vocab_size: Annotated[int, Meta(ge=128, description="most ids that `fit` may use: signs, long tokens and `end`")] = 512
    max_characters: Annotated[int, Meta(ge=0, description="longer strings are refused")] = 1 << 14

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every token by its id, without `end`."""
        return _words(self.state)

    def channels(self) -> dict[str, Channel]:
        end = len(self.vocabulary)
        return {self.channel(): Channel(vocab=end + 1, end=end)}

    def fit(self, samples: Iterable[Any]) -> Self:
        """Learns the long tokens of the samples, the most frequent first, as many as there is room for."""
        seen: Counter[str] = Counter()
        for raw in samples:
            seen.update(token for token, _ in self._split(raw) if len(token) > 1)
        room = self.vocab_size - len(CHARACTERS) - 1
        long = [token for token, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:room]]
        return msgspec.structs.replace(self, state=json.dumps(long).encode())

    def _split(self, raw: Any) -> list[tuple[str, int]]:
        """Tokens and where they begin."""
        if not isinstance(raw, str):
            raise InputError(f"tokenizer 'smiles' wants a SMILES string, got {type(raw).__name__}")
        if len(raw) > self.max_characters:
            raise InputError(f"the SMILES has {len(raw)} characters, more than max_characters = {self.max_characters}")
        found, at = [], 0
        while at < len(raw):
            match = PATTERN.match(raw, at)
            if match is None or not match.group().isascii() or not match.group().isprintable() or " " in match.group():
                raise InputError(f"character {at} of {raw[:60]!a}, {raw[at]!a}, begins no SMILES token")
            found.append((match.group(), at))
            at = match.end()
        return found

    def _pieces(self, raw: Any) -> list[tuple[str, int]]:
        """Tokens of the vocabulary and where they begin."""
        ids = _ids(self.state)
        return [
            piece
            for token, at in self._split(raw)
            for piece in ([(token, at)] if token in ids else [(sign, at + k) for k, sign in enumerate(token)])
        ]

    def encode(self, raw: Any) -> TokenSequence:
        ids = _ids(self.state)
        return TokenSequence((Span(self.channel(), torch.tensor([ids[p] for p, _ in self._pieces(raw)], dtype=torch.long)),))

    def decode(self, tokens: TokenSequence) -> str:
        """The string; `end` is dropped. A piece of it decodes too."""
        name, words = self.channel(), self.vocabulary
        for span in tokens.spans:
            if span.channel != name or span.ids is None:
                raise InputError(f"channel {span.channel!r} is not {name!r}: select the SMILES first")
        ids = [i for span in tokens.spans for i in span.content.tolist()]
        for i in ids:
            if not -1 <= i <= len(words):
                raise InputError(f"id {i} of channel {name!r} is outside its vocabulary of {len(words) + 1}")
        return "".join(words[i] for i in ids if 0 <= i < len(words))

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A string is never complete by itself: `end` says when it is."""
        return self.channel(), {}

    def read(self, path: Path) -> str:
        """The SMILES of a file of one line; what stands behind a space is its name."""
        path = Path(path)
        lines = [line for line in read_text(path, 4 * self.max_characters).splitlines() if line.strip()]
        if len(lines) != 1:
            raise InputError(f"{path}: {len(lines)} lines of SMILES, not one; many molecules are a data set: molecule/file")
        return lines[0].split()[0]

    def samples(self, seed: int = 0) -> Iterable[str]:
        strings = ["CC(=O)Oc1ccccc1C(=O)O", "", "C[C@H](N)C(=O)O", "[Na+].[Cl-]", "C%12CCCCC%12", "[13CH4]", "F/C=C\\F", "CC>>CO"]
        start = seed % 3
        return strings[start:] + strings[:start]

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        pieces = self._pieces(raw)
        return Picture("text", raw, [(at, at + len(piece)) for piece, at in pieces][: len(tokens)], f"{len(pieces)} tokens")


@lru_cache(maxsize=16)
def _words(state: bytes | None) -> tuple[str, ...]:
    return CHARACTERS + (COMMON if state is None else tuple(json.loads(state)))


@lru_cache(maxsize=16)
def _ids(state: bytes | None) -> dict[str, int]:
    return {word: i for i, word in enumerate(_words(state))}
