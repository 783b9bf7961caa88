"""Subwords: training a byte-level BPE, and encoding with any `tokenizer.json`, without special tokens and in blocks."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from omnitok.errors import InputError

BLOCK = 1 << 16
"""Characters that the library sees at once: it needs about 200 bytes per token, so 16 MB of text would cost gigabytes."""

_SEAM = re.compile(r"(?<=\S)(?= \S)|(?<=\S\n)(?=\S)")
"""Places where a byte-level pre-tokenizer always parts words: before a single space, behind a single newline."""

_SENTINEL = re.compile(r"<extra_id_(\d+)>")
"""T5's tokens that stand for spans taken out, numbered from the first span on."""


def train(texts: Iterable[str], size: int) -> bytes:
    """The `tokenizer.json` of a byte-level BPE with at most `size` pieces, all 256 bytes among them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[], initial_alphabet=alphabet, show_progress=False)
    with _one_thread():
        bpe.train_from_iterator(texts, trainer)
    return bpe.to_str().encode()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Training with threads would make the library warn in every loader worker that is forked later."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@functools.lru_cache(maxsize=16)
def load(state: bytes) -> Subwords:
    """The tokenizer that `state`, the bytes of a `tokenizer.json`, describes. Raises InputError."""
    return Subwords(state)


class Subwords:
    """A loaded `tokenizer.json`. Special tokens never come out of text, and nothing is truncated or padded."""

    def __init__(self, state: bytes) -> None:
        self.bpe, plain = _parse(state)
        self.bpe.no_truncation()
        self.bpe.no_padding()
        self.bpe.encode_special_tokens = True  # "</s>" written out in a text is text
        self.size = max(self.bpe.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        model = plain["model"]
        self.unknown = self.bpe.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")
        added = self.bpe.get_added_tokens_decoder()
        self.special = {i for i, token in added.items() if token.special and i != self.unknown}
        numbered = {int(m[1]): i for i in self.special if (m := _SENTINEL.fullmatch(self.bpe.id_to_token(i)))}
        self.sentinels = tuple(numbered[k] for k in sorted(numbered))
        steps = _steps(plain.get("pre_tokenizer"))
        self.byte_level = bool(steps) and steps[-1]["type"] == "ByteLevel"
        words = self.byte_level and (steps[-1].get("use_regex", True) or len(steps) > 1)
        self.in_blocks = words and not plain.get("normalizer") and not any(s.get("add_prefix_space") for s in steps)
        can_drop = model["type"] == "BPE" and self.unknown is None and not model.get("byte_fallback")
        self.letters = self._letters(model) if can_drop else None
        self._spelled: dict[str, bool] = {}

    def _letters(self, model: dict[str, Any]) -> set[str] | None:
        """The characters that the vocabulary can spell; None where that is every byte."""
        from tokenizers import pre_tokenizers

        before, behind = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
        pieces = {piece.removeprefix(before).removesuffix(behind) for piece in self.bpe.get_vocab()}
        letters = {piece for piece in pieces if len(piece) == 1}.union(
            *(t.content for t in self.bpe.get_added_tokens_decoder().values())
        )
        return None if self.byte_level and letters >= set(pre_tokenizers.ByteLevel.alphabet()) else letters

    def special_id(self, token: str) -> int | None:
        """The id of a special token, by its name."""
        found = self.bpe.token_to_id(token)
        return found if found in self.special else None

    def special_name(self, number: int) -> str | None:
        """The name of a special token, by its id."""
        return self.bpe.id_to_token(number) if number in self.special else None

    def special_names(self) -> list[str]:
        return [self.bpe.id_to_token(i) for i in sorted(self.special)]

    def encode(self, text: str) -> list[int]:
        """Raises InputError where the vocabulary cannot spell the text."""
        ids: list[int] = []
        for start, block in self._blocks(text):
            encoding = self.bpe.encode(block, add_special_tokens=False)
            self._refuse_losses(block, start, encoding)
            ids += encoding.ids
        return ids

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters (start, stop) behind every token; pieces of one character share it."""
        found = []
        for start, block in self._blocks(text):
            found += [(start + a, start + b) for a, b in self.bpe.encode(block, add_special_tokens=False).offsets]
        return found

    def decode(self, ids: list[int]) -> str:
        """Special tokens are dropped; bytes that are no UTF-8 become U+FFFD."""
        return self.bpe.decode([i for i in ids if i not in self.special], skip_special_tokens=False)  # type: ignore[no-any-return]

    def _blocks(self, text: str) -> Iterator[tuple[int, str]]:
        """Long texts are cut where it cannot change the words; where a block has no such place, at its end."""
        start = 0
        while self.in_blocks and len(text) - start > BLOCK:
            seams = [m.start() for m in _SEAM.finditer(text, start + BLOCK - BLOCK // 16, start + BLOCK)]
            stop = seams[-1] if seams else start + BLOCK
            yield start, text[start:stop]
            start = stop
        if start < len(text):
            yield start, text[start:]

    def _refuse_losses(self, text: str, start: int, encoding: Any) -> None:
        """A vocabulary without some character and without an unknown token drops it without a word."""
        if text.strip() and not encoding.ids:
            raise InputError(f"the tokenizer.json gives no token for {text[:20]!r}: its vocabulary cannot spell this text")
        if not self.special.isdisjoint(encoding.ids):
            name = next(self.bpe.id_to_token(i) for i in encoding.ids if i in self.special)
            raise InputError(f"the text holds {name!r}, which this tokenizer.json cannot tell from its special token")
        if self.letters is not None:
            lost = next((i for i, c in enumerate(text) if not self._can_spell(c)), None)
            if lost is not None:
                where = f"character {start + lost}"
                raise InputError(f"the tokenizer.json has no piece for {text[lost]!r} ({where}) and no unknown token")

    def _can_spell(self, character: str) -> bool:
        if character not in self._spelled:
            assert self.letters is not None
            plain = self.bpe.normalizer.normalize_str(character) if self.bpe.normalizer else character
            words = self.bpe.pre_tokenizer.pre_tokenize_str(plain) if self.bpe.pre_tokenizer else [(plain, None)]
            self._spelled[character] = self.letters.issuperset("".join(word for word, _ in words))
        return self._spelled[character]


def _parse(state: bytes) -> tuple[Any, dict[str, Any]]:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(state.decode()), json.loads(state)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the library raises plain Exception, and panics derive from BaseException
        raise InputError(f"not a tokenizer.json ({type(error).__name__}: {str(error)[:200]})") from None


def _steps(pre: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The pre-tokenizers of a sequence, or the only one."""
    if pre is None:
        return []
    return list(pre["pretokenizers"]) if pre["type"] == "Sequence" else [pre]
