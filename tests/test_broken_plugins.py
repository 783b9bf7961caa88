"""Acceptance: broken plugins of every kind are installed at once, and no good plugin is lost and every command works.

`pytest -s -m slow tests/test_broken_plugins.py` prints how long each command took.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.distributions import PULSE, install, omnitok, pulse

pytestmark = pytest.mark.slow

HOOK = "from omnitok.hookspecs import hookimpl\n@hookimpl\ndef register_tokenizers(): "
HALF = "from omnitok.tokenizer import Tokenizer\nclass Half(Tokenizer, frozen=True): name = 'b_half'\n" + HOOK + "return [Half]"
SPOILS = "import os, sys, warnings\nos.chdir('/'); warnings.simplefilter('error'); sys.stdout = None\nraise OSError('spoilt')"

BROKEN: Mapping[str, tuple[str, str]] = {
    "b_raises": ("raise ImportError('needs a thing')", "ImportError: needs a thing"),
    "b_missing": ("import a_module_that_is_nowhere", "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"),
    "b_syntax": ("def broken(:", "SyntaxError: invalid syntax"),
    "b_exits": ("raise SystemExit(0)", "SystemExit: 0"),
    "b_ends": ("import os; os._exit(0)", "its import: its process ended with exit code 0 and left no report"),
    "b_crashes": ("import os; os.kill(os.getpid(), 11)", "its import: its process was killed by SIGSEGV and left no report"),
    "b_hangs": ("while True: pass", "the import took longer than 5 seconds (OMNITOK_IMPORT_SECONDS)"),
    "b_sleeps": (
        "import time\nwhile True:\n    try: time.sleep(9)\n    except Exception: pass",
        "the import took longer than 5 sec",
    ),
    "b_prints": ("import os; print('{'); os.system('echo noise'); raise ValueError('after it printed')", "after it printed"),
    "b_recursion": ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    "b_odd": ("class Odd(BaseException): pass\nraise Odd('odd')", "b_odd.Odd: odd"),
    "b_spoils": (SPOILS, "OSError: spoilt"),
    "b_no_hook": ("x = 1", "'b_no_hook' must be the name of one of its tokenizers, which are none"),
    "b_hook_raises": (HOOK + "raise OSError('no')", "OSError: no"),
    "b_wrong_class": (HOOK + "return [int]", "<class 'int'> is no Tokenizer class with a `name`"),
    "b_half": (HALF, "Half does not implement channels, encode, samples"),
    "b_wrong_name": (pulse("another"), "'b_wrong_name' must be the name of one of its tokenizers, which are another"),
}
"""name -> code and the reason that is remembered of it"""
GOOD = ("audio", "graph", "image", "text", "trajectory", "pulse", "loud")

RECIPE = """
[[tasks]]
name = "beat"
data = { name = "pulse/beats", count = 9 }
document = [{ text = "word" }, { pulse = "pulse" }]
objective = { next = { on = "pulse" } }

[model]
dim = 16
depth = 1
heads = 2

[train]
steps = 2
budget = 64
eval_samples = 4
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `site` with all of them, and what the commands work on."""
    folder = tmp_path_factory.mktemp("broken")
    site = folder / "site"
    site.mkdir()
    for name, (code, _) in BROKEN.items():
        entries = {name: name, f"{name}.{name}": name}
        install(
            site, f"fake-{name.replace('_', '-')}", code, entries, module=name, commands={name.replace("_", "-"): f"{name}:run"}
        )
    good = PULSE.read_text().replace('{"pulse": [', '{"word": "beat", "pulse": 4 * [')
    install(site, "fake-good", good, {"pulse": "fake_good", "pulse.beat": "fake_good"}, requires=["omnitok>=0.1,<0.2"])
    install(site, "fake-loud", pulse("loud", "print('I am loud')"), {"loud": "fake_loud"})
    install(site, "fake-new", "1 / 0", {"b_new": "fake_new", "b_new.new": "fake_new"}, requires=["omnitok>=99"])
    install(site, "fake-old", "1 / 0", {"b_old": "fake_old"}, requires=["omnitok<0.0.1"])
    install(site, "fake-unreadable", "1 / 0", {"b_unreadable": "fake_unreadable"}, requires=["omnitok>>1"])
    for one in ("one", "two"):
        install(site, f"fake-{one}", pulse("twice"), {"twice": f"fake_{one}"}, commands={"twice": f"fake_{one}:run"})
    install(site, "fake-nameless", "raise ImportError('nameless')", {"b_nameless": "fake_nameless"})
    (site / "fake_nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    install(site, "fake-points", "1 / 0", {"b_points": "fake_points"})
    (site / "fake_points-1.0.dist-info" / "entry_points.txt").write_text("[omnitok]\nno equals sign\n")
    install(site, "fake-command", "1 / 0", {}, commands={"--help": "fake_command:run", "b-nonsense": "no module at all"})
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "words.txt").write_text("hello")
    (folder / "a.beat").write_text("0.5 0.25")
    (folder / "my.py").write_text(PULSE.read_text().replace('"pulse', '"mine'))
    return folder


COMMANDS: list[tuple[list[str], str]] = [
    (["--help"], "Train a model from a recipe."),
    (["plugins"], "fake-b-raises"),
    (["plugins", "--json"], '"name": "pulse"'),
    (["plugins", "pulse"], "pulse/beats"),
    (["plugins", "loud", "--json"], '{\n  "name": "loud"'),
    (["tokenize", "words.txt", "a.beat"], "within bound"),
    (["tokenize", "a.beat", "--as", "mine", "--plugin", "my.py"], "within bound"),
    (["train", "recipe.toml", "--out", "{run}"], "2 steps"),
    (["eval", "{run}"], "step 2 of"),
    (["generate", "{run}", "--prompt", "beat", "--file", "pulse=a.beat", "--max-tokens", "3", "--json"], '"channel": "pulse"'),
    (["config", "show", "recipe.toml"], "num_bins = 64"),
    (["presets"], "gpt2"),
    (["presets", "gpt2"], "[[tasks]]"),
    (["demo"], "demo"),
    (["rl", "--help"], "collect"),
    (["check", "pulse", "--only", "registration"], "kept"),
    (["doctor"], "plugin 'b_new' of fake-new 1.0 asks for omnitok>=99"),
    (["new", "heart-rate"], "heart"),
    (["plugins", "disable", "b_raises"], "disabled: b_raises"),
    (["plugins", "enable", "b_raises"], "enabled: b_raises"),
]
FINDS_PROBLEMS = ("doctor",)
AGAIN = ("plugins", "tokenize", "train", "eval", "presets")
"""what imports plugins, or tells of their import, is run again when all of it is known"""


def say(place: Path, arguments: list[str], home: str, **environment: str) -> tuple[int, str, str, float]:
    """Exit code, stdout, stderr and seconds of a command."""
    begin = time.monotonic()
    words = [a.format(run=f"run-{home}") for a in arguments]
    environment = {"OMNITOK_HOME": str(place / home), "OMNITOK_IMPORT_SECONDS": "5", "COLUMNS": "400", **environment}
    done = omnitok(*words, site=place / "site", seconds=300, cwd=place, **environment)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - begin


def work(place: Path, home: str, commands: list[tuple[list[str], str]]) -> None:
    """Every command does its work and says nothing of what it does not need; the time of each is printed."""
    print()
    for arguments, part in commands:
        code, out, err, seconds = say(place, arguments, home)
        print(f"{seconds:6.1f} s  omnitok {' '.join(arguments)}")
        assert code == int(arguments[0] in FINDS_PROBLEMS), (arguments, out, err)
        assert part in out, (arguments, out, err)
        assert "Traceback" not in err, (arguments, err)
        if arguments[0] != "train":  # which shows how far it is
            assert err == ("I am loud\n" if "loud" in arguments else ""), (arguments, err)


def test_every_command_works_at_once(place: Path) -> None:
    work(place, "fresh", COMMANDS)


@pytest.fixture(scope="module")
def checked(place: Path) -> dict[str, dict[str, Any]]:
    """What `omnitok plugins --check` finds, by name; the state folder `checked` remembers it."""
    code, out, err, seconds = say(place, ["plugins", "--check", "--json"], "checked")
    print(f"\n{seconds:6.1f} s  omnitok plugins --check, {len(BROKEN)} plugins that break on import among them")
    assert (code, err) == (1, "")
    return {r["name"]: r for r in json.loads(out)}


def test_no_good_plugin_is_lost_and_every_broken_one_has_its_reason(checked: dict[str, dict[str, Any]]) -> None:
    assert {name: checked[name]["status"] for name in GOOD} == dict.fromkeys(GOOD, "ok")
    for name, (_, reason) in BROKEN.items():
        assert (name, checked[name]["status"]) == (name, "broken")
        assert reason in checked[name]["reason"], name
        assert f"`pip uninstall fake-{name.replace('_', '-')}`" in checked[name]["remedies"]
    assert [checked[name]["status"] for name in ("b_new", "b_old", "twice")] == ["too new", "too old", "duplicate"]
    assert "cannot be read" in checked["b_unreadable"]["reason"]
    assert "entry_points.txt cannot be read" in checked["fake-points"]["reason"]
    assert checked["b_nameless"]["reason"] == "ImportError: nameless"


def test_commands_work_when_all_is_known(place: Path, checked: dict[str, dict[str, Any]]) -> None:
    work(place, "checked", [c for c in COMMANDS if c[0][0] in AGAIN])
    assert checked


def test_who_asks_for_a_broken_one_is_told(place: Path, checked: dict[str, dict[str, Any]]) -> None:
    """All of them in one process: it outlives what is known to end it."""
    code = (
        "import sys, omnitok\nhost = omnitok.load_plugins()\n"
        "for name in sys.argv[1:]:\n"
        "    try: host.tokenizer(name)\n"
        "    except omnitok.OmnitokError as error: print(f'{name}: {error}')\n"
        "    else: print(f'{name}: fine')\n"
    )
    names = [*BROKEN, "b_new", "b_old", "b_unreadable", "twice", "b_nameless", "fake-points", *GOOD]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(place / "site"), *sys.path]),
        "OMNITOK_HOME": str(place / "checked"),
        "OMNITOK_IMPORT_SECONDS": "1",
    }
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, env=environment, timeout=300)
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert list(told) == names, done.stderr
    for name in BROKEN:
        assert told[name].startswith(f"plugin {name!r} of fake-{name.replace('_', '-')} 1.0 cannot be used: ")
    assert "asks for omnitok>=99; this is omnitok" in told["b_new"]
    assert "asks for omnitok<0.0.1; this is omnitok" in told["b_old"]
    assert "its requirement 'omnitok>>1' cannot be read" in told["b_unreadable"]
    assert "is provided by fake-one 1.0 and fake-two 1.0" in told["twice"]
    assert {told[name] for name in GOOD} == {"fine"}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("b-exits", "error: command 'b-exits' of fake-b-exits 1.0 cannot be used: SystemExit: 0"),
        ("b-prints", "error: command 'b-prints' of fake-b-prints 1.0 cannot be used: ValueError: after it printed"),
        ("b-hangs", "error: command 'b-hangs' of fake-b-hangs 1.0 cannot be used: the import took longer than 5 seconds"),
        ("b-no-hook", "error: command 'b-no-hook' of fake-b-no-hook 1.0 cannot be used: AttributeError: module 'b_no_hook'"),
        ("b-nonsense", "error: command 'b-nonsense' of fake-command 1.0 cannot be used: 'no module at all' is not MODULE:NAME"),
        ("twice", "error: command 'twice' is provided by fake-one 1.0 and fake-two 1.0; uninstall one of them"),
    ],
)
def test_a_broken_command_is_told_in_one_line(command: str, message: str, place: Path) -> None:
    code, out, err, _ = say(place, [command], "commands")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(message)
    assert command == "b-prints" or err.count("\n") == 1


def test_strict_names_them_all(place: Path, checked: dict[str, dict[str, Any]]) -> None:
    arguments = ["config", "show", "recipe.toml"]
    code, out, err, _ = say(place, arguments, "checked", OMNITOK_STRICT="1")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: OMNITOK_STRICT: ")
    for name in checked:
        assert (f"plugin {name!r}" in err) == (name not in GOOD)
    assert say(place, arguments, "checked", OMNITOK_STRICT="1", OMNITOK_PLUGINS="text,pulse")[0] == 0
