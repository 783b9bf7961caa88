"""`omnitok check` as people and CI servers use it, and the child processes behind it."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree

import pytest

from omnitok import cli
from omnitok.checks import CHECKS, GROUPS
from omnitok.commands import check as command
from omnitok.commands.child import ChildFailure, run_in_child
from omnitok.commands.junit import junit

TESTS = Path(__file__).parent
GOOD = TESTS / "laws" / "faults" / "good.py"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit code, stdout and stderr of a command, with a state folder of this test's own."""
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))

    def here(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return here


def broken(folder: Path, method: str) -> Path:
    """A one-file plugin "mine": the pulse with another method."""
    code = (TESTS / "pulse.py").read_text().replace('"pulse"', '"mine"').replace('"pulse/', '"mine/')
    place = code.index("    def samples(")
    (folder / "mine.py").write_text(
        code[:place] + dedent(method).replace("\n", "\n    ").strip().join(("    ", "\n\n")) + code[place:]
    )
    return folder / "mine.py"


# -- a plugin that keeps its promises, and one that does not


def test_a_good_plugin_is_kept_whole(run: Run) -> None:
    code, out, err = run("check", "--plugin", GOOD, "--only", "schema", "--only", "count-is-length", "--json")
    (report,) = json.loads(out)
    assert (code, err, report["name"], report["error"]) == (0, "", "good", "")
    wanted = [c.id for c in CHECKS if c.group == "schema"] + ["count-is-length"]
    assert [c["id"] for c in report["checks"]] == wanted
    assert {c["result"] for c in report["checks"]} == {"ok"}
    assert all(c["seconds"] >= 0 for c in report["checks"])


def test_a_broken_promise_comes_first_with_what_to_do(run: Run, tmp_path: Path) -> None:
    file = broken(tmp_path, "def count(self, raw: Any) -> int:\n    return len(raw) + 1")
    code, out, err = run("check", "mine", "--plugin", file, "--only", "count", "--junit", tmp_path / "report.xml")
    assert (code, err) == (1, "")
    assert out.startswith("mine: 2 failed, 1 kept (")
    lines = [line for line in out.splitlines() if line.startswith("│")]
    assert "count-is-length" in lines[0] and "FAILED" in lines[0]
    assert "sample 0: count says 1, encode gives 0 tokens" in out
    assert "promised: `count` is the number of tokens" in out and "to fix: leave `count` out" in out
    suite = ElementTree.parse(tmp_path / "report.xml").getroot().find("testsuite")
    assert suite is not None and (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("mine", "3", "2")
    cases = {case.get("name"): case for case in suite}
    assert {case.get("classname") for case in cases.values()} == {"mine.count"}
    failure = cases["count-is-length"].find("failure")
    assert failure is not None and "to fix: " in (failure.text or "")


def test_a_plugin_that_ends_its_process_is_told_of_with_what_was_kept_before(run: Run, tmp_path: Path) -> None:
    file = broken(tmp_path, "def count(self, raw: Any) -> int:\n    import os\n    print('noise')\n    os._exit(3)")
    code, out, _ = run("check", "--plugin", file, "--only", "plain-name", "--only", "count", "--json")
    (report,) = json.loads(out)
    assert code == 1
    assert [(c["id"], c["result"]) for c in report["checks"]] == [("plain-name", "ok"), ("count-is-length", "failed")]
    assert report["checks"][1]["message"] == "its process ended with exit code 3 and left no report"
    assert report["error"] == "the checks behind count-is-length were not reached"


@pytest.mark.parametrize(
    ("code", "seconds", "error"),
    [
        ("import os; os._exit(0)", 60, "its process ended with exit code 0 and left no report"),
        ("import os; os.kill(os.getpid(), 11)", 60, "its process was killed by SIGSEGV and left no report"),
        ("print('noise'); raise SystemExit('gone')", 60, "SystemExit: gone"),
        ("import nothing_of_that_name", 60, "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_an_error(run: Run, code: str, seconds: int, error: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(code)
    exit_code, out, _ = run("check", "--plugin", tmp_path / "mine.py", "--json", "--timeout", seconds)
    (report,) = json.loads(out)
    assert exit_code == 1 and report["checks"] == [] and error in report["error"]


def test_a_plugin_that_hangs_is_ended(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("while True: pass")
    code, out, _ = run("check", "--plugin", tmp_path / "mine.py", "--timeout", 1)
    assert code == 1 and "no answer within 1 seconds" in out


# -- what is asked


def test_the_list_says_what_every_check_is_for(run: Run) -> None:
    code, out, _ = run("check", "--list", "--json")
    listed = json.loads(out)
    assert code == 0 and len(listed) == len(CHECKS) >= 40 and len(GROUPS) >= 8
    assert len({c["id"] for c in listed}) == len(listed)
    for each in listed:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", each["id"]), each
        assert len(each["why"].split()) > 5 and len(each["fix"].split()) > 3, each
        assert "\n" not in each["why"] + each["fix"], each
    assert {c["id"] for c in listed}.isdisjoint(GROUPS)
    code, out, _ = run("check", "--list", "--only", "saving")
    assert "fit-repeats" in out and "packed-outputs" not in out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--only", "schemas"], "unknown check or group 'schemas'; did you mean 'schema'?"),
        (["--expect", "round-tripp=x"], "unknown check in expected failures: 'round-tripp'; did you mean 'round-trip'?"),
        (["--expect", "round-trip"], "--expect 'round-trip': write it as ID=REASON"),
        (["texts"], "unknown plugin 'texts'; did you mean 'text'?"),
        (["text", "image", "--set", "vocab_size=300"], "--set and --example are for one plugin: give its name"),
        (["--plugin", "nothing.py"], "plugin file nothing.py does not exist"),
        (["text", "--example", "nothing.txt"], "--example nothing.txt: no such file"),
    ],
)
def test_what_cannot_be_asked_is_one_line(run: Run, arguments: list[str], error: str) -> None:
    code, out, err = run("check", *arguments)
    assert (code, out, err) == (2, "", f"error: {error}\n")


def test_what_is_expected_to_fail_is_no_failure(run: Run, tmp_path: Path) -> None:
    file = broken(tmp_path, "def count(self, raw: Any) -> int:\n    return len(self.encode(raw)) + 1")
    arguments = ("check", "--plugin", file, "--only", "count-is-length", "--only", "nan", "--set", "num_bins=80")
    code, out, _ = run(*arguments, "--expect", "count-is-length=issue 7", "--junit", tmp_path / "report.xml")
    assert code == 0 and "1 failed as expected, 1 kept" in out and "issue 7 (sample 0: count says 1" in out
    skipped = ElementTree.parse(tmp_path / "report.xml").getroot().find(".//skipped")
    assert skipped is not None and (skipped.get("message") or "").startswith("expected to fail: issue 7")


# -- the parts


def test_junit_holds_whatever_a_plugin_says() -> None:
    checks = [{"id": "nan", "group": "refusal", "result": "failed", "message": "\0 <&> \ud800 \x1b[0m", "why": "w", "fix": "f"}]
    report: dict[str, Any] = {"name": "mine", "error": "gone \x07", "checks": [c | {"seconds": 0.25} for c in checks]}
    root = ElementTree.fromstring(junit([report, {"name": "other", "error": "", "checks": []}]))
    assert {k: root.get(k) for k in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "2",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
        "time": "0.250",
    }
    failure, error = root.find(".//failure"), root.find(".//error")
    assert failure is not None and failure.get("message") == "? <&> ? ?[0m"
    assert error is not None and error.get("message") == "gone ?"


def test_a_child_that_times_out_leaves_what_it_told(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = {"id": "nan", "group": "refusal", "why": "w", "fix": "f", "seconds": 0.0}
    kept = begun | {"id": "samples", "result": "ok", "message": ""}
    told = ({"plugin": "mine"}, {"begun": begun | {"id": "samples"}}, {"outcome": kept}, {"begun": begun})
    failure = ChildFailure("timeout", "no answer within 9 seconds", told)
    monkeypatch.setattr(command, "run_in_child", lambda *_: failure)
    (report,) = command._checked("mine", (), {}, 9)
    assert [(c["id"], c["result"], c["message"]) for c in report["checks"]] == [
        ("samples", "ok", ""),
        ("nan", "failed", "no answer within 9 seconds"),
    ]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return task['x'] + 1", 4),
        ("raise ValueError('no')", ChildFailure("failed", "its process raised ValueError: no")),
        ("raise SystemExit", ChildFailure("failed", "its process raised SystemExit")),
        (
            "tell(1); tell([2]); os._exit(7)",
            ChildFailure("failed", "its process ended with exit code 7 and left no report", (1, [2])),
        ),
        ("tell(1); print('noise'); time.sleep(99)", ChildFailure("timeout", "no answer within 3 seconds", (1,))),
    ],
)
def test_a_child_answers_or_fails_in_words(body: str, wanted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "import os, time\nfrom omnitok.commands.child import serve, tell\n"
    (tmp_path / "child_of_a_test.py").write_text(f"{head}def work(task):\n    {body}\nserve(work)\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert run_in_child("child_of_a_test", {"x": 3}, 3 if "sleep" in body else 60) == wanted
