"""The plugin contract: a tokenizer turns one raw object into tokens, and says all that the core may know of them.

Every sentence here that promises something is held by a check of `omnitok check` (`omnitok/checks/`).
"""

from __future__ import annotations

import abc
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import torch
from torch import Tensor

from .config import field_types, from_plain, to_plain
from .errors import ConfigError, InputError, did_you_mean
from .nn.steps import Affine, Axis, Linear, Step, Table
from .sequence import Span, TokenSequence


@dataclasses.dataclass(frozen=True)
class Exact:
    """`decode(encode(x)) == x`."""


@dataclasses.dataclass(frozen=True)
class Bounded:
    """`decode(encode(x))` differs from x by at most `error` (largest absolute difference)."""

    error: float


@dataclasses.dataclass(frozen=True)
class OneWay:
    """Nothing is given back; `decode` refuses."""


RoundTrip = Exact | Bounded | OneWay


@dataclasses.dataclass(frozen=True)
class Picture:
    """What an inspector draws: a source and the tokens laid over it. Plain data, so that no drawing library is needed."""

    kind: Literal["text", "image", "strip", "network"]
    data: Any
    """text: the string; image: uint8 or float array [h, w] or [h, w, 3]; strip: list of rows of labels;
    network: {"nodes": [(x, y)], "edges": [(i, j)]}."""
    marks: list[Any] = dataclasses.field(default_factory=list)
    """One per token. text: (start, stop) characters; image: (x, y, width, height) in pixels of `data`;
    strip: (row, column); network: node number or (i, j)."""
    title: str = ""


class Channel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the core knows of one kind of token."""

    vocab: int | None = None
    """ids lie in [0, vocab), local to the channel."""
    width: tuple[int, ...] | None = None
    """features are [n, *width], in their raw dtype."""
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    """embedding and regression use (x - mean) / std; the span keeps x."""
    start: int | None = None
    """the id that a decoder begins with; None: the core's own vector. Special ids lie in [0, vocab), each of one meaning."""
    end: int | None = None
    """the id that closes a field and stops generation."""
    mask: int | None = None
    """the id that stands for masked content; None: the core's own vector."""
    sentinels: tuple[int, ...] = ()
    """ids that stand for spans taken out of a sequence, first to last."""
    attend: Literal["causal", "full"] = "causal"
    """the natural rule; an objective may overrule it for what it predicts, a preset may fix it."""
    ordered: bool = True
    """False: the tokens of a span form a set and share one position."""
    embed: tuple[Step, ...] | None = None
    """content -> [n, dim]; empty: features go in as they are; None: a table for ids, one linear map for features.

    Steps look at no other span and at no later token, take 0 tokens too, and use every parameter they have."""
    axes: tuple[Axis, ...] = ()
    """added on the assembled stream; an axis that no channel declares reaches no model."""
    pairs: dict[str, int] = {}
    """pair name -> number of labels."""

    def to_plain(self) -> dict[str, Any]:
        """Its fields as JSON can hold them, without those at their default."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: to_plain(value) for name, value in values.items() if value != getattr(Channel(), name)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], where: str = "channel") -> Self:
        """The inverse of `to_plain`. Raises ConfigError naming the field."""
        hints = field_types(cls)
        for name in plain:
            if name not in hints:
                raise ConfigError(f"unknown field {name!r} of channel {where!r}; {did_you_mean(name, hints, 'fields')}")
        return cls(**{name: from_plain(value, hints[name], f"{where}.{name}") for name, value in plain.items()})

    def steps(self) -> tuple[Step, ...]:
        """The embedding pipeline of this channel where no preset brings its own."""
        if self.width is None:
            return (Table(self.vocab or 0),) if self.embed is None else self.embed
        return (Affine(self.mean, self.std), *((Linear(),) if self.embed is None else self.embed))

    @property
    def size(self) -> int:
        """Numbers per token: 0 for ids."""
        return math.prod(self.width) if self.width is not None else 0

    def normal(self, features: Tensor) -> Tensor:
        """Raw features -> (x - mean) / std, float32."""
        return (features.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def raw(self, values: Tensor) -> Tensor:
        """The inverse of `normal`: [n, size] -> [n, *width]."""
        return values.reshape(-1, *(self.width or ())) * torch.tensor(self.std) + torch.tensor(self.mean)


class _Parts(dict[str, Span]):
    """Spans by part name; asking for one that is not there is an InputError."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self.instance = instance

    def __missing__(self, part: str) -> Span:
        channel = f"{self.instance}/{part}" if part else self.instance
        raise InputError(f"no tokens of channel {channel!r} here, so there is nothing to decode")


class _Meta(type(msgspec.Struct), abc.ABCMeta):  # type: ignore[misc]
    pass


class Tokenizer(  # type: ignore[metaclass]
    msgspec.Struct, metaclass=_Meta, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """One final subclass per kind of object; its fields are its configuration and the recipe's keys.

    Every field has a default, a type and a description, and comes back from a recipe as it was. A tokenizer is a value:
    made anew from the same fields and `state`, pickled for a worker, or restored from a checkpoint, it gives the same
    channels and tokens, in every process. It changes neither objects nor tokens nor the process's random state, prints and
    warns of nothing, and is imported in seconds.

    `instance` (the recipe's name for this tokenizer; its channels begin with it) and `state` (what `fit` learned,
    as bytes) are private to the core and no recipe keys.
    """

    name: ClassVar[str]
    """the entry point's name."""
    round_trip: ClassVar[RoundTrip] = OneWay()
    unit: ClassVar[int] = 1
    """a crop starts at a multiple of this many tokens."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """the files that `read` takes, such as (".csv",). A one-file plugin claims them; a package repeats them as entry points."""
    instance: str = ""
    state: bytes | None = None

    def __post_init__(self) -> None:
        """Every value fits its annotation, however the tokenizer was made; what a subclass checks beyond that comes after this.

        Raises ConfigError naming the field.
        """
        for name, field in self.config_fields().items():
            try:
                msgspec.convert(msgspec.to_builtins(getattr(self, name)), field.type)
            except msgspec.ValidationError as error:
                raise ConfigError(f"tokenizer {self.name!r}, field {name!r}: {error}") from None

    @abc.abstractmethod
    def channels(self) -> dict[str, Channel]:
        """What the tokens hold, by full channel name (`self.channel(...)`); may depend on what `fit` learned.

        Each declares `vocab` or `width`, and every axis and pair that its tokens carry; all of it can be written as JSON.
        """

    @abc.abstractmethod
    def encode(self, raw: Any) -> TokenSequence:
        """One object -> tokens. Deterministic, on the CPU; no special tokens, no normalisation.

        Takes time and memory in proportion to the object. An object with nothing in it is no tokens, or refused. Raises
        InputError, and nothing else, for what it refuses: other types, NaN, infinity, numbers that its tokens cannot
        hold, and what is over a declared limit (a field `max_...`, which the message names). Nothing is cut or clipped.
        """

    @abc.abstractmethod
    def samples(self, seed: int = 0) -> Iterable[Any]:
        """A few example objects, edge cases among them: checks, docs and the inspector use them.

        The same seed gives the same objects; one at least has two tokens or more.
        """

    def decode(self, tokens: TokenSequence) -> Any:
        """Tokens -> the object, as exactly as `round_trip` says, from the spans alone; the `end` of a template is dropped.

        Gives something or raises InputError, and nothing else, for a cropped sequence, two objects at once, and whatever a
        model may make up; refuses tokens of others, and everything where it is one-way.
        """
        raise InputError(f"tokenizer {self.name!r} is one-way: its tokens cannot be given back")

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Channel and axes of token k of an object with this `meta`, as `encode` gives them; None from its last token on.

        An object whose channel has an `end` may go on until that. Raises InputError where the `meta` does not say enough.
        """
        raise InputError(f"tokenizer {self.name!r} does not say where generated tokens go, so it cannot generate")

    def read(self, path: Path) -> Any:
        """One object from one file; the tokenizer says which in `suffixes`.

        Raises InputError naming the file, and nothing else: for one that is not there, a folder, other content, what was cut
        off, and, before it is read into memory, what is over a limit.
        """
        raise InputError(f"{path}: tokenizer {self.name!r} reads no files")

    def words(self, text: str) -> Any:
        """The object that words on a command line stand for; override where objects are no strings but are written as some.

        Raises InputError where there is none.
        """
        if isinstance(next(iter(self.samples()), None), str):
            return text
        raise InputError(f"tokenizer {self.name!r} takes files, not words")

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether a file that several plugins claim is this tokenizer's, from its first 4096 bytes."""
        return True

    def fit(self, samples: Iterable[Any]) -> Self:
        """The same tokenizer, with what the training samples taught it in `state` and nothing else changed.

        Goes through the samples once, learns the same from the same, and nothing from none.
        """
        return self

    def save_pretrained(self, folder: Path) -> None:
        """Write the published files of this kind of tokenizer; `from_pretrained` makes the same tokens of them."""
        raise InputError(f"tokenizer {self.name!r} has no published file format")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read the published files of this kind of tokenizer. Raises InputError naming what is missing."""
        raise InputError(f"tokenizer {cls.name!r} has no published file format")

    def count(self, raw: Any) -> int:
        """The number of tokens of `raw`; override only where it is cheaper than encoding. Refuses what `encode` refuses."""
        return len(self.encode(raw))

    def show(self, raw: Any, tokens: TokenSequence) -> Picture | None:
        """What an inspector draws, with a mark for every token; None: nothing."""
        return None

    # -- helpers for subclasses and the core; not to be overridden

    def channel(self, part: str = "") -> str:
        """The full name of a channel: `<instance>` or `<instance>/<part>`."""
        instance = self.instance or self.name
        return f"{instance}/{part}" if part else instance

    def named(self, instance: str) -> Self:
        """The same tokenizer under another instance name."""
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", instance):
            raise ConfigError(f"tokenizer name {instance!r}: use lower-case letters, digits, '-' and '_'")
        return msgspec.structs.replace(self, instance=instance)

    def whole(self, tokens: TokenSequence) -> dict[str, Span]:
        """This tokenizer's spans by part name, without the `end` that a template appended.

        Raises InputError where one is another's, cut or there twice, and where a part is asked for that is not there.
        """
        found = _Parts(self.channel())
        known = self.channels()
        for span in tokens.spans:
            part = span.channel.partition("/")[2]
            if span.channel not in known:
                raise InputError(
                    f"channel {span.channel!r} is not one of {self.channel()!r}; {did_you_mean(span.channel, known)}"
                )
            if span.ids is not None and span.part is None and span.ids.tolist() == [known[span.channel].end]:
                continue
            if span.part is not None:
                first, total = span.part
                last = first + len(span) - 1
                raise InputError(
                    f"cannot decode a cropped sequence: it holds tokens {first}-{last} of the {total} of {span.channel!r}"
                )
            if part in found:
                raise InputError(f"cannot decode two objects at once: {span.channel!r} occurs twice; select one first")
            found[part] = span
        return found

    @classmethod
    def config_fields(cls) -> dict[str, msgspec.structs.FieldInfo]:
        """The configuration fields, without the core's own."""
        return {f.name: f for f in msgspec.structs.fields(cls) if f.name not in ("instance", "state")}
