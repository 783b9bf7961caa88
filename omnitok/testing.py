"""For the tests of plugin authors: a tokenizer by name or file, and every check of the contract as a pytest test.

    from omnitok.testing import load, parametrize_with_checks

    @parametrize_with_checks(["omnitok_pulse.py"], expected_failures={"docstring": "not written yet"})
    def test_contract(tokenizer, check):
        check(tokenizer)

    def test_levels():
        pulse = load("omnitok_pulse.py", num_bins=64)
        assert pulse.encode([-1.0, 1.0]).spans[0].ids.tolist() == [0, 63]

makes one test for each tokenizer and check, named `test_contract[pulse-round-trip]`. An installed plugin is named by its
name, a one-file plugin by its path. A test fails with what the check complains of, the promise that is broken and what to
do; it is skipped, with the reason, where the check does not apply. A check in `expected_failures` must fail (a strict
xfail with the reason), so that the list stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .checks import Check, Subject, expecting, fitted_of, judge, select, subject_of
from .errors import ConfigError
from .plugins import load_plugins
from .tokenizer import Tokenizer


def load(name_or_file: str | Path, /, **config: Any) -> Tokenizer:
    """A tokenizer of an installed plugin by its name, or of a one-file plugin by the path of its FILE.py.

    Raises what `Host.tokenizer` raises.
    """
    return subject(name_or_file, **config).tokenizer


def subject(name_or_file: str | Path, /, files: Sequence[str | Path] = (), **config: Any) -> Subject:
    """What the checks are asked of: the tokenizer as `load` gives it, and what its plugin says of itself."""
    examples = [Path(file) for file in files]
    path = Path(name_or_file)
    if path.suffix != ".py":
        return subject_of(load_plugins(), str(name_or_file), examples, **config)
    host = load_plugins(only=[], files=[path])
    if not host.names():
        raise ConfigError(f"{path} registers no tokenizer")
    return subject_of(host, host.names()[0], examples, **config)


class CheckOfTest:
    """One check as a test calls it: `check(tokenizer)` raises AssertionError with the complaint and what to do."""

    def __init__(self, check: Check, subject: Subject) -> None:
        self.check, self.subject = check, subject

    def __repr__(self) -> str:
        return self.check.id

    def __call__(self, tokenizer: Tokenizer) -> None:
        """Ask it of this tokenizer: the one that it was made for, or another."""
        import pytest

        about = self.subject if tokenizer is self.subject.tokenizer else Subject(tokenizer, files=self.subject.files)
        outcome = judge(self.check, about, about.once("fitted", lambda: fitted_of(about)))
        if outcome.result == "skipped":
            pytest.skip(outcome.message)
        assert outcome.ok, f"{outcome.id}: {outcome.message}\n  promised: {outcome.why}\n  to fix: {outcome.fix}"


def parametrize_with_checks(
    tokenizers: Iterable[str | Path | Tokenizer],
    /,
    expected_failures: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    files: Sequence[str | Path] = (),
) -> Callable[[Any], Any]:
    """One test for each tokenizer and check: decorate `def test_contract(tokenizer, check): check(tokenizer)`.

    Tokenizers are names of installed plugins, paths of one-file plugins, or instances. `expected_failures` maps a check's
    id to the reason why it fails, `only` narrows to groups and ids, `files` are examples of what `read` takes. Raises
    UnknownNameError, with the nearest, for an id or a group that does not exist.
    """
    import pytest

    reasons, chosen = expecting(expected_failures), select(only)
    examples = [Path(file) for file in files]
    params = []
    for each in tokenizers:
        about = Subject(each, files=examples) if isinstance(each, Tokenizer) else subject(each, files)
        label = about.tokenizer.channel()
        for check in chosen:
            marks = [pytest.mark.xfail(reason=reasons[check.id], strict=True)] if check.id in reasons else []
            params.append(pytest.param(about.tokenizer, CheckOfTest(check, about), id=f"{label}-{check.id}", marks=marks))
    return pytest.mark.parametrize(("tokenizer", "check"), params)
