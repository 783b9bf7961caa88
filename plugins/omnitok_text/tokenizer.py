"""Text as subword ids: 256 bytes before `fit`, a byte-level BPE after it, or any published `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import numpy as np
import torch

from omnitok.errors import ConfigError, InputError, did_you_mean
from omnitok.files import read_bytes
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from . import bpe

BYTES = 256


class TextTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A string as ids in one channel, closed by an `end` id that no text can hold.

    Exact for every string of Unicode characters, unfitted (one token per byte of UTF-8) and fitted. A loaded
    `tokenizer.json` gives back what its own normaliser leaves: lower-casing is not undone; characters that it would drop
    without a trace are refused. Empty text is no tokens. Lone surrogates are no characters and are refused with InputError.
    """

    name: ClassVar[str] = "text"
    round_trip: ClassVar[RoundTrip] = Exact()

    vocab_size: Annotated[int, msgspec.Meta(ge=257, description="most ids that `fit` may use: 256 bytes, subwords and `end`")] = (
        4000
    )
    file: Annotated[str | None, msgspec.Meta(description="a tokenizer.json to use as it is; `fit` then changes nothing")] = None
    end_token: Annotated[
        str | None, msgspec.Meta(description="the special token of a loaded tokenizer.json that ends a text; unset: one more id")
    ] = None
    start_token: Annotated[
        str | None, msgspec.Meta(description="the special token of a loaded tokenizer.json that a decoder begins with")
    ] = None
    mask_token: Annotated[
        str | None, msgspec.Meta(description="the special token of a loaded tokenizer.json that stands for masked content")
    ] = None
    ids: Annotated[
        int | None,
        msgspec.Meta(description="ids of the model that a loaded tokenizer.json belongs to; only `end_token` is then an end"),
    ] = None
    sentinels: Annotated[
        int, msgspec.Meta(ge=0, description="more ids that stand for spans taken out; a loaded tokenizer.json's own come first")
    ] = 0
    max_bytes: Annotated[
        int, msgspec.Meta(ge=1, description="longest text in bytes of UTF-8; a file's size is checked first")
    ] = 1 << 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file is not None and self.state is None:  # with a state the file has been read before, perhaps elsewhere
            msgspec.structs.force_setattr(self, "state", read_bytes(Path(self.file), 1 << 28))
        if self.state is not None:
            try:
                bpe.load(self.state)
            except InputError as error:
                raise InputError(f"{self.file or 'state of the tokenizer'}: {error}") from None
        if self.ids is not None and self.ids < self._named_size + self.sentinels:
            raise ConfigError(
                f"tokenizer 'text': the tokenizer.json and the sentinels have {self._named_size + self.sentinels} ids, "
                f"more than ids = {self.ids}"
            )
        for field in ("end_token", "start_token", "mask_token"):
            token = getattr(self, field)
            if token is not None and self._named(token) is None:
                names = bpe.load(self.state).special_names() if self.state else []
                hint = did_you_mean(token, names, "special tokens") if names else "it needs a `file` with special tokens"
                raise ConfigError(f"tokenizer 'text': no special token {token!r} to use as `{field}`; {hint}")

    def _named(self, token: str | None) -> int | None:
        return bpe.load(self.state).special_id(token) if self.state and token else None

    @property
    def _size(self) -> int:
        return bpe.load(self.state).size if self.state else BYTES

    @property
    def _named_size(self) -> int:
        """Ids below the reserved sentinels."""
        return self._size if self.end is None else max(self._size, self.end + 1)

    @property
    def _vocab(self) -> int:
        return self.ids or self._named_size + self.sentinels

    @property
    def end(self) -> int | None:
        """The id that closes a text."""
        named = self._named(self.end_token)
        return self._size if named is None and self.ids is None else named

    def channels(self) -> dict[str, Channel]:
        own = bpe.load(self.state).sentinels if self.state else ()
        sentinels = (*own, *range(self._named_size, self._named_size + self.sentinels))
        start, mask = self._named(self.start_token), self._named(self.mask_token)
        return {self.channel(): Channel(vocab=self._vocab, start=start, end=self.end, mask=mask, sentinels=sentinels)}

    def encode(self, raw: str) -> TokenSequence:
        data = self._utf8(raw)
        if self.state is None:
            ids = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).astype(np.int64))
        else:
            ids = torch.tensor(bpe.load(self.state).encode(raw), dtype=torch.long)
        return TokenSequence((Span(self.channel(), ids),))

    def _utf8(self, raw: Any) -> bytes:
        if not isinstance(raw, str):
            raise InputError(f"tokenizer 'text' wants a string, got {type(raw).__name__}")
        try:
            data = raw.encode()
        except UnicodeEncodeError as error:
            code = ord(raw[error.start])
            raise InputError(
                f"character {error.start} of the text is the lone surrogate U+{code:04X}, which is no character"
            ) from None
        if len(data) > self.max_bytes:
            raise InputError(f"the text has {len(data)} bytes, more than max_bytes = {self.max_bytes}")
        return data

    def decode(self, tokens: TokenSequence) -> str:
        """The text; `end` and sentinels are dropped. A piece of a text is a text, so cropped and joined sequences decode too.

        Bytes that are no UTF-8, as at the edge of a crop, become U+FFFD.
        """
        name = self.channel()
        for span in tokens.spans:
            if span.channel != name or span.ids is None:
                raise InputError(f"channel {span.channel!r} is not {name!r}: select the text first")
        ids = torch.cat([span.content for span in tokens.spans]) if tokens.spans else torch.zeros(0, dtype=torch.long)
        wrong = ids[(ids < 0) | (ids >= self._vocab)]
        if len(wrong):
            raise InputError(f"id {int(wrong[0])} of channel {name!r} is outside its vocabulary of {self._vocab}")
        ids = ids[(ids != (-1 if self.end is None else self.end)) & (ids < self._named_size)]
        if self.state is None:
            return ids.numpy().astype(np.uint8).tobytes().decode(errors="replace")
        return bpe.load(self.state).decode(ids.tolist())

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A text is never complete by itself: `end` says when it is."""
        return self.channel(), {}

    def fit(self, samples: Iterable[str]) -> Self:
        """A byte-level BPE of at most `vocab_size` ids trained on these texts; deterministic."""
        if self.file is not None:
            return self
        texts = (self._utf8(text).decode() for text in samples)
        own = {"end_token": None, "start_token": None, "mask_token": None, "ids": None}
        return msgspec.structs.replace(self, state=bpe.train(texts, self.vocab_size - 1), **own)

    def save_pretrained(self, folder: Path) -> None:
        """Write `tokenizer.json`, and `tokenizer_config.json` where a special token of it starts or ends a text."""
        if self.state is None:
            raise InputError("tokenizer 'text' is unfitted: `fit` it, or load a tokenizer.json, before saving one")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_bytes(self.state)
        named = {"bos_token": self.start_token, "eos_token": self.end_token, "mask_token": self.mask_token}
        if any(named.values()):
            (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in named.items() if v is not None}))

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read `tokenizer.json`; `eos_token` and `mask_token` of `tokenizer_config.json`, where they are there, are taken.

        Of a `config.json` beside them, `decoder_start_token_id` names the `start_token` (else `bos_token` is it),
        `eos_token_id` the `end_token` where nothing else does, and `vocab_size` the ids of the model, which may be more.
        """
        path = Path(folder) / "tokenizer.json"
        state = read_bytes(path, 1 << 28)
        named = {k: _content(v) for k, v in _read_json(Path(folder) / "tokenizer_config.json").items() if k in _NAMED}
        config = _read_json(Path(folder) / "config.json")
        config = config.get("text_config", config)  # of a model of two towers
        first, last, ids = (config.get(k) for k in ("decoder_start_token_id", "eos_token_id", "vocab_size"))
        try:
            known = bpe.load(state)
            start = known.special_name(first) if isinstance(first, int) else named.get("bos_token")
            end = named.get("eos_token") or (known.special_name(last) if isinstance(last, int) else None)
            start = None if start is None or known.special_id(start) is None else start
            more = ids if isinstance(ids, int) and ids >= known.size else None
            return cls(state=state, end_token=end, start_token=start, mask_token=named.get("mask_token"), ids=more)
        except (InputError, ConfigError) as error:
            raise InputError(f"{path}: {error}") from None

    def read(self, path: Path) -> str:
        """A file of UTF-8; a byte-order mark is dropped, line ends stay as they are."""
        data = read_bytes(path, self.max_bytes)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: byte {error.start} ({data[error.start]:#04x}) is not UTF-8; convert the file first"
            ) from None

    def sniff(self, path: Path, head: bytes) -> bool:
        try:
            head.decode()
        except UnicodeDecodeError as error:
            return error.start > len(head) - 4 and len(head) >= 4096 and b"\0" not in head  # a character cut at the end
        return b"\0" not in head

    def samples(self, seed: int = 0) -> Iterable[str]:
        letters = np.random.default_rng(seed).integers(32, 0xD800, 20)
        yield from ("", "hello, world", "  two\n\nlines\r\n\t", "naïve café, 東京, 🙂👩‍👩‍👧", "e\u0301 is not \u00e9")
        yield from ("<end> </s> <|endoftext|> [MASK]", "\0\x7f\ufeff\uffff\U0010ffff", "".join(map(chr, letters)))

    def show(self, raw: str, tokens: TokenSequence) -> Picture:
        """The text with the characters behind every token; bytes of one character share it, `end` has none."""
        if self.state is None:
            marks = [(i, i + 1) for i, character in enumerate(raw) for _ in character.encode()]
        else:
            marks = bpe.load(self.state).offsets(raw)
        first = next((span.part[0] for span in tokens.spans if span.part is not None), 0)
        marks = marks[first : first + len(tokens)]
        marks += [(len(raw), len(raw))] * (len(tokens) - len(marks))
        return Picture("text", raw, marks, f"{len(tokens)} tokens, {len(raw)} characters")


_NAMED = ("bos_token", "eos_token", "mask_token")


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _read_json(path: Path) -> dict[str, Any]:
    """An object in a file; empty where there is no file. Raises InputError."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_bytes(path, 1 << 24))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a {path.name} ({error})") from None
