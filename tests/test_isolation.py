"""Foreign code that is imported: where its words go, when it is stopped, and what it leaves behind."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import omnitok as ot
from omnitok.errors import ConfigError, PluginError
from omnitok.plugins.isolation import TooSlow, guarded, import_seconds
from omnitok.plugins.remembered import Memory
from tests.distributions import Install, omnitok, pulse

posix = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own."""
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """No test leaves a timer or a handler behind."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


# -- words


def test_everything_that_is_printed_goes_to_stderr() -> None:
    code = (
        "import os, sys; from omnitok.plugins.isolation import guarded\n"
        "print('before')\n"
        "with guarded(0):\n"
        "    print('printed'); sys.__stdout__.write('written\\n'); os.system('echo spawned'); os.write(1, b'raw\\n')\n"
        "    sys.stdout = None\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "before\nafter\n"
    assert sorted(done.stderr.split()) == ["printed", "raw", "spawned", "written"]


def test_a_process_without_streams_imports_too() -> None:
    code = "import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None\n"
    code += "from omnitok.plugins.isolation import guarded\nwith guarded(1): print('x')\nos._exit(7)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 7


def test_a_plugin_that_prints_spoils_no_json(installed: Install, tmp_path: Path) -> None:
    installed("fake-loud", pulse("loud", "import os\nprint('loud')\nos.system('echo louder')"), {"loud": "fake_loud"})
    done = omnitok("plugins", "loud", "--json", site=tmp_path / "site")
    assert done.returncode == 0
    assert done.stdout.startswith("{")
    assert sorted(done.stderr.split()) == ["loud", "louder"]


# -- time


@posix
@pytest.mark.parametrize(
    "how", ["while True: pass", "import time; time.sleep(60)", "import threading; threading.Event().wait(60)"]
)
def test_what_hangs_is_stopped(how: str, installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("fake-slow", how)
    monkeypatch.setenv("OMNITOK_IMPORT_SECONDS", "0.2")
    begin = time.monotonic()
    with pytest.raises(PluginError, match=r"the import took longer than 0\.2 seconds \(OMNITOK_IMPORT_SECONDS\)"):
        ot.load_plugins().tokenizer("fake_slow")
    assert time.monotonic() - begin < 20
    (record,) = (r for r in ot.load_plugins().status() if r.name == "fake_slow")
    assert "fake_slow.py" in record.error  # where it hung
    assert (record.harmful, record.retry) == (True, True)
    assert "fake_slow" not in ot.load_plugins().usable()  # nobody waits for it again who did not ask for it


@posix
def test_who_hung_once_is_not_asked_whose_a_file_is(installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words.txt").write_text("hello")
    imported = tmp_path / "imported"
    code = f"with open({str(imported)!r}, 'a') as file: file.write('x')\nwhile True: pass"
    installed("fake-slow", code, {"fake_slow": "fake_slow", "fake_slow.txt": "fake_slow"})
    monkeypatch.setenv("OMNITOK_IMPORT_SECONDS", "0.2")
    for _ in range(3):
        assert ot.load_plugins().for_file(tmp_path / "words.txt").name == "text"
    assert imported.read_text() == "x"
    with pytest.raises(PluginError, match="took longer"):
        ot.load_plugins().tokenizer("fake_slow")
    assert imported.read_text() == "xx"  # it was asked for


@posix
def test_code_that_swallows_everything_is_stopped_all_the_same() -> None:
    def stubborn() -> None:
        for _ in range(2):
            try:
                while True:
                    pass
            except BaseException:
                continue
        while True:
            pass

    with pytest.raises(TooSlow), guarded(0.1):
        stubborn()


@posix
def test_a_timer_of_somebody_else_is_left_alone() -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 50)
    try:
        with guarded(0.05):
            time.sleep(0.2)
        assert 40 < signal.getitimer(signal.ITIMER_REAL)[0] < 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_threads_import_without_a_limit() -> None:
    seen = []

    def work() -> None:
        with guarded(0.05):
            time.sleep(0.2)
        seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["done"]


def test_the_limit_is_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_seconds() == 30
    monkeypatch.setenv("OMNITOK_IMPORT_SECONDS", "0.5")
    assert import_seconds() == 0.5
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("OMNITOK_IMPORT_SECONDS", wrong)
        with pytest.raises(ConfigError, match=f"OMNITOK_IMPORT_SECONDS='{wrong}': expected seconds"):
            ot.load_plugins()


# -- what is left behind


def test_the_working_folder_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with guarded(1):
        os.chdir("/")
    assert Path.cwd() == tmp_path


def test_warnings_stay_warnings() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error", BytesWarning)
        before = list(warnings.filters)
        with guarded(1):
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="mine")
        assert len(warnings.filters) == len(before) + 1  # what it ignores, it may
        with pytest.warns(UserWarning, match="yours"):
            warnings.warn("yours", stacklevel=1)
        warnings.warn("mine", stacklevel=1)


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), StopIteration(), StopAsyncIteration(), KeyboardInterrupt()])
def test_what_is_raised_comes_out_as_it_was(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, guarded(1):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise StopIteration('x')", "StopIteration: x"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("raise ImportError('\\n\\nmany\\n\\n lines\\n')", "ImportError: many lines"),
        ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", "fake_bad.Odd: <exception str() failed>"),
        ("raise MemoryError", "MemoryError"),
        ("import sys; sys.modules['fake_bad'] = None", "fake_bad"),
    ],
)
def test_every_failure_is_one_line_and_a_traceback(code: str, reason: str, installed: Install) -> None:
    installed("fake-bad", code)
    with pytest.raises(PluginError) as failure:
        ot.load_plugins().tokenizer("fake_bad")
    assert reason in str(failure.value)
    assert "\n" not in str(failure.value)
    last = Memory().last("fake_bad", "fake-bad", "1.0")
    assert last is not None
    assert last.traceback.startswith("Traceback")
