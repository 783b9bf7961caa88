"""For the tests of plugin authors: a tokenizer by name or file, and every check of the contract as a pytest test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .checks import LAWS, check_plugin
from .errors import ConfigError, did_you_mean
from .plugins import load_plugins
from .tokenizer import Tokenizer


def load(name_or_file: str | Path, /, **config: Any) -> Tokenizer:
    """A tokenizer of an installed plugin by its name, or of a one-file plugin by the path of its FILE.py.

    Raises what `Host.tokenizer` raises.
    """
    path = Path(name_or_file)
    if path.suffix != ".py":
        return load_plugins().tokenizer(str(name_or_file), **config)
    host = load_plugins(only=[], files=[path])
    return host.tokenizer(host.names()[0], **config)


def parametrize_with_checks(
    tokenizers: Iterable[str | Path | Tokenizer], /, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Any], Any]:
    """One test for each tokenizer and check: decorate `def test_contract(tokenizer, check): check(tokenizer)`.

    `expected_failures` maps a check's id to the reason why it may fail; such a test must fail. Raises ConfigError for an
    id that does not exist.
    """
    import pytest

    expected = dict(expected_failures or {})
    ids = ["encode", *(law.__name__.removeprefix("_").replace("_", "-") for law in LAWS), "fit"]
    for name in expected:
        if name not in ids:
            raise ConfigError(f"expected_failures: unknown check {name!r}; {did_you_mean(name, ids, 'checks')}")
    params = []
    for each in tokenizers:
        tokenizer = each if isinstance(each, Tokenizer) else load(each)
        for id_ in ids:
            marks = [pytest.mark.xfail(reason=expected[id_], strict=True)] if id_ in expected else []
            label = f"{tokenizer.instance or tokenizer.name}-{id_}"
            params.append(pytest.param(tokenizer, _check(id_), id=label, marks=marks))
    return pytest.mark.parametrize(("tokenizer", "check"), params)


@cache
def _findings(tokenizer: Tokenizer) -> dict[str, str]:
    return {f.id: f.message for f in check_plugin(tokenizer) if not f.ok}


def _check(id_: str) -> Callable[[Tokenizer], None]:
    def check(tokenizer: Tokenizer) -> None:
        found = _findings(tokenizer)
        for name in (id_, f"fitted {id_}"):
            assert name not in found, f"{name}: {found[name]}"

    return check
