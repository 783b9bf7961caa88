"""What is remembered of plugins from one process to the next, and that forgetting it never hurts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import omnitok as ot
from omnitok.errors import OmnitokError, PluginError
from omnitok.plugins import remembered
from omnitok.plugins.discovery import PluginStatus
from omnitok.plugins.remembered import LastImport, Memory
from tests.distributions import PULSE, Install, omnitok, pulse

ENDS = "import os\nos._exit(7)"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own."""
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(remembered, "_noted", set())
    return tmp_path / "state"


def record(name: str) -> PluginStatus:
    """As the next process sees it, without importing anything."""
    return next(r for r in ot.load_plugins().status() if r.name == name)


# -- imports


def test_success_and_failure_are_remembered(installed: Install) -> None:
    installed("fake-bad", "1 / 0")
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    assert (record("fake_bad").status, record("pulse").status) == ("not imported", "not imported")
    host = ot.load_plugins()
    assert host.usable().count("pulse") == 1
    assert (record("pulse").status, record("fake_bad").status) == ("ok", "broken")
    assert record("fake_bad").reason == "ZeroDivisionError: division by zero"
    assert "fake_bad.py" in record("fake_bad").error
    assert record("fake_bad").when.endswith("+00:00")
    last = Memory().last("fake_bad", "fake-bad", "1.0")
    assert last is not None
    assert last.omnitok == ot.__version__
    assert last.reason == "ZeroDivisionError: division by zero"


def test_the_same_failure_again_is_the_same_failure(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("fake-bad", "1 / 0")
    for _ in range(3):
        with pytest.raises(PluginError, match="ZeroDivisionError"):
            ot.load_plugins().tokenizer("fake_bad")
        last = Memory().last("fake_bad", "fake-bad", "1.0")
        assert last is not None
        assert (last.result, last.reason) == ("broken", "ZeroDivisionError: division by zero")


def test_another_version_is_another_matter(installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("fake-bad", "1 / 0")
    with pytest.raises(PluginError):
        ot.load_plugins().tokenizer("fake_bad")
    assert record("fake_bad").status == "broken"
    monkeypatch.setattr(remembered, "__version__", "0.0.9")  # another omnitok
    assert record("fake_bad").status == "not imported"
    monkeypatch.undo()
    (tmp_path / "site" / "fake_bad-1.0.dist-info").rename(tmp_path / "site" / "fake_bad-1.1.dist-info")
    info = tmp_path / "site" / "fake_bad-1.1.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("Version: 1.0", "Version: 1.1"))
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert record("fake_bad").status == "not imported"


def test_a_failure_that_was_mended_is_found_out_by_using_it(installed: Install, tmp_path: Path) -> None:
    installed("fake-pulse", "1 / 0", {"pulse": "fake_pulse"})
    with pytest.raises(PluginError):
        ot.load_plugins().tokenizer("pulse")
    (tmp_path / "site" / "fake_pulse.py").write_text(PULSE.read_text())
    assert ot.load_plugins().tokenizer("pulse").name == "pulse"
    assert record("pulse").status == "ok"


def test_an_import_that_goes_well_is_written_once(installed: Install, home: Path) -> None:
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    ot.load_plugins().tokenizer("pulse")
    (file,) = home.glob("*.json")
    written = file.stat().st_mtime_ns
    ot.load_plugins().tokenizer("pulse")
    assert file.stat().st_mtime_ns == written


def test_an_interrupted_import_is_not_held_against_it(installed: Install) -> None:
    installed("fake-slow", "raise KeyboardInterrupt")
    host = ot.load_plugins()
    with pytest.raises(KeyboardInterrupt):
        host.tokenizer("fake_slow")
    assert record("fake_slow").status == "not imported"
    with pytest.raises(KeyboardInterrupt):
        host.tokenizer("fake_slow")  # it is tried again
    broken = LastImport("fake-slow", "1.0", ot.__version__, "broken", remembered.now(), "what was known", "what was known")
    Memory().record({"fake_slow": broken})
    with pytest.raises(KeyboardInterrupt):
        ot.load_plugins().tokenizer("fake_slow")
    assert record("fake_slow").reason == "what was known"


# -- an import that takes the process with it


@pytest.mark.slow
def test_the_next_command_says_which_import_ended_the_process(installed: Install, tmp_path: Path) -> None:
    site = tmp_path / "site"
    words = tmp_path / "words.txt"
    words.write_text("hello")
    installed("fake-end", ENDS, {"fake_end": "fake_end", "fake_end.txt": "fake_end"})
    assert omnitok("tokenize", words, site=site).returncode == 7  # .txt is claimed by two: both are asked
    assert omnitok("tokenize", words, site=site).returncode == 0  # once is enough
    assert record("fake_end").reason == "its last import ended the process"
    again = omnitok("tokenize", words, "--as", "fake_end", site=site)
    assert again.returncode == 2
    assert again.stderr.startswith("error: plugin 'fake_end' of fake-end 1.0 cannot be used: its last import ended the process; ")
    assert "`omnitok plugins --check fake_end` tries again in a process of its own" in again.stderr
    tried = omnitok("plugins", "--check", "fake_end", site=site)
    assert tried.returncode == 1
    assert "its import: its process ended with exit code 7" in " ".join(tried.stdout.split())
    (site / "fake_end.py").write_text(pulse("fake_end"))
    (site / "fake_end-1.0.dist-info" / "entry_points.txt").write_text("[omnitok]\nfake_end = fake_end\n")
    assert omnitok("tokenize", words, "--as", "fake_end", site=site).returncode == 2  # nobody knows yet that it was mended
    assert omnitok("plugins", "--check", "fake_end", site=site).returncode == 0
    assert record("fake_end").status == "ok"
    assert "not a pulse" in omnitok("tokenize", words, "--as", "fake_end", site=site).stderr


def test_an_import_that_goes_on_elsewhere_is_no_failure() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        process = f"{remembered.socket.gethostname()}:{other.pid}"
        begun = LastImport("d", "1", ot.__version__, "importing", time=remembered.now(), process=process)
        Memory().record({"p": begun})
        assert Memory().last("p", "d", "1") is None
        assert other.stdin is not None
        other.stdin.close()
    last = Memory().last("p", "d", "1")
    assert last is not None
    assert (last.result, last.reason) == ("ended", "its last import ended the process")


# -- the file


def files(home: Path) -> list[str]:
    return sorted(p.suffix for p in home.iterdir())


def test_an_unreadable_file_is_said_once_and_set_aside(
    installed: Install, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    Memory().disable(["graph"])
    (file,) = home.glob("*.json")
    for content in (b"{", b"[]", b'{"python": 3}', b"\xff\xfe", b""):
        file.write_bytes(content)
        capsys.readouterr()
        host = ot.load_plugins()
        ot.load_plugins()
        err = capsys.readouterr().err
        assert err.startswith(f"note: {file} cannot be read (")
        assert err.count("\n") <= 1
        host.tokenizer("pulse")
        assert file.with_suffix(".unreadable").read_bytes() == content
        assert record("pulse").status == "ok"
        file.unlink()
        remembered._noted.clear()


def test_a_place_that_cannot_be_written_changes_nothing_else(
    installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    installed("fake-bad", "1 / 0")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "file"))
    host = ot.load_plugins()
    assert host.tokenizer("pulse").name == "pulse"
    for _ in range(2):
        with pytest.raises(PluginError, match="ZeroDivisionError"):
            host.tokenizer("fake_bad")
    err = capsys.readouterr().err
    assert err.startswith(f"note: {Memory().path} cannot be ")
    assert err.count("\n") == 1
    with pytest.raises(OmnitokError, match="OMNITOK_HOME=FOLDER names another place"):
        Memory().disable(["text"])


def test_processes_that_write_at_once_lose_nothing(home: Path) -> None:
    code = (
        "import sys; from omnitok.plugins.remembered import Memory, LastImport\n"
        "for i in range(30): Memory().record({f'{sys.argv[1]}-{i}': LastImport('d', '1', '0', 'ok')})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(k)]) for k in range(3)]
    assert [w.wait(120) for w in writers] == [0, 0, 0]
    (file,) = home.glob("*.json")
    assert len(json.loads(file.read_bytes())["imports"]) == 90
    assert files(home) == [".json", ".lock"]


def test_the_place_is_the_systems_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMNITOK_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert remembered.home() == tmp_path / "omnitok"
    assert remembered.home().name == "omnitok" or os.name == "nt"


def test_every_environment_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    Memory().disable(["text"])
    monkeypatch.setattr(sys, "prefix", "/another")
    assert Memory().disabled == ()


# -- disabled


@pytest.mark.slow
def test_disabling_imports_nothing_and_claims_nothing(installed: Install, tmp_path: Path) -> None:
    site = tmp_path / "site"
    installed("fake-end", ENDS, {"fake_end": "fake_end", "fake_end.txt": "fake_end", "fake_end.odd": "fake_end"})
    done = omnitok("plugins", "disable", "fake_end", site=site)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "disabled: fake_end; `omnitok plugins enable fake_end` takes it back\n"
    (tmp_path / "words.txt").write_text("hello")
    (tmp_path / "words.odd").write_text("hello")
    assert omnitok("tokenize", tmp_path / "words.txt", site=site).returncode == 0
    assert record("fake_end").status == "disabled"
    for arguments in (["tokenize", tmp_path / "words.odd"], ["tokenize", "x", "--as", "fake_end"], ["plugins", "fake_end"]):
        done = omnitok(*arguments, site=site)
        assert done.returncode in (1, 2)
        assert "plugin 'fake_end' of fake-end 1.0 is disabled; `omnitok plugins enable fake_end` enables it" in done.stderr
    assert "fake_end: `omnitok plugins enable fake_end` enables it" in omnitok("plugins", site=site).stdout
    assert omnitok("plugins", "enable", "fake_end", site=site).stdout == "enabled: fake_end\n"
    assert record("fake_end").status == "not imported"


def test_an_upgrade_does_not_enable(installed: Install, tmp_path: Path) -> None:
    installed("fake-pulse", "1 / 0", {"pulse": "fake_pulse"})
    Memory().disable(["pulse"])
    info = tmp_path / "site" / "fake_pulse-1.0.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert record("pulse").status == "disabled"


def test_one_of_two_of_a_name_is_disabled(installed: Install) -> None:
    installed("fake-text", PULSE.read_text(), {"text": "fake_text"})
    assert record("text").status == "duplicate"
    Memory().disable(["fake-text:text"])
    host = ot.load_plugins()
    assert sorted((r.distribution, r.status) for r in host.status() if r.name == "text") == [
        ("fake-text", "disabled"),
        ("omnitok", "not imported"),
    ]
    assert host.tokenizer("text").name == "text"
    Memory().disable(["text"])
    with pytest.raises(PluginError, match="is disabled"):
        ot.load_plugins().tokenizer("text")


def test_a_file_that_is_handed_over_is_used_though_its_name_is_disabled() -> None:
    Memory().disable(["pulse"])
    assert ot.load_plugins(files=[PULSE]).tokenizer("pulse").name == "pulse"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["disable", "txt"], "error: unknown plugin 'txt'; did you mean 'text'?"),
        (["disable"], "error: name the plugins to disable: `omnitok plugins disable NAME`"),
        (["enable", "text"], "error: plugin 'text' is not disabled; disabled: none"),
        (["enable", "nobody"], "error: unknown plugin 'nobody'; disabled: none"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from omnitok import cli

    assert cli.run(["plugins", *arguments]) == cli.MISUSED
    assert capsys.readouterr().err == f"{message}\n"
