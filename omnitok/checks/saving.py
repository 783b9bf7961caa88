"""Saving: configuration, what `fit` learned, and published files come back as they were."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .. import checkpoint
from ..errors import InputError, OmnitokError
from ..recipe import make_recipe
from ..record import same
from ..tokenizer import Tokenizer
from ..toml import to_toml
from .base import Skip, Subject, check, checks_of, told

GROUP = "saving"


@check(
    GROUP,
    "recipe",
    "A configuration that is written into a recipe and read back is itself",
    "use fields that TOML can hold (numbers, strings, lists, tables), and change none of them in `__post_init__`",
)
def recipe(subject: Subject) -> Iterator[str]:
    own, name = subject.tokenizer, "its-name"
    values = {f: msgspec.to_builtins(getattr(own, f)) for f in own.config_fields()}
    table = {"plugin": own.name} | {k: v for k, v in values.items() if v is not None}
    text = to_toml(make_recipe({"tokenizers": {name: table}}, tasks_needed=False))
    again = make_recipe(tomllib.loads(text), tasks_needed=False).config(name)
    back = msgspec.convert({**again, "state": own.state}, type(own))
    for field in own.config_fields():
        before, after = getattr(own, field), getattr(back, field)
        if before != after:
            yield f"field {field!r} is {before!r}, and {after!r} when it comes back from a recipe"


def _fitting(subject: Subject) -> None:
    if not subject.overrides("fit"):
        raise Skip("it learns nothing (`fit`)")


@check(
    GROUP,
    "fit-repeats",
    "`fit` learns the same from the same samples, given as a list or one by one",
    "go through the samples once, in their order, and draw nothing",
)
def fit_repeats(subject: Subject) -> Iterator[str]:
    _fitting(subject)
    raws = list(subject.tokenizer.samples(1))
    fitted = subject.tokenizer.fit(raws)
    if fitted != subject.tokenizer.fit(raws):
        yield "fitted to the same samples twice, it learned two things"
    elif fitted != subject.tokenizer.fit(raw for raw in raws):
        yield "fitted to a generator of the same samples, it learned something else: they are gone through once"


@check(
    GROUP,
    "fit-keeps-configuration",
    "`fit` gives the same class, name and configuration; what it learned is in `state`, as bytes",
    "return `msgspec.structs.replace(self, state=...)` from `fit`, and learn nothing into other fields",
)
def fit_keeps_configuration(subject: Subject) -> Iterator[str]:
    _fitting(subject)
    own = subject.tokenizer.named("another-name")
    fitted = own.fit(own.samples(1))
    if type(fitted) is not type(own):
        yield f"fit gives a {type(fitted).__name__}"
        return
    for field in (*own.config_fields(), "instance"):
        if getattr(fitted, field) != getattr(own, field):
            yield f"fit changes {field!r} from {getattr(own, field)!r} to {getattr(fitted, field)!r}"
    if not isinstance(fitted.state, bytes | None):
        yield f"`state` is a {type(fitted.state).__name__}, not bytes"


@check(
    GROUP,
    "fit-nothing",
    "`fit` to no samples gives a tokenizer that works, or refuses in words",
    "return `self` where there was nothing to learn from",
)
def fit_nothing(subject: Subject) -> Iterator[str]:
    _fitting(subject)
    try:
        fitted = subject.tokenizer.fit([])
    except OmnitokError:
        return
    except Exception as error:
        yield f"fit([]) raised {told(error)}"
        return
    for case in subject.cases:
        try:
            fitted.encode(case.raw)
        except Exception as error:
            yield f"{case.name}: fitted to nothing, encode raised {told(error)}"


@check(
    GROUP,
    "restored",
    "A tokenizer that is restored from a checkpoint (configuration and `state`) gives the same tokens and channels",
    "keep all that `fit` learned in `state`: a run is loaded where the training data are not",
    fitted=True,
)
def restored(subject: Subject) -> Iterator[str]:
    own = subject.tokenizer
    config = {f: msgspec.to_builtins(getattr(own, f)) for f in own.config_fields()}
    with tempfile.TemporaryDirectory() as folder:
        blobs = {"state": own.state} if own.state is not None else {}
        saved = checkpoint.load(checkpoint.save(Path(folder), 1, {}, blobs, {"config": config}, 1))
        back = msgspec.convert({**saved.manifest["config"], "state": saved.files.get("state")}, type(own))
    back = back.named(own.instance) if own.instance else back
    if back.channels() != own.channels():
        yield "its channels are others when it is restored"
    for case in subject.cases:
        if not same(back.encode(case.raw), case.tokens):
            yield f"{case.name}: other tokens when it is restored"


@check(
    GROUP,
    "pretrained",
    "`from_pretrained` of what `save_pretrained` wrote gives the same tokens and channels",
    "write all that changes tokens into the folder; bring both methods or none",
    fitted=True,
)
def pretrained(subject: Subject) -> Iterator[str]:
    own = subject.tokenizer
    writes, reads = subject.overrides("save_pretrained"), subject.overrides("from_pretrained")
    if not writes and not reads:
        raise Skip("it has no published files")
    if writes != reads:
        yield f"it has {'save_pretrained' if writes else 'from_pretrained'} and not the other"
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            own.save_pretrained(Path(folder))
        except InputError as error:
            raise Skip(f"as it is configured it cannot be published: {error}") from None
        back: Tokenizer = type(own).from_pretrained(Path(folder))
        yield from _missing_files(own)
    back = back.named(own.instance) if own.instance else back
    if back.channels() != own.channels():
        yield "its channels are others when it comes from its published files"
    for case in subject.cases:
        if not same(back.encode(case.raw), case.tokens):
            yield f"{case.name}: other tokens from its published files"


def _missing_files(own: Tokenizer) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as empty:
        try:
            type(own).from_pretrained(Path(empty))
            yield "from_pretrained of an empty folder gives a tokenizer"
        except InputError:
            return
        except Exception as error:
            yield f"from_pretrained of an empty folder raised {told(error)} instead of InputError"


CHECKS = checks_of(globals())
