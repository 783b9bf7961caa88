"""Weight maps: a published model's state dict <-> ours, by rules that go both ways and leave no key out.

A rule joins some of our keys with some of theirs through an operation that can be undone. Loading and writing both
fail by name on a key that no rule covers or that two rules cover, so a map that works is a proof of coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from .errors import CheckpointError, ConfigError, unknown_name
from .model import CONTROL, Preset, Transformer
from .nn.norms import Norm
from .tokenizer import Channel

State = Mapping[str, Tensor]


class Op:
    """The identity; base of the operations. `load` makes our tensors from theirs, `dump` undoes it."""

    partial: ClassVar[bool] = False
    """whether some of their tensors may be absent from a file."""

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return theirs

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return ours


class T(Op):
    """The transpose: they keep [in, out]."""

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return [t.T for t in theirs]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return [t.T for t in ours]


@dataclass(frozen=True)
class Cat(Op):
    """One tensor of theirs, cut into equal parts along its output dimension; `transposed`: they keep [in, out]."""

    parts: int = 3
    transposed: bool = False
    dim: int = 0

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return list((theirs[0].T if self.transposed else theirs[0]).chunk(self.parts, self.dim))

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        whole = torch.cat(ours, self.dim)
        return [whole.T if self.transposed else whole]


@dataclass(frozen=True)
class PerHead(Op):
    """One tensor of theirs whose rows go by head, then by part, then by head dimension: fused queries, keys and values."""

    heads: int
    parts: int = 3

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return [x.flatten(0, 1) for x in theirs[0].unflatten(0, (self.heads, self.parts, -1)).unbind(1)]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return [torch.stack([x.unflatten(0, (self.heads, -1)) for x in ours], 1).flatten(0, 2)]


class Stack(Op):
    """Several tensors of theirs that are one of ours, with a dimension more."""

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return [torch.stack(theirs)]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return list(ours[0])


@dataclass(frozen=True)
class Tie(Op):
    """One parameter that they store several times; a file may hold only some of the copies."""

    copies: int = 2
    partial: ClassVar[bool] = True

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        if not all(torch.equal(theirs[0], t) for t in theirs):
            raise CheckpointError("copies of one tied parameter differ")
        return theirs[:1]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return ours * self.copies


@dataclass(frozen=True)
class Shape(Op):
    """The same numbers in another shape."""

    ours: tuple[int, ...]
    theirs: tuple[int, ...]

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return [t.reshape(self.ours) for t in theirs]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return [t.reshape(self.theirs) for t in ours]


@dataclass(frozen=True)
class Fixed(Op):
    """A tensor that they store and never read, or always compute alike: dropped when loading, made anew when writing."""

    make: Callable[[], Tensor]
    partial: ClassVar[bool] = True

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        return []

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return [self.make()]


@dataclass(frozen=True)
class Rule:
    """Some of our keys <-> some of theirs."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    op: Op


def rule(ours: str | Sequence[str], theirs: str | Sequence[str], op: Op | None = None, blocks: int | None = None) -> list[Rule]:
    """One rule, or with `blocks` one for every value of "{i}" in the keys."""
    a, b = (ours,) if isinstance(ours, str) else tuple(ours), (theirs,) if isinstance(theirs, str) else tuple(theirs)
    op = op or Op()
    if blocks is None:
        return [Rule(a, b, op)]
    return [Rule(tuple(k.format(i=i) for k in a), tuple(k.format(i=i) for k in b), op) for i in range(blocks)]


def affine(ours: str, theirs: str, op: Op | None = None, blocks: int | None = None) -> list[Rule]:
    """The rules of a weight and its bias; `op` is the weight's."""
    return [
        *rule(f"{ours}.weight", f"{theirs}.weight", op, blocks),
        *rule(f"{ours}.bias", f"{theirs}.bias", None, blocks),
    ]


def load(rules: Iterable[Rule], theirs: State) -> dict[str, Tensor]:
    """Their state dict -> ours. Raises CheckpointError for a key that is missing or that no rule reads."""
    rules = list(rules)
    _once(rules, "ours")
    _once(rules, "theirs")
    unread = theirs.keys() - set(chain.from_iterable(r.theirs for r in rules))
    if unread:
        raise CheckpointError(f"the weight map reads no {_some(unread)}; name what may be dropped in `leave_out`")
    missing = [k for r in rules for k in _missing(r, theirs)]
    if missing:
        raise CheckpointError(f"the state dict lacks {_some(missing)}")
    ours: dict[str, Tensor] = {}
    for r in rules:
        made = _apply(r, r.op.load, [theirs[k].detach() for k in r.theirs if k in theirs])
        ours |= {k: t.clone(memory_format=torch.contiguous_format) for k, t in zip(r.ours, made, strict=True)}
    return ours


def dump(rules: Iterable[Rule], ours: State) -> dict[str, Tensor]:
    """Our state dict -> theirs. Raises CheckpointError for a key that is missing or that no rule reads."""
    rules = list(rules)
    _once(rules, "ours")
    _once(rules, "theirs")
    known = set(chain.from_iterable(r.ours for r in rules))
    if ours.keys() - known:
        raise CheckpointError(f"the weight map has no place for {_some(ours.keys() - known)}; name it in `leave_out`")
    if known - ours.keys():
        raise CheckpointError(f"the model lacks {_some(known - ours.keys())}")
    theirs: dict[str, Tensor] = {}
    for r in rules:
        made = _apply(r, r.op.dump, [ours[k].detach() for k in r.ours])
        theirs |= {k: t.clone(memory_format=torch.contiguous_format) for k, t in zip(r.theirs, made, strict=True)}
    return theirs


def _missing(r: Rule, theirs: State) -> list[str]:
    absent = [k for k in r.theirs if k not in theirs]
    needed = not r.op.partial or (len(absent) == len(r.theirs) and r.ours)
    return absent if needed else []


def _apply(r: Rule, function: Callable[[list[Tensor]], list[Tensor]], tensors: list[Tensor]) -> list[Tensor]:
    try:
        return function(tensors)
    except (CheckpointError, RuntimeError) as error:
        raise CheckpointError(f"{', '.join(r.ours) or 'nothing'} <-> {', '.join(r.theirs)}: {error}") from None


def _once(rules: Iterable[Rule], side: str) -> None:
    """ConfigError where two rules claim one key."""
    seen: set[str] = set()
    for key in chain.from_iterable(getattr(r, side) for r in rules):
        if key in seen:
            raise ConfigError(f"the weight map names {key!r} twice")
        seen.add(key)


def _some(keys: Iterable[str]) -> str:
    keys = sorted(keys)
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(map(repr, keys[:3])) + more


@dataclass(frozen=True)
class Size:
    """A published size: the preset's fields, and the channels that its roles are bound to there."""

    fields: Mapping[str, Any]
    channels: Mapping[str, Channel]


class Reference(Preset, frozen=True):
    """A preset that follows a published model and knows where that model keeps its weights."""

    channel_norm: ClassVar[Norm | None] = None
    source: ClassVar[str] = ""
    """the paper, and the code whose numbers it gives"""
    suits: ClassVar[tuple[str, ...]] = ()
    """objectives that it is made for, by their names in a recipe"""
    published: ClassVar[Mapping[str, Size]] = {}
    """name of the published model -> its size; the first is the default"""
    model_types: ClassVar[tuple[str, ...]] = ()
    """`model_type` in the `config.json` files that `from_config` reads, beside the preset's own name"""
    unread: ClassVar[tuple[str, ...]] = ()
    """patterns of tensors that files may hold beside the weights and nothing reads: masks, tables of angles"""

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        """The weight map over `streams.*`, for the channels bound to its roles."""
        raise NotImplementedError

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """Weight maps by the library whose layout they follow; the first is what export writes unless told otherwise."""
        return {"": self.rules(bound)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        """A published `config.json` -> the preset, and a channel for each role. Raises ConfigError for what it cannot be."""
        raise ConfigError(f"preset {cls.name!r} reads no published configuration")  # type: ignore[attr-defined]

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        """The `config.json` that the reference's own `from_pretrained` reads."""
        raise ConfigError(f"preset {self.name!r} writes no published configuration")  # type: ignore[attr-defined]


def import_weights(model: Transformer, theirs: State, leave_out: Iterable[str] = (), layout: str | None = None) -> None:
    """Fill the model's streams from the reference's state dict; channels and heads outside the preset stay as they are.

    `leave_out` holds patterns ("*.attn.bias") of their keys to drop. `layout` names the library that wrote it; unset,
    the one whose keys are most like these. Raises CheckpointError naming the keys or shapes that do not fit, and
    changes nothing then.
    """
    maps = _maps(model)
    leave_out = [*leave_out, *cast(Reference, model.preset).unread]
    kept = {k: v for k, v in theirs.items() if not _matches(k, leave_out)}
    made = load(_map(maps, layout or _nearest(maps, kept)), kept)
    own = {k: v for k, v in model.state_dict().items() if k.startswith("streams.")}
    if made.keys() != own.keys():
        raise CheckpointError(f"the weight map and the model differ in {_some(made.keys() ^ own.keys())}")
    for key, value in own.items():
        if made[key].shape != value.shape:
            raise CheckpointError(f"{key!r} is {list(value.shape)} in this model and {list(made[key].shape)} in the state dict")
    model.load_state_dict(made, strict=False)


def renamed(model: Transformer, theirs: State) -> dict[str, Tensor]:
    """A published file's tensors under the names of the weight map, where the file keeps the model without its outer
    name ("h.0.ln_1" for "transformer.h.0.ln_1") or names norms as of old ("gamma" and "beta").
    """
    known = {k for rules in _maps(model).values() for r in rules for k in r.theirs}
    outer = sorted({k.partition(".")[0] + "." for k in known if "." in k})
    out: dict[str, Tensor] = {}
    for key, value in theirs.items():
        plain = key.removesuffix(".gamma") + ".weight" if key.endswith(".gamma") else key
        plain = plain.removesuffix(".beta") + ".bias" if plain.endswith(".beta") else plain
        named = [plain, *(o + plain for o in outer)]
        found = [k for k in named if k in known] if key not in known else [key]
        out[found[0] if found and found[0] not in theirs else key] = value
    return out


def export_weights(model: Transformer, leave_out: Iterable[str] = (), layout: str | None = None) -> dict[str, Tensor]:
    """The model's weights as the reference's state dict, in the layout of that library (unset: the preset's first).

    A model that has more than the reference (further channels, axes or heads) is refused with a CheckpointError,
    unless `leave_out` holds patterns ("heads.*") of our keys to drop. The core's own control channel has no place
    in any reference and is left out.
    """
    leave_out = [f"channels.{CONTROL}.*", *leave_out]
    maps = _maps(model)
    own = {k: v for k, v in model.state_dict().items() if not _matches(k, leave_out)}
    return dump(_map(maps, layout or next(iter(maps))), own)


def _maps(model: Transformer) -> dict[str, list[Rule]]:
    if not isinstance(model.preset, Reference):
        name = getattr(model.preset, "name", "your own")
        raise ConfigError(f"preset {name!r} follows no published model, so it has no weight map")
    return model.preset.maps({role: model.channel_info[channel] for role, channel in model.roles.items()})


def _map(maps: Mapping[str, list[Rule]], layout: str) -> list[Rule]:
    if layout not in maps:
        raise unknown_name("layout", layout, maps, "layouts")
    return maps[layout]


def _nearest(maps: Mapping[str, list[Rule]], theirs: State) -> str:
    """The layout that shares most keys with a state dict."""
    return max(maps, key=lambda name: len(theirs.keys() & set(chain.from_iterable(r.theirs for r in maps[name]))))


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, p) for p in patterns)
