"""The laws of the contract over every installed tokenizer, and broken tokenizers that each law must catch."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs

import omnitok as ot
from omnitok.checks import LAWS, Finding, check_plugin, check_tokenizer
from omnitok.errors import InputError
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, OneWay, Picture, Tokenizer

HOST = ot.load_plugins(files=[Path(__file__).parents[1] / "pulse.py"])
NAMES = [law.__name__.removeprefix("_").replace("_", "-") for law in LAWS]


@cache
def findings(name: str) -> dict[str, Finding]:
    return {f.id: f for f in check_plugin(HOST.tokenizer(name))}


@pytest.mark.parametrize("law", ["encode", *NAMES, "fit"])
@pytest.mark.parametrize("name", HOST.names())
def test_tokenizer_keeps_the_law(name: str, law: str) -> None:
    assert law in findings(name), f"{law!r} was not reached: {[str(f) for f in findings(name).values() if not f.ok]}"
    for finding in (findings(name)[law], findings(name).get(f"fitted {law}")):
        assert finding is None or finding.ok, str(finding)


def test_all_five_are_checked() -> None:
    assert {"text", "image", "audio", "trajectory", "graph", "pulse"} <= set(HOST.names())


# -- each law can fail: one broken tokenizer for each

Pulse: type[Tokenizer] = HOST.tokenizer_class("pulse")


class Undocumented(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    depth: int = 3


class Unnamed(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def channels(self) -> dict[str, Channel]:
        return {"pulse": Channel(vocab=self.num_bins)}


class OutOfRange(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def channels(self) -> dict[str, Channel]:
        return {self.channel(): Channel(vocab=10)}


class Tuples(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def encode(self, raw: Any) -> TokenSequence:
        (span,) = super().encode(raw).spans
        return TokenSequence((span.replace(meta={"beats": len(raw), "shape": (1, 2)}),))


class Random(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def encode(self, raw: Any) -> TokenSequence:
        (span,) = super().encode(raw).spans
        return TokenSequence((span.replace(ids=torch.randint_like(span.content, 64)),))


class Unpicklable(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


class TooExact(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    round_trip = Exact()


class NotOneWay(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    round_trip = OneWay()


class Crashing(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def decode(self, tokens: TokenSequence) -> list[float]:
        if any(span.part is not None for span in tokens.spans):
            raise IndexError("out of range")
        return super().decode(tokens)  # type: ignore[no-any-return]


class Misplaced(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        return (self.channel(), {"beat": k + 1}) if k < meta["beats"] else None


class Endless(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        return (self.channel(), {"beat": k}) if k <= meta["beats"] else None


class Miscounting(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def count(self, raw: Any) -> int:
        return len(raw) + 1


class HalfDrawn(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        return Picture("strip", [], [], "")


class Credulous(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def encode(self, raw: Any) -> TokenSequence:
        return super().encode(raw if isinstance(raw, list) else [])  # type: ignore[no-any-return]


class Stateful(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def fit(self, samples: Iterable[Any]) -> Tokenizer:
        return structs.replace(self, state=str(torch.rand(1).item()).encode())


class Silent(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def samples(self, seed: int = 0) -> Iterable[Any]:
        return ()


class Refusing(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def encode(self, raw: Any) -> TokenSequence:
        raise InputError("nothing pleases me")


class Wandering(Pulse, frozen=True):  # type: ignore[misc, valid-type]
    def encode(self, raw: Any) -> TokenSequence:
        (span,) = super().encode(raw).spans
        return TokenSequence((Span(self.channel(), span.ids, axes={"beat": span.content.int()}, meta=span.meta),))


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Undocumented, "fields"),
        (Unnamed, "channels"),
        (OutOfRange, "content"),
        (Tuples, "content"),
        (Wandering, "content"),
        (Random, "deterministic"),
        (Unpicklable, "pickle"),
        (TooExact, "round-trip"),
        (NotOneWay, "round-trip"),
        (Crashing, "cropped"),
        (Misplaced, "place"),
        (Endless, "place"),
        (Miscounting, "count"),
        (HalfDrawn, "show"),
        (Credulous, "refuses"),
        (Stateful, "fit"),
        (Silent, "encode"),
        (Refusing, "encode"),
    ],
)
def test_a_broken_tokenizer_is_caught(broken: Callable[[], Tokenizer], law: str) -> None:
    failed = [f.id for f in check_plugin(broken()) if not f.ok]
    assert law in failed, f"expected {law!r} to fail, got {failed}"


def test_a_sequence_that_does_not_join_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenSequence, "__add__", lambda self, other: TokenSequence((*other.spans, *self.spans)))
    failed = {f.id for f in check_tokenizer(HOST.tokenizer("pulse")) if not f.ok}
    assert {"joins", "slices"} <= failed
