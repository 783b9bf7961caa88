"""Faults in what a plugin says of itself and in what its tokens hold."""

import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
from msgspec import Meta, structs

from omnitok.checks import Subject
from omnitok.hookspecs import hookimpl
from omnitok.nn.steps import Axis, Linear
from omnitok.plugins.discovery import PluginStatus
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Bounded, Channel, Picture

from . import good
from .good import GoodTokenizer
from .registry import fault, whole


def changed(tokenizer: GoodTokenizer, part: str, **fields: Any) -> dict[str, Channel]:
    """Its channels, one of them with other fields."""
    channels = GoodTokenizer.channels(tokenizer)
    name = tokenizer.channel(part)
    return {**channels, name: structs.replace(channels[name], **fields)}


def respanned(tokens: TokenSequence, which: int, **fields: Any) -> TokenSequence:
    """The same tokens, with another part of one span."""
    return TokenSequence(tuple(s.replace(**fields) if i == which else s for i, s in enumerate(tokens.spans)), tokens.pairs)


# -- registration


@fault("plain-name", "'No Good'")
class Misnamed(GoodTokenizer, frozen=True):
    """It has a name that no recipe can hold."""

    name = "No Good"


def no_tokenizers() -> list[type]:
    return []


def good_tokenizers() -> list[type]:
    return [GoodTokenizer]


@fault("registered", "gives nothing")
def unregistered(folder: Path) -> Subject:
    module = ModuleType("without")
    module.register_tokenizers = hookimpl(no_tokenizers)
    return whole(module=module)


@fault("registered", "without @hookimpl")
def unmarked(folder: Path) -> Subject:
    module = ModuleType("unmarked")
    module.register_tokenizers = good_tokenizers
    return whole(module=module)


@fault("docstring", "Wordless says")
class Wordless(GoodTokenizer, frozen=True):
    pass


@fault("fields-described", "field 'depth' has no description")
class Undescribed(GoodTokenizer, frozen=True):
    """A field says nothing."""

    depth: int = 3


@fault("fields-have-defaults", "field 'depth' has no default")
def demanding(folder: Path) -> Subject:
    return whole(Demanding(depth=3))


class Demanding(GoodTokenizer, frozen=True, kw_only=True):
    """It cannot be made without a setting."""

    depth: Annotated[int, Meta(description="a depth")]


@fault("fields-typed", "field 'depth' is annotated typing.Any")
class Untyped(GoodTokenizer, frozen=True):
    """A field takes anything."""

    depth: Annotated[Any, Meta(description="a depth")] = 3


@fault("strict-configuration", "unknown fields are passed over")
class Lenient(GoodTokenizer, frozen=True, forbid_unknown_fields=False):
    """A typo in a recipe is no error."""


@fault("strict-configuration", "the field 'state' belongs to the core")
class Claiming(GoodTokenizer, frozen=True):
    """It takes a field of the core's."""

    state: Any = b"{}"


@fault("suffixes", "claims no suffix")
def unclaimed(folder: Path) -> Subject:
    return whole(Unclaimed(), status=PluginStatus("good", "omnitok-good", "1.0"))


class Unclaimed(GoodTokenizer, frozen=True):
    """Nobody knows which files it reads."""

    suffixes = ()


@fault("suffixes", "has no `read`")
class Unread(GoodTokenizer, frozen=True):
    """It reads nothing."""

    read = good.Tokenizer.read


# -- schema


@fault("samples", "gives no object")
class Silent(GoodTokenizer, frozen=True):
    """It shows nothing."""

    def samples(self, seed: int = 0) -> Iterable[Any]:
        return ()


@fault("samples", "sample 0 cannot be encoded: InputError: nothing pleases me")
class Refusing(GoodTokenizer, frozen=True):
    """It refuses its own samples."""

    def values(self, raw: Any) -> torch.Tensor:
        raise good.InputError("nothing pleases me")


@fault("samples", "the longest sample has 0 tokens")
class Empty(GoodTokenizer, frozen=True):
    """Its samples show nothing."""

    def samples(self, seed: int = 0) -> Iterable[Any]:
        return [[], []]


@fault("samples", "gives a list instead of a TokenSequence")
class Listing(GoodTokenizer, frozen=True):
    """It gives ids, and no sequence."""

    def encode(self, raw: Any) -> Any:
        return super().encode(raw).spans[1].content.tolist()


@fault("declared", "is bounded by inf")
class Boundless(GoodTokenizer, frozen=True):
    """It promises nothing by promising all."""

    round_trip = Bounded(float("inf"))


@fault("declared", "unit is 0")
class Unitless(GoodTokenizer, frozen=True):
    """Crops could not start anywhere."""

    unit = 0


@fault("channel-names", "of an instance that is named 'another-name'")
class Unnamed(GoodTokenizer, frozen=True):
    """Two instances would share their channels."""

    def channels(self) -> dict[str, Channel]:
        return {f"good/{name.partition('/')[2]}": c for name, c in super().channels().items()}


@fault("channel-content", "declares vocab and width")
class Both(GoodTokenizer, frozen=True):
    """A channel of ids and features."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", width=(2,))


@fault("channel-statistics", "`std` is 0.0")
class Flat(GoodTokenizer, frozen=True):
    """It divides by zero."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", std=0.0)


@fault("channel-statistics", "`mean` has 3 numbers")
class Crowded(GoodTokenizer, frozen=True):
    """More means than features."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", mean=(0.0, 0.0, 0.0))


@fault("special-ids", "`end` is 99, outside its vocab")
class Beyond(GoodTokenizer, frozen=True):
    """An end that no head can predict."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", end=99)


@fault("special-ids", "share an id")
class Sharing(GoodTokenizer, frozen=True):
    """One id of two meanings."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", mask=self.levels)


class Rounded(good.Step, frozen=True):
    """A step whose field is a set, which JSON does not know."""

    kept: Any = frozenset({1})

    def build(self, width: int, dim: int) -> torch.nn.Module:
        return good.LiftModule(width)


@fault("channel-plain", "JSON")
class Unwritable(GoodTokenizer, frozen=True):
    """Its embedding step cannot be written into a run."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", embed=(Linear(), Rounded(frozenset({2}))))


@fault("ids-in-vocab", "outside [0, 4)")
class OutOfRange(GoodTokenizer, frozen=True):
    """Its ids are more than it declares."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", vocab=4, end=2, mask=3)


@fault("ids-in-vocab", "declares features and holds ids")
class Mistaken(GoodTokenizer, frozen=True):
    """It declares features and gives ids."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", vocab=None, end=None, mask=None, width=(1,))


@fault("features-fit", "declares features [3] and holds features [1]")
class Misshapen(GoodTokenizer, frozen=True):
    """Its features have another width."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", width=(3,))


@fault("features-fit", "with a gradient")
class Attached(GoodTokenizer, frozen=True):
    """Its features drag a graph along."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        return respanned(tokens, 0, features=tokens.spans[0].content.requires_grad_())


@fault("features-fit", "another sample torch.float32")
class Changeable(GoodTokenizer, frozen=True):
    """Its features have one dtype or another."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        return respanned(tokens, 0, features=tokens.spans[0].content.double()) if len(tokens) > 20 else tokens


@fault("axes-declared", "is declared by nobody")
class Undeclared(GoodTokenizer, frozen=True):
    """An axis that the model never sees."""

    def axes(self, beat: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().axes(beat) | {"bar": beat // 4}


@fault("axes-declared", "declared as whole numbers")
class Fractional(GoodTokenizer, frozen=True):
    """Rows of a table by floats."""

    def axes(self, beat: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().axes(beat) | {"beat": beat.float()}


@fault("axes-declared", "declared as 3 columns")
class Narrow(GoodTokenizer, frozen=True):
    """Fewer columns than the axis has."""

    def channels(self) -> dict[str, Channel]:
        axes = (Axis("beat", 256), Axis("phase", 3, "linear"))
        return {name: structs.replace(c, axes=axes) for name, c in super().channels().items()}


@fault("pairs-declared", "declared by no channel")
class Unpaired(GoodTokenizer, frozen=True):
    """Pairs that nobody knows."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", pairs={})


@fault("pairs-declared", "declared are 1")
class Mislabelled(GoodTokenizer, frozen=True):
    """More labels than it declares."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", pairs={"next": 1})


@fault("meta-is-json", "comes back from JSON as another")
class Tuples(GoodTokenizer, frozen=True):
    """A tuple comes back as a list."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        return respanned(tokens, 1, meta={**tokens.spans[1].meta, "shape": (1, 2)})


@fault("meta-is-json", "is no JSON")
class Arrays(GoodTokenizer, frozen=True):
    """A tensor in the meta."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        return respanned(tokens, 1, meta={**tokens.spans[1].meta, "all": torch.zeros(2)})


@fault("no-special-tokens", "holds the special id 16")
class Closed(GoodTokenizer, frozen=True):
    """It appends `end` itself."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        ids = super().level(values)
        return torch.cat([ids[:-1], torch.full_like(ids[-1:], self.levels)])


@fault("picture-marks", "0 marks for 6 tokens")
class HalfDrawn(GoodTokenizer, frozen=True):
    """It draws no token."""

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        return Picture("strip", [], [], "")


@fault("picture-marks", "show gives str")
class Scribbled(GoodTokenizer, frozen=True):
    """It draws no picture."""

    def show(self, raw: Any, tokens: TokenSequence) -> Any:
        return "a picture"


# -- count


@fault("count-is-length", "count says 7, encode gives 6 tokens")
class Miscounting(GoodTokenizer, frozen=True):
    """One too many."""

    def count(self, raw: Any) -> int:
        return super().count(raw) + 1 if len(raw) == 3 else super().count(raw)


@fault("count-refuses", "count of None raised TypeError")
class Careless(GoodTokenizer, frozen=True):
    """It counts what it would not tokenize."""

    def count(self, raw: Any) -> int:
        return 2 * len(raw)


@fault("count-cheap", "counting the samples takes")
class Roundabout(GoodTokenizer, frozen=True):
    """It counts by doing the work again and again."""

    def count(self, raw: Any) -> int:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            super().count(raw)
        return super().count(raw)
