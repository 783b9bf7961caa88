"""Registration: what a plugin says of itself before anything is tokenized."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator

import msgspec

from ..config import field_types
from .base import Skip, Subject, check, checks_of

GROUP = "registration"
HOOKS = ("register_tokenizers", "register_datasets")


@check(
    GROUP,
    "plain-name",
    "`name` is the recipe's word for the plugin and the beginning of its channels' names",
    'write `name = "..."` with lower-case letters, digits, "-" and "_", beginning with a letter',
)
def plain_name(subject: Subject) -> Iterator[str]:
    name = getattr(subject.tokenizer, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        yield f"`name` is {name!r}"


@check(
    GROUP,
    "registered",
    "The plugin's own hook gives the class, so that a recipe finds it by name",
    "return the class from a function `register_tokenizers` under @hookimpl",
)
def registered(subject: Subject) -> Iterator[str]:
    if subject.module is None:
        raise Skip("made by hand, and not by a plugin")
    given = subject.module.register_tokenizers() if hasattr(subject.module, HOOKS[0]) else []
    if type(subject.tokenizer) not in given:
        names = ", ".join(cls.__name__ for cls in given) or "nothing"
        yield f"register_tokenizers gives {names}, not {type(subject.tokenizer).__name__}"
    for hook in HOOKS:
        if hasattr(subject.module, hook) and not hasattr(getattr(subject.module, hook), "omnitok_impl"):
            yield f"{hook} is there without @hookimpl, so nobody calls it"


@check(
    GROUP,
    "docstring",
    "The class says what it takes and what decoding gives back: `omnitok plugins NAME` prints it",
    "write a docstring of at least one sentence under the class",
)
def docstring(subject: Subject) -> Iterator[str]:
    doc = type(subject.tokenizer).__dict__.get("__doc__") or ""
    if len(doc.split()) < 3:
        yield f"{type(subject.tokenizer).__name__} says {doc!r}"


@check(
    GROUP,
    "fields-described",
    "Every configuration field says what it means: recipes are printed with it",
    'write `field: Annotated[int, msgspec.Meta(description="...")] = ...`',
)
def fields_described(subject: Subject) -> Iterator[str]:
    from ..toml import meanings

    told = meanings(type(subject.tokenizer))
    yield from (f"field {name!r} has no description" for name in subject.tokenizer.config_fields() if not told.get(name))


@check(
    GROUP,
    "fields-have-defaults",
    "A tokenizer can be made without any setting, so that `--as NAME` and the first try work",
    "give every field a default; None for what only a dataset knows",
)
def fields_have_defaults(subject: Subject) -> Iterator[str]:
    yield from (f"field {name!r} has no default" for name, f in subject.tokenizer.config_fields().items() if f.required)


@check(
    GROUP,
    "fields-typed",
    "A value of the wrong type in a recipe is refused by name, and not found out in the middle of a run",
    "annotate every field with the type it takes; Any takes everything",
)
def fields_typed(subject: Subject) -> Iterator[str]:
    hints = field_types(type(subject.tokenizer))  # type: ignore[arg-type]
    for name in subject.tokenizer.config_fields():
        hint = hints[name]
        while typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        if hint in (typing.Any, object):
            yield f"field {name!r} is annotated {hint}"


@check(
    GROUP,
    "strict-configuration",
    "A tokenizer is frozen and knows its fields: a typo is an error, and a configuration means one thing for good",
    "leave `forbid_unknown_fields` and `frozen` as the base class has them: `class X(Tokenizer, frozen=True)`",
)
def strict_configuration(subject: Subject) -> Iterator[str]:
    settings = type(subject.tokenizer).__struct_config__
    if not settings.frozen:
        yield "the class is not frozen"
    if not settings.forbid_unknown_fields:
        yield "unknown fields are passed over in silence"
    for name in ("instance", "state"):
        own = next((f for f in msgspec.structs.fields(type(subject.tokenizer)) if f.name == name), None)
        if own is None or own.default not in ("", None):
            yield f"the field {name!r} belongs to the core, and is defined anew"


@check(
    GROUP,
    "suffixes",
    "A tokenizer that reads files says which, and one that says so reads them",
    'write `suffixes = (".csv",)` on the class, the same as entry points `<plugin>.csv` of a package, and a method `read`',
)
def suffixes(subject: Subject) -> Iterator[str]:
    reads = subject.overrides("read")
    claims = subject.tokenizer.suffixes or (subject.status.suffixes if subject.status else ())
    installed = subject.status is not None and not subject.status.is_file
    if not reads and not claims:
        raise Skip("it reads no files, and claims none")
    if reads and not claims and not installed:
        raise Skip("only an installed plugin must claim suffixes: files are read with --as NAME")
    if not claims:
        yield "it has `read`, and claims no suffix: no file finds it"
    if not reads:
        yield f"it claims {' '.join(claims)}, and has no `read`"
    for suffix in claims:
        if not suffix.startswith(".") or suffix != suffix.lower():
            yield f"{suffix!r} is no suffix: it begins with a dot and is written small"


CHECKS = checks_of(globals())
