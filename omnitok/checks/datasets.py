"""Datasets: samples by split, the same at every visit, that the plugin's tokenizer takes."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..compare import difference
from ..config import field_types
from ..data import Dataset
from ..errors import ConfigError, InputError, OmnitokError
from ..tokenizer import Tokenizer
from .base import Skip, Subject, check, checks_of, told
from .determinism import touches_generators

GROUP = "datasets"
LOOKED_AT = 5
"""Samples of a split that are made."""
LAZY_SECONDS = 10.0
"""Seconds of computing that opening all splits of a dataset may take."""
PATIENCE = 4.0
"""Seconds after which no further dataset is opened."""
QUICK = 1.0
"""Seconds in which a dataset was opened that is opened again, or asked for its weights."""
COMPARED = 200
"""Samples of each split that are compared with those of another."""


def _all(subject: Subject) -> Sequence[type[Dataset]]:
    if not subject.datasets:
        raise Skip("the plugin brings no dataset for it")
    return subject.datasets


@dataclass
class _Opened:
    """A dataset with its splits, and the seconds of computing that opening them took."""

    dataset: Dataset
    splits: dict[str, Sequence[Any]]
    seconds: float


def _open(subject: Subject) -> list[_Opened]:
    """The datasets that can be opened here, in `PATIENCE` seconds. Raises Skip where none can, with the reasons."""
    found, reasons = subject.once("open datasets", lambda: _opened(_all(subject)))
    if not found:
        raise Skip(f"none can be opened here ({'; '.join(reasons)[:200]})")
    return found  # type: ignore[no-any-return]


def _each(subject: Subject, seconds: float = math.inf) -> Iterator[tuple[Dataset, dict[str, Sequence[Any]]]]:
    """Those of `_open` that took at most so many seconds."""
    return ((each.dataset, each.splits) for each in _open(subject) if each.seconds <= seconds)


def _opened(classes: Sequence[type[Dataset]]) -> tuple[list[_Opened], list[str]]:
    found: list[_Opened] = []
    reasons: list[str] = []
    for cls in classes:
        required = [f.name for f in msgspec.structs.fields(cls) if f.required]
        if required:
            reasons.append(f"{cls.name} needs {', '.join(required)}")
        elif sum(each.seconds for each in found) > PATIENCE:
            reasons.append(f"{cls.name}: the others took {PATIENCE:g} s")
        else:
            begin = time.process_time()
            try:
                dataset = cls()
                splits = {name: dataset.split(name) for name in dataset.splits()}
                found.append(_Opened(dataset, splits, time.process_time() - begin))
            except (ConfigError, InputError, ImportError) as error:
                reasons.append(f"{cls.name}: {error}")
    return found, reasons


@check(
    GROUP,
    "dataset-named",
    "A dataset is named `<plugin>/<dataset>`, says what it is, and tells licence and source",
    "set `name`, `licence` and `source` on the class, and write its docstring",
)
def dataset_named(subject: Subject) -> Iterator[str]:
    for cls in _all(subject):
        plugin, slash, own = cls.name.partition("/")
        if plugin != subject.tokenizer.name or not slash or not own:
            yield f"{cls.__name__} is named {cls.name!r}, not {subject.tokenizer.name + '/...'!r}"
        for field in ("licence", "source"):
            if not str(getattr(cls, field, "") or "").strip():
                yield f"{cls.name}: `{field}` is not told"
        if len((cls.__dict__.get("__doc__") or "").split()) < 3:
            yield f"{cls.name} has no docstring"


@check(
    GROUP,
    "dataset-fields",
    "Every field of a dataset says what it means: recipes are printed with it",
    'write `field: Annotated[int, msgspec.Meta(description="...")] = ...`',
)
def dataset_fields(subject: Subject) -> Iterator[str]:
    from ..toml import meanings

    for cls in _all(subject):
        told_of = meanings(cls)
        yield from (
            f"{cls.name}: field {name!r} has no description" for name in field_types(cls) if _undescribed(cls, name, told_of)
        )


def _undescribed(cls: type[Dataset], name: str, told_of: Mapping[str, str]) -> bool:
    return name in cls.__struct_fields__ and not told_of.get(name)


@check(
    GROUP,
    "dataset-splits",
    "The splits that a dataset names exist and hold samples; another is refused with the names of those there are",
    "begin `split` with `check_split(self, name)`",
)
def dataset_splits(subject: Subject) -> Iterator[str]:
    for dataset, splits in _each(subject):
        for name, split in splits.items():
            if not len(split):
                yield f"{dataset.name}: split {name!r} is empty"
        try:
            dataset.split("no-such-split")
            yield f"{dataset.name}: a split 'no-such-split' is given"
        except ConfigError as error:
            if not any(name in str(error) for name in splits):
                yield f'{dataset.name}: the error for a split that does not exist names none that does ("{error}")'
        except Exception as error:
            yield f"{dataset.name}: split('no-such-split') raised {told(error)} instead of ConfigError"


@check(
    GROUP,
    "dataset-lazy",
    "Opening a dataset takes seconds: its samples are made when they are asked for",
    "return a Sequence whose `__getitem__` reads or makes sample i, and nothing before",
)
def dataset_lazy(subject: Subject) -> Iterator[str]:
    for each in _open(subject):
        if each.seconds > LAZY_SECONDS:
            yield f"{each.dataset.name}: opening its splits takes {each.seconds:.1f} s"


@check(
    GROUP,
    "dataset-samples",
    "A split is a sequence of samples (`len`, `[i]`): mappings from names of fields to objects",
    "return a list, or a Sequence that makes sample i when it is asked for",
)
def dataset_samples(subject: Subject) -> Iterator[str]:
    for dataset, splits in _each(subject):
        fields: set[str] | None = None
        for name, split in splits.items():
            for i in range(min(LOOKED_AT, len(split))):
                sample = split[i]
                if not isinstance(sample, Mapping) or not all(isinstance(key, str) for key in sample):
                    yield f"{dataset.name}, {name} {i}: a sample is a {type(sample).__name__}, not a mapping of fields"
                    break
                fields = set(sample) if fields is None else fields
                if set(sample) != fields:
                    yield f"{dataset.name}, {name} {i}: fields {sorted(sample)}, another sample has {sorted(fields)}"
            try:
                split[len(split)]
                yield f"{dataset.name}: {name} has {len(split)} samples, and gives one more"
            except IndexError:
                pass
            except Exception as error:
                yield f"{dataset.name}: {name}[{len(split)}] raised {told(error)} instead of IndexError"


@check(
    GROUP,
    "dataset-deterministic",
    "The same sample stands at the same place, at every visit and in every worker; nothing is drawn on the way",
    "draw from a generator that is seeded from a field or a constant, and never from the process's own",
)
def dataset_deterministic(subject: Subject) -> Iterator[str]:
    for dataset, splits in _each(subject, QUICK):
        again = type(dataset)()
        for name, split in splits.items():
            other = again.split(name)
            if len(other) != len(split):
                yield f"{dataset.name}: {name} has {len(split)} samples, and {len(other)} when it is opened again"
                continue
            for i in {0, len(split) // 2, len(split) - 1} if len(split) else ():
                if not _equal(split[i], other[i]) or not _equal(split[i], split[i]):
                    yield f"{dataset.name}: sample {i} of {name} is another when it is asked for again"
        if touches_generators(lambda d=again: [_first(d.split(name)) for name in d.splits()]):  # type: ignore[misc]
            yield f"{dataset.name}: opening it draws from, or seeds, the process's own generators"


def _first(split: Sequence[Any]) -> Any:
    return split[0] if len(split) else None


def _equal(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if a.keys() != b.keys():
        return False
    apart = [difference(a[key], b[key]) for key in a]
    known = all(d == 0 for d in apart if d is not None)
    return known and all(pickle.dumps(a[k]) == pickle.dumps(b[k]) for k, d in zip(a, apart, strict=True) if d is None)


@check(
    GROUP,
    "dataset-held-out",
    "What is evaluated on was not trained on: splits are made by whole samples, never by windows of them",
    "split with `hold_out(rows, name)`, or by the sets that the source publishes",
)
def dataset_held_out(subject: Subject) -> Iterator[str]:
    compared = 0
    for dataset, splits in _each(subject):
        if not {"train", "eval"} <= splits.keys():
            continue
        try:
            train, held = ({pickle.dumps(dict(s[i])) for i in _some(s)} for s in (splits["train"], splits["eval"]))
        except Exception:
            continue  # objects that cannot be compared
        compared += 1
        if len(train & held) > len(held) / 2:
            yield f"{dataset.name}: {len(train & held)} of {len(held)} samples of eval are in train too"
    if not compared:
        raise Skip("no dataset has the splits train and eval, of samples that can be compared")


def _some(split: Sequence[Any]) -> range:
    return range(0, len(split), max(1, len(split) // COMPARED))


@check(
    GROUP,
    "dataset-fits",
    "A field of every sample is what the plugin's tokenizer takes, set up by the dataset's metadata",
    "give raw objects under a field of their own, and what the tokenizer must know (spaces, classes) in `metadata`",
)
def dataset_fits(subject: Subject) -> Iterator[str]:
    for dataset, splits in _each(subject):
        tokenizer = _told(subject.tokenizer, dataset)
        for name, split in splits.items():
            for i in range(min(LOOKED_AT, len(split))):
                refusals = _refusals(tokenizer, split[i])
                if len(refusals) == len(split[i]):
                    yield f"{dataset.name}, {name} {i}: no field is taken ({'; '.join(refusals)[:200]})"
                    break


def _told(tokenizer: Tokenizer, dataset: Dataset) -> Tokenizer:
    """The tokenizer with the dataset's metadata in fields that have no value of their own, as a recipe sets them."""
    metadata = dataset.metadata()
    unset = [n for n, f in tokenizer.config_fields().items() if f.default is None and getattr(tokenizer, n) is None]
    config = msgspec.structs.asdict(tokenizer) | {n: metadata[n] for n in unset if metadata.get(n) is not None}
    return msgspec.convert(config, type(tokenizer))


def _refusals(tokenizer: Tokenizer, sample: Mapping[str, Any]) -> list[str]:
    found = []
    for field, value in sample.items():
        try:
            tokenizer.encode(value)
        except OmnitokError as error:
            found.append(f"{field}: {error}")
        except Exception as error:
            found.append(f"{field}: {told(error)}")
    return found


@check(
    GROUP,
    "dataset-weights",
    "`weights` is None, or one number of 0 or more for every sample of the split",
    "give as many finite weights as the split has samples, not all of them 0",
)
def dataset_weights(subject: Subject) -> Iterator[str]:
    for dataset, splits in _each(subject, QUICK):
        for name, split in splits.items():
            weights = dataset.weights(name)
            if weights is None:
                continue
            if len(weights) != len(split):
                yield f"{dataset.name}: {len(weights)} weights for the {len(split)} samples of {name}"
            elif not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
                yield f"{dataset.name}: the weights of {name} are not all finite and 0 or more, or sum to 0"


@check(
    GROUP,
    "dataset-metadata",
    "`metadata` is JSON: a run's manifest holds it",
    "use strings, numbers, lists and mappings with string keys",
)
def dataset_metadata(subject: Subject) -> Iterator[str]:
    for dataset, _ in _each(subject):
        try:
            plain = json.loads(json.dumps(dataset.metadata()))
        except (TypeError, ValueError) as error:
            yield f"{dataset.name}: metadata is no JSON ({error})"
            continue
        if not isinstance(plain, dict):
            yield f"{dataset.name}: metadata is a {type(plain).__name__}"


CHECKS = checks_of(globals())
