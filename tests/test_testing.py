"""What plugin authors' tests use: the checks as pytest tests, with failures that were expected and must happen."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import omnitok.testing
from omnitok.checks import BY_ID, CHECKS, check_tokenizer
from omnitok.errors import ConfigError, UnknownNameError
from omnitok.testing import load, parametrize_with_checks
from omnitok.tokenizer import Tokenizer

PULSE = Path(__file__).parent / "pulse.py"


def example() -> str:
    """The code in the module's docstring."""
    return dedent("\n".join(line for line in (omnitok.testing.__doc__ or "").splitlines() if re.match(r"    |$", line)))


@pytest.mark.slow
def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    code = PULSE.read_text().replace('    """Samples in [-1, 1] as levels; decoding is right to half a level."""\n', "")
    (tmp_path / "omnitok_pulse.py").write_text(code)
    (tmp_path / "test_contract.py").write_text(example())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rx", "test_contract.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "XFAIL test_contract.py::test_contract[pulse-docstring] - not written yet" in done.stdout
    counted = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped|xfailed|failed)", done.stdout)}
    assert counted["xfailed"] == 1 and sum(counted.values()) == len(CHECKS) + 1
    assert counted["passed"] > 70


class Careless(load(PULSE).__class__, frozen=True):  # type: ignore[misc]
    """A pulse that counts one too many."""

    def count(self, raw: object) -> int:
        return super().count(raw) + 1  # type: ignore[no-any-return]


@parametrize_with_checks([Careless()], expected_failures={"count-is-length": "one too many"}, only=["count-is-length", "nan"])
def test_an_expected_failure_is_expected(tokenizer: Tokenizer, check: omnitok.testing.CheckOfTest) -> None:
    check(tokenizer)


def test_a_failure_says_what_is_wrong_what_was_promised_and_what_to_do() -> None:
    (param,) = _params(parametrize_with_checks([Careless()], only=["count-is-length"]))
    tokenizer, check = param.values
    with pytest.raises(AssertionError) as caught:
        check(tokenizer)
    told = BY_ID["count-is-length"]
    assert "sample 1: count says 4, encode gives 3 tokens" in str(caught.value)
    assert f"promised: {told.why}" in str(caught.value) and f"to fix: {told.fix}" in str(caught.value)


def test_what_does_not_apply_is_skipped_with_the_reason() -> None:
    (param,) = _params(parametrize_with_checks([PULSE], only=["fit-nothing"]))
    with pytest.raises(pytest.skip.Exception, match="it learns nothing"):
        param.values[1](param.values[0])


def test_tests_are_named_and_marked() -> None:
    mark = parametrize_with_checks([PULSE, Careless().named("careless")], expected_failures={"nan": "not yet"})
    params = {p.id: p for p in _params(mark)}
    assert len(params) == 2 * len(CHECKS)
    assert {"pulse-round-trip", "careless-round-trip"} <= params.keys()
    (xfail,) = params["careless-nan"].marks
    assert xfail.kwargs == {"reason": "not yet", "strict": True}
    assert not params["careless-round-trip"].marks


def _params(mark: pytest.MarkDecorator) -> list[object]:
    return list(mark.args[1])


def test_what_is_expected_must_exist_and_must_fail() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown check in expected failures: 'round-tripp'; did you mean 'round-trip'\?"):
        parametrize_with_checks([PULSE], expected_failures={"round-tripp": "no"})
    with pytest.raises(UnknownNameError, match="did you mean 'saving'"):
        parametrize_with_checks([PULSE], only=["savings"])
    (kept,) = check_tokenizer(load(PULSE), only=["nan"], expected_failures={"nan": "as ever"})
    assert not kept.ok and kept.message == "was expected to fail (as ever), and does not"
    (failing,) = check_tokenizer(Careless(), only=["count-is-length"], expected_failures={"count-is-length": "as ever"})
    assert failing.ok and failing.result == "expected" and failing.message.startswith("as ever (sample 0: count says 1")


def test_load_takes_names_files_and_configuration(tmp_path: Path) -> None:
    assert load("text", vocab_size=300).vocab_size == 300  # type: ignore[attr-defined]
    assert load(PULSE, num_bins=70).channels()["pulse"].vocab == 70
    with pytest.raises(UnknownNameError, match="did you mean 'text'"):
        load("texts")
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "nothing.py")


def test_samples_of_ones_own_are_checked() -> None:
    found = {o.id: o for o in check_tokenizer(load(PULSE), samples=[[0.5, 0.25]], only=["schema", "round trip"])}
    assert [str(o) for o in found.values() if not o.ok] == []
    (refused,) = check_tokenizer(load(PULSE), samples=["a word"], only=["samples"])
    assert "sample 0 cannot be encoded: InputError: a pulse is a list of numbers" in refused.message
