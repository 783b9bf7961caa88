"""The command line as people use it: what it prints, how it fails, how long it takes to say hello."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from omnitok import cli

PULSE = Path(__file__).parent / "pulse.py"
START = 0.5  # seconds, promised for --help and the list of plugins


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of this test's own."""
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))


def omnitok(*arguments: object, **kwargs: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "omnitok", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **kwargs)  # type: ignore[call-overload]


def here(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command run in this process."""
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def png(path: Path, width: int = 40, height: int = 20) -> Path:
    """A picture without a picture library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(3 * width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


# -- start


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["plugins", "--json"], ["demo"], ["--version"], ["nonsense"]])
def test_saying_what_there_is_imports_neither_torch_nor_plugins(arguments: list[str]) -> None:
    code = (
        "import sys; from omnitok.cli import run; run(sys.argv[1:]); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'matplotlib') or m.startswith('omnitok_')])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"]])
def test_start_is_quick(arguments: list[str]) -> None:
    took = []
    for _ in range(5):
        begin = os.times()
        assert omnitok(*arguments).returncode == 0
        end = os.times()
        took.append(end.children_user + end.children_system - begin.children_user - begin.children_system)
        if took[-1] < START:
            break
    assert min(took) < START  # processor time: other work on the machine does not count


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = here(capsys, "--help")
    assert code == 0
    words = " ".join(out.replace("│", " ").split())
    for name, (_, meaning) in cli.COMMANDS.items():
        assert f"{name} {meaning}" in words


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = here(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert "omnitok" in out


# -- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokenise"], "error: unknown command 'tokenise'; did you mean 'tokenize'?"),
        (["--nonsense"], "error: unknown command '--nonsense'"),
        (["plugins", "--jsn"], "error: Unknown option: --jsn"),
        (["plugins", "imge"], "error: unknown plugin 'imge'; did you mean 'image'?"),
        (["plugins", "--set", "a=1"], "error: --set configures one plugin: give its name"),
        (["plugins", "--plugin", "nowhere.py"], "error: plugin file nowhere.py does not exist"),
        (["tokenize"], "error: name the files to tokenize, or give words with --as NAME"),
        (
            ["tokenize", "--as", "text", "x", "--set", "vocab_sise=3"],
            "error: unknown field 'vocab_sise' of tokenizer 'text'; did you",
        ),
        (["tokenize", "--as", "text", "x", "--set", "vocab_size"], "error: --set 'vocab_size': expected KEY=VALUE"),
        (
            ["tokenize", "--as", "text", "x", "--set", "ids=3", "--set", "ids.more=1"],
            "error: --set 'ids.more=1': 'ids' has a value already, and is no table",
        ),
        (["demo", "nothing-like-it"], "error: unknown demo 'nothing-like-it'"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = here(capsys, *arguments)
    assert (code, out) == (cli.MISUSED, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_shows_the_traceback(how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "variable":
        monkeypatch.setenv("OMNITOK_DEBUG", "1")
    code, _, err = here(capsys, "plugins", "imge", *(["--debug"] if how == "option" else []))
    assert code == cli.MISUSED
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: unknown plugin 'imge'")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "omnitok", "plugins", "--plugin", str(tmp_path / "slow.py")]

    def listen() -> None:  # a job in the background starts its children deaf to interrupts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=listen) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "here\n"  # where a plugin's words go while it is imported
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (cli.INTERRUPTED, "", "stopped\n")


@pytest.mark.skipif(os.name != "posix", reason="shell")
def test_a_closed_pipe_is_quiet() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = f"{sys.executable} -m omnitok plugins --json | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr == ""


def test_a_broken_command_of_a_plugin_is_one_line(tmp_path: Path) -> None:
    info = tmp_path / "fake_commands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-commands\nVersion: 1.0\n")
    points = "ours = fake_commands:run\nlost = fake_nowhere:run\nplugins = fake_commands:run\n"
    (info / "entry_points.txt").write_text(f"[omnitok.commands]\n{points}")
    (tmp_path / "fake_commands.py").write_text("def run(word: str = 'x'):\n    print('ran', word)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    def say(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "omnitok", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    assert "From the plugin fake_commands." in say("--help").stdout
    assert say("ours", "--word", "hello").stdout == "ran hello\n"
    assert "distribution" in say("plugins").stdout  # ours is not replaced
    lost = say("lost")
    assert lost.returncode == cli.MISUSED
    reason = "ModuleNotFoundError: No module named 'fake_nowhere'"
    assert lost.stderr == f"error: command 'lost' of fake-commands 1.0 cannot be used: {reason}\n"


# -- plugins


def test_plugins_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = here(capsys, "plugins", "--json", "--plugin", PULSE)
    records = {r["name"]: r for r in json.loads(out)}
    assert code == 0
    assert {"text", "pulse"} <= records.keys()
    assert records["text"].keys() >= {"name", "distribution", "version", "status", "suffixes"}
    assert (records["text"]["distribution"], records["text"]["status"]) == ("omnitok", "not imported")
    assert records["pulse"]["version"].startswith("sha256:")


def test_a_plugin_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = here(capsys, "plugins", "pulse", "--plugin", PULSE, "--set", "num_bins=99")
    assert code == 0
    for part in (
        "Samples in [-1, 1]",
        "within 0.01587",
        "ids below 99",
        "beat (learned, 100)",
        "number of levels",
        "pulse/beats",
    ):
        assert part in out
    facts = json.loads(here(capsys, "plugins", "pulse", "--plugin", PULSE, "--json")[1])
    assert {"name": "num_bins", "type": "int", "default": "64", "meaning": "number of levels"} in facts["fields"]


@pytest.mark.parametrize("name", ["text", "image", "audio", "trajectory", "graph"])
def test_every_field_of_a_built_in_plugin_has_a_meaning(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(here(capsys, "plugins", name, "--json")[1])
    assert facts["channels"]
    assert facts["fields"]
    assert all(field["meaning"] for field in facts["fields"])


def test_a_broken_plugin_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("1 / 0")
    code, out, err = here(capsys, "plugins", "mine", "--plugin", tmp_path / "mine.py")
    assert (code, err) == (1, "")
    assert out.startswith("Traceback")
    assert out.endswith(f"ZeroDivisionError: division by zero\n\nmine: mend {tmp_path / 'mine.py'}\n")


# -- tokenize


def test_words(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = here(capsys, "tokenize", "--as", "text", "hello", "--json")
    result = json.loads(out)
    assert (code, err, result["count"]) == (0, "", 5)
    assert result["spans"][0]["ids"] == list(b"hello")
    assert result["round_trip"]["verdict"] == "exact"


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.beat").write_text("0.5 0.25")
    png(tmp_path / "a.png")
    code, out, err = here(capsys, "tokenize", tmp_path / "a.txt", tmp_path / "a.png", "--json", "--set", "max_bytes=100")
    assert (code, err) == (cli.MISUSED, "error: unknown field 'max_bytes' of tokenizer 'image'; did you mean 'max_pixels'?\n")
    code, out, err = here(capsys, "tokenize", tmp_path / "a.txt", tmp_path / "a.png", "--json")
    first, second = map(json.loads, out.splitlines())
    assert (code, err) == (0, "")
    assert (first["tokenizer"], first["count"]) == ("text", 5)
    assert (second["tokenizer"], second["count"], second["round_trip"]["verdict"]) == ("image", 6, "exact")
    assert second["spans"][0]["axes"] == {"h": {"min": 0, "max": 1}, "w": {"min": 0, "max": 2}}
    code, out, _ = here(capsys, "tokenize", tmp_path / "a.beat", "--as", "pulse", "--plugin", PULSE)
    assert code == 0
    assert "within bound" in out
    assert "beat 0..1" in out


def test_a_bad_file_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (tmp_path / "what.xyz").write_text("")
    good = tmp_path / "good.txt"
    good.write_text("fine")
    names = ("bad.txt", "bad.png", "what.xyz", "nothing.txt")
    code, out, err = here(capsys, "tokenize", *(tmp_path / n for n in names), good)
    assert code == cli.FAILED
    assert "good.txt" in out
    lines = err.splitlines()
    assert len(lines) == len(names)
    for line, name in zip(lines, names, strict=True):
        assert line.startswith("error: ")
        assert str(tmp_path / name) in line


def test_whatever_a_plugin_raises_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = PULSE.read_text().replace("return [float(word)", "raise RecursionError('deep\\n\\x1bwater'); return [float(word)")
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "a.beat").write_text("0.5")
    code, out, err = here(capsys, "tokenize", tmp_path / "a.beat", "--as", "pulse", "--plugin", tmp_path / "mine.py")
    assert (code, out) == (cli.FAILED, "")
    assert err == f"error: {tmp_path / 'a.beat'}: RecursionError: deep ?water\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.txt", "--as", "text"], "error: missing.txt: no such file"),
        (["words", "--as", "image"], "error: words: no such file, and tokenizer 'image' takes files, not words"),
        (["words"], "error: words: no such file"),
    ],
)
def test_a_missing_file_is_never_taken_for_words(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert here(capsys, "tokenize", *arguments) == (cli.FAILED, "", message + "\n")


def test_a_failed_round_trip_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(PULSE.read_text().replace("Bounded(1 / 63)", "Bounded(1e-9)"))
    (tmp_path / "a.beat").write_text("0.51")
    code, out, _ = here(capsys, "tokenize", tmp_path / "a.beat", "--as", "pulse", "--plugin", tmp_path / "mine.py", "--json")
    assert code == cli.FAILED
    assert json.loads(out)["round_trip"]["verdict"] == "failed"


# -- pictures


def test_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("héllo\n日本\t$x^2$\x07" * 3)
    (tmp_path / "a.beat").write_text("0.5 0.25")
    cases = [["a.txt"], [png(tmp_path / "a.png").name], ["a.beat", "--as", "pulse", "--plugin", PULSE]]
    for source, *rest in cases:
        out = tmp_path / f"{source}.drawn.png"
        assert here(capsys, "tokenize", tmp_path / str(source), *rest, "--picture", out)[0] == 0
        assert out.read_bytes().startswith(b"\x89PNG")
        assert out.stat().st_size > 2000
    code, _, _ = here(capsys, "tokenize", tmp_path / "a.txt", tmp_path / "a.png", "--picture", tmp_path / "both.svg")
    assert code == 0
    assert {p.name for p in tmp_path.glob("both*")} == {"both-1.svg", "both-2.svg"}


def test_a_picture_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.nothing", "no/folder/a.png"):
        code, _, err = here(capsys, "tokenize", "--as", "text", "hello", "--picture", tmp_path / name)
        assert code == cli.FAILED
        assert f"{tmp_path / name}: cannot be written" in err


def test_every_kind_of_picture_is_drawn(tmp_path: Path) -> None:
    import numpy as np

    from omnitok.commands.picture import DRAWN, KINDS, draw_picture
    from omnitok.errors import InputError
    from omnitok.tokenizer import Picture

    ring = [(np.cos(k), np.sin(k)) for k in range(6)]
    pictures = [
        Picture("text", "h\n" * 160, [(k, k + 1) for k in range(320)]),
        Picture("text", "", []),
        Picture("image", np.zeros((50, 60, 3), np.uint8), [(0, 0, 10, 10)] * (DRAWN + 5)),
        Picture("image", np.random.default_rng(0).random((20, 300)), [(0, 0, 4, 20)]),
        Picture("strip", [["a"] * 90, ["b"] * 90], [(r, c) for c in range(90) for r in range(2)]),
        Picture("strip", [], []),
        Picture("network", {"nodes": ring, "edges": [(0, 1), (2, 2)]}, [0, 1, 2, (0, 1), (2, 2)]),
        Picture("network", {"nodes": [], "edges": []}, []),
    ]
    assert {p.kind for p in pictures} == KINDS.keys()
    for k, picture in enumerate(pictures):
        draw_picture(picture, tmp_path / f"{k}.png")
        assert (tmp_path / f"{k}.png").stat().st_size > 500
    with pytest.raises(InputError, match="unknown kind of picture 'strp'; did you mean 'strip'"):
        draw_picture(Picture("strp", [], []), tmp_path / "x.png")  # type: ignore[arg-type]


# -- demos


def test_demos_run_as_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from omnitok.commands import demo

    script = '"""Says what it was\ntold.\n\nMore."""\nimport sys, beside\n'
    script += "if __name__ == '__main__':\n    print(beside.WORD, sys.argv[1:])\n"
    (tmp_path / "say_it.py").write_text(script)
    (tmp_path / "beside.py").write_text("WORD = 'told'\n")
    monkeypatch.setattr(demo, "folder", lambda: tmp_path)
    before = sys.argv, list(sys.path)
    assert here(capsys, "demo", "say-it", "--steps", "2", "--help") == (0, "told ['--steps', '2', '--help']\n", "")
    assert (sys.argv, sys.path) == before
    code, out, _ = here(capsys, "demo")
    assert code == 0
    assert "Says what it was told." in out
    (tmp_path / "fail.py").write_text('"""Fails."""\nfrom omnitok.errors import InputError\nraise InputError("no data")\n')
    assert here(capsys, "demo", "fail") == (cli.MISUSED, "", "error: no data\n")
