"""`omnitok new`: names, what is written, that it is written whole or not at all, and one-file plugins as packages."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import omnitok as ot
from omnitok import cli
from omnitok.commands import new, package
from omnitok.errors import ConfigError, InputError, PluginError

ROOT = Path(__file__).parents[1]
PATCH = ROOT / "tests" / "accelerometer.patch"
TWO = """
from omnitok import Channel, Exact, Span, Tokenizer, TokenSequence, hookimpl

class Left(Tokenizer, frozen=True):
    '''The left one.'''
    name = "left"
    suffixes = (".left", ".LFT")
    def channels(self): return {self.channel("part"): Channel(vocab=2)}
    def encode(self, raw): return TokenSequence(())
    def samples(self, seed=0): return [[]]

class Right(Tokenizer, frozen=True):
    name = "right_hand"
    size: int
    def channels(self): return {}
    def encode(self, raw): ...
    def samples(self, seed=0): return []

@hookimpl
def register_tokenizers(): return [Left, Right]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One-file plugins are read here, where torch is imported already; three tests leave that to its own process."""
    monkeypatch.setattr(new, "run_in_child", lambda module, task, seconds: new.describe(task))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.run(["new", *map(str, arguments)]) == 2
    return capsys.readouterr().err


# -- names


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("pulse", "pulse"),
        ("Heart-Rate", "heart-rate"),
        ("heart_rate", "heart-rate"),
        ("omnitok-pulse", "pulse"),
        ("x9--y", "x9-y"),
    ],
)
def test_names_are_made_as_packages_are_named(given: str, name: str) -> None:
    assert new.normal(given) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pul se", "letters, digits, '-' and '_'"),
        ("../up", "letters, digits, '-' and '_'"),
        ("puls\u00e9", "letters, digits, '-' and '_'"),
        ("", "letters, digits, '-' and '_'"),
        ("9pulse", "begin with a letter"),
        ("pulse-", "end with a letter"),
        ("omnitok-", "begin with a letter"),
        ("class", "keyword of Python"),
        ("match", "keyword of Python"),
        ("json", "standard library"),
        ("p" * 51, "50 are the most"),
        ("text", "taken by omnitok"),
        ("Audio", "taken by omnitok"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_reason(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert reason in refused(capsys, "--", name) if name.startswith("-") else reason in refused(capsys, name)
    assert not list(here.iterdir())


def test_a_module_of_that_name_that_is_there_already_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "site").mkdir()
    (here / "site" / "omnitok_pulse.py").write_text("")
    monkeypatch.syspath_prepend(str(here / "site"))
    assert "a module omnitok_pulse is installed already" in refused(capsys, "pulse")
    assert not (here / "omnitok-pulse").exists()


# -- whole or not at all


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
def test_what_exists_is_left_as_it_is(here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    place = here / "omnitok-pulse"
    if kind == "file":
        place.write_text("mine")
    elif kind == "dangling link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
        if kind == "folder":
            (place / "notes.txt").write_text("mine")
    before = snapshot(here)
    assert "omnitok-pulse exists already" in refused(capsys, "pulse")
    assert snapshot(here) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in sorted(folder.rglob("*"))}


def test_a_disk_that_takes_no_more_leaves_nothing(here: Path) -> None:
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from omnitok import cli; sys.exit(cli.run(['new', 'pulse']))"

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # pyproject.toml fits, the plugin does not

    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=here, capture_output=True, text=True, timeout=60, preexec_fn=small_files
    )
    assert done.returncode == 2
    assert done.stderr == "error: omnitok-pulse cannot be written: File too large\n"
    assert not list(here.iterdir())


@pytest.mark.parametrize("at", range(4))
def test_a_failure_at_any_file_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    kept, calls = Path.write_bytes, []

    def write(path: Path, data: bytes) -> int:
        calls.append(path)
        if len(calls) == at + 1:
            raise KeyboardInterrupt if at % 2 else OSError(28, "No space left on device")
        return kept(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    assert cli.run(["new", "pulse"]) == (130 if at % 2 else 2)
    assert len(calls) == at + 1
    assert not list(here.iterdir())


# -- what is written


def test_the_package_says_what_omnitok_and_python_it_was_written_for(here: Path) -> None:
    assert cli.run(["new", "Heart_Rate"]) == 0
    package = here / "omnitok-heart-rate"
    files = {str(p.relative_to(package)) for p in package.rglob("*") if p.is_file()}
    assert files == {"pyproject.toml", "omnitok_heart_rate.py", "tests/test_heart_rate.py", "README.md"}
    facts = tomllib.loads((package / "pyproject.toml").read_text())
    project, version = facts["project"], [int(n) for n in ot.__version__.split(".")[:2]]
    assert (project["name"], project["version"]) == ("omnitok-heart-rate", "0.1.0")
    assert project["requires-python"] == metadata.metadata("omnitok")["Requires-Python"]
    assert project["dependencies"] == [f"omnitok>={version[0]}.{version[1]},<{version[0]}.{version[1] + 1}"]
    assert project["entry-points"]["omnitok"] == {"heart-rate": "omnitok_heart_rate"}
    assert project["entry-points"]["omnitok.suffixes"] == {"heart-rate.heart-rate": "omnitok_heart_rate"}
    assert project["optional-dependencies"] == {"test": ["pytest"]}
    assert "license" not in project
    for path in package.rglob("*"):
        assert path.is_dir() or "$" not in path.read_text(), f"{path} has a gap that nothing filled"
    assert package.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(("version", "range_"), [("0.1.0", ">=0.1,<0.2"), ("1.12.3", ">=1.12,<1.13"), ("2.0.0rc1", ">=2.0,<2.1")])
def test_the_api_range_is_one_minor_version(version: str, range_: str) -> None:
    assert package.requirement(version) == f"omnitok{range_}"


def test_the_example_reads_what_it_says_and_refuses_the_rest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["new", "pulse"]) == 0
    plugin = here / "omnitok-pulse" / "omnitok_pulse.py"
    (here / "good.pulse").write_text("-1\n0.5\n1\n")
    assert cli.run(["tokenize", "--plugin", str(plugin), "good.pulse"]) == 0
    assert "within bound" in capsys.readouterr().out
    for name, data, reason in (
        ("words", b"one\ntwo\n", "not one number per line"),
        ("bytes", b"\xff\xfe\x00", "not one number per line"),
        ("nan", b"nan\n", "does not lie in [-1, 1]"),
        ("much", b"7\n", "does not lie in [-1, 1]"),
    ):
        (here / f"{name}.pulse").write_bytes(data)
        assert cli.run(["tokenize", "--plugin", str(plugin), f"{name}.pulse"]) == 1
        assert reason in capsys.readouterr().err
    assert cli.run(["tokenize", "--plugin", str(plugin), "good.pulse", "--set", "max_bytes=2"]) == 1
    assert "max_bytes" in capsys.readouterr().err


@pytest.mark.slow
def test_the_example_keeps_the_contract_as_it_is_and_when_it_is_edited(here: Path) -> None:
    assert cli.run(["new", "accelerometer"]) == 0
    package = here / "omnitok-accelerometer"
    plugin = package / "omnitok_accelerometer.py"
    assert cli.run(["check", "--plugin", str(plugin), "accelerometer"]) == 0
    edit(package)
    assert "width=(3,)" in plugin.read_text()
    assert cli.run(["check", "--plugin", str(plugin), "accelerometer"]) == 0


def edit(package: Path) -> None:
    subprocess.run(["git", "apply", "--unidiff-zero", "-p1", PATCH], cwd=package, check=True, timeout=60)


def test_a_real_sensor_is_at_most_40_lines_away(here: Path) -> None:
    written = [line[1:] for line in PATCH.read_text().splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(written) <= 40
    assert cli.run(["new", "accelerometer"]) == 0
    package = here / "omnitok-accelerometer"
    edit(package)
    now = {line for p in package.rglob("*") if p.is_file() for line in p.read_text().splitlines()}
    assert set(written) <= now
    tokenizer = ot.load_plugins(only=[], files=[package / "omnitok_accelerometer.py"]).tokenizer("accelerometer")
    (here / "one.acc").write_text("t,x,y,z\n0.0,0.5,-0.25,1\n0.1,0,0,1\n")
    raw = tokenizer.read(here / "one.acc")
    assert raw.tolist() == [[0.5, -0.25, 1], [0, 0, 1]]
    assert (tokenizer.decode(tokenizer.encode(raw)) == raw).all()


def test_every_method_of_the_example_teaches_something(here: Path) -> None:
    assert cli.run(["new", "pulse"]) == 0
    tree = ast.parse((here / "omnitok-pulse" / "omnitok_pulse.py").read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    assert {"channels", "read", "encode", "decode", "place", "samples", "register_tokenizers"} == {f.name for f in functions}
    assert all(ast.get_docstring(f) for f in functions)


# -- one-file plugins


def test_a_file_goes_in_byte_for_byte_with_an_entry_for_each_of_its_tokenizers(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = TWO.replace("\n", "\r\n").encode() + b"# \xc3\xa9"  # as an editor on another system left it
    (here / "mine.py").write_bytes(code)
    assert cli.run(["new", "Right-Hand", "--from", "mine.py"]) == 0
    assert "omnitok check right_hand" in capsys.readouterr().out
    package = here / "omnitok-right-hand"
    assert (package / "omnitok_right_hand.py").read_bytes() == code
    points = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points["omnitok"] == {"left": "omnitok_right_hand", "right_hand": "omnitok_right_hand"}
    assert points["omnitok.suffixes"] == {"left.left": "omnitok_right_hand", "left.lft": "omnitok_right_hand"}
    test = (package / "tests" / "test_right_hand.py").read_text()
    assert '@parametrize_with_checks(["left"])' in test  # the other cannot be made without its size
    assert "say size" in (package / "README.md").read_text()


def test_readme_fits_what_the_plugin_has(here: Path, in_process: None) -> None:
    (here / "two.py").write_text(TWO)
    assert cli.run(["new", "left", "--from", "two.py"]) == 0
    readme = (here / "omnitok-left" / "README.md").read_text()
    assert 'on = "left/part"' in readme
    assert "--file left=FILE.left --channel text" in readme
    assert '--prompt "at rest"' not in readme  # it does not say where generated tokens go
    assert cli.run(["new", "pulse", "--from", str(ROOT / "tests" / "pulse.py")]) == 0
    readme = (here / "omnitok-pulse" / "README.md").read_text()
    assert 'data = { name = "pulse/beats" }' in readme  # it reads no files, and has a dataset
    assert 'document = [{ pulse = "pulse" }]' in readme


def test_the_name_must_be_one_of_the_files(here: Path, in_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "two.py").write_text(TWO)
    error = refused(capsys, "middle", "--from", "two.py")
    assert "no tokenizer 'middle'; `omnitok new left --from two.py` or `omnitok new right_hand --from two.py`" in error
    assert not (here / "omnitok-middle").exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('needs a thing')", "ImportError: needs a thing"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "tokenizers"),
        (TWO.replace('"left"', '"Left one"'), "use lower-case letters"),
        (TWO.replace('(".left", ".LFT")', '("left",)'), "suffixes must be a tuple such as"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_nothing_is_written(
    here: Path, in_process: None, capsys: pytest.CaptureFixture[str], code: str, reason: str
) -> None:
    (here / "bad.py").write_text(code)
    assert reason in refused(capsys, "left", "--from", "bad.py")
    assert [p.name for p in here.iterdir()] == ["bad.py"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [("import os; os._exit(7)", "exit code 7"), ("import time; time.sleep(60)", "no answer within 5 seconds")],
)
def test_a_file_that_ends_or_holds_its_process_harms_no_other(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.setattr(new, "SECONDS", 60.0 if "exit" in code else 5.0)
    (here / "bad.py").write_text(code)
    assert reason in refused(capsys, "left", "--from", "bad.py")
    assert [p.name for p in here.iterdir()] == ["bad.py"]


def test_no_file_no_package(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in refused(capsys, "left", "--from", "nowhere.py")


# -- suffixes


def test_a_file_plugin_claims_its_suffixes(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    (tmp_path / "x.LFT").write_text("")
    host = ot.load_plugins(files=[tmp_path / "two.py"])
    assert host.for_file(tmp_path / "x.LFT").name == "left"
    assert {r.name: r.suffixes for r in host.status() if r.is_file} == {"left": (".left", ".lft"), "right_hand": ()}


def test_a_file_plugin_that_is_broken_is_told_where_nobody_claims_a_file(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text("raise ImportError('no sensor library')")
    (tmp_path / "x.left").write_text("")
    host = ot.load_plugins(files=[tmp_path / "two.py"])
    with pytest.raises(
        InputError, match=r"no plugin claims \.left; .*; .*two\.py cannot be used: ImportError: no sensor library"
    ):
        host.for_file(tmp_path / "x.left")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    info = folder / "fake_left-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "fake_left.py").write_text(textwrap.dedent(TWO))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-left\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("fake_left", None)


@pytest.mark.parametrize(
    ("said", "agree"), [(("left", "lft"), True), (("left",), False), ((), False), (("left", "lft", "x"), False)]
)
def test_the_class_and_the_entry_points_say_the_same_suffixes(site: Path, said: tuple[str, ...], agree: bool) -> None:
    lines = "\n".join(f"left.{s} = fake_left" for s in said)
    (site / "fake_left-1.0.dist-info" / "entry_points.txt").write_text(
        f"[omnitok]\nleft = fake_left\n[omnitok.suffixes]\n{lines}\n"
    )
    host = ot.load_plugins()
    if agree:
        assert host.tokenizer("left").name == "left"
    else:
        with pytest.raises(PluginError, match=r"has the suffixes \.left \.lft, and the entry points .* of fake-left say"):
            host.tokenizer("left")


def test_names_and_files_are_checked_before_anything_is_run(here: Path) -> None:
    (here / "loud.py").write_text("open('ran', 'w')")
    with pytest.raises(ConfigError, match="keyword"):
        new.new("class", from_=Path("loud.py"))
    assert not (here / "ran").exists()
