"""The plugin author's whole path in a clean environment: new, a patch, install, check, train beside text, generate, uninstall.

And the same without a package: one file, given with `--plugin`. Each step is timed; the report is printed (`pytest -s`).
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.clean import make_environment, run

pytestmark = pytest.mark.slow

PATCH = Path(__file__).parent / "accelerometer.patch"
MOST_LINES = 40
MOST_SECONDS = 60
"""For all steps but installation: of processor time, which is the time that passes where nothing else runs."""


class Steps:
    """Commands of one environment in one folder, with the seconds that each took."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder, self.seconds = python, folder, dict[str, tuple[float, float]]()

    def __call__(self, step: str, *command: object, code: int = 0, cwd: Path | None = None) -> str:
        begin, before = time.monotonic(), _processor()
        out = run(self.python, "-m", *command, cwd=cwd or self.folder, code=code, OMP_NUM_THREADS="1")
        self.seconds[step] = time.monotonic() - begin, _processor() - before
        return out

    def report(self) -> float:
        """Print the seconds of each step; give the processor seconds of all but installing."""
        rest = [times for step, times in self.seconds.items() if "install" not in step]
        total = {"all but installing": (sum(wall for wall, _ in rest), sum(used for _, used in rest))}
        print(f"\n{'step':24} {'passed':>8} {'processor':>12}")
        for step, (wall, used) in {**self.seconds, **total}.items():
            print(f"{step:24} {wall:6.1f} s {used:10.1f} s")
        return total["all but installing"][1]


def _processor() -> float:
    """Seconds of processor time that the processes started here have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def python(omnitok_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("author") / "venv", omnitok_wheel)


def record_motion(folder: Path) -> Path:
    """Recordings of two kinds, as a logger writes them; gives one of them."""
    generator = np.random.default_rng(0)
    for kind, swing in (("at rest", 0.01), ("walking", 0.6)):
        (folder / kind).mkdir(parents=True)
        for i in range(8):
            t = np.arange(20) / 10
            still = np.stack([0 * t, 0 * t, 1 + swing * np.sin(2 * np.pi * 1.8 * t)], 1)
            rows = still + generator.normal(0, 0.02, still.shape)
            lines = [f"{s:.2f},{x:.3f},{y:.3f},{z:.3f}" for s, (x, y, z) in zip(t, rows, strict=True)]
            (folder / kind / f"{i}.acc").write_text("\n".join(["t,x,y,z", *lines]) + "\n")
    return folder / "walking" / "0.acc"


def recipe_of(readme: Path) -> str:
    """The recipe that a generated README shows."""
    (recipe,) = re.findall(r"```toml\n(.*?)```", readme.read_text(), re.DOTALL)
    return recipe


def edit(package: Path) -> None:
    """What the author writes: real code for a real sensor, counted."""
    written = [line for line in PATCH.read_text().splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(written) <= MOST_LINES
    subprocess.run(["git", "apply", "--unidiff-zero", "-p1", PATCH.resolve()], cwd=package, check=True, timeout=60)
    assert all(line[1:] in package_text(package) for line in written)


def package_text(package: Path) -> str:
    return "\n".join(p.read_text() for p in package.rglob("*") if p.suffix in (".py", ".toml"))


def test_a_new_modality_from_nothing_to_generation_and_away(python: Path, tmp_path: Path) -> None:
    do = Steps(python, tmp_path)
    one = record_motion(tmp_path / "recordings")
    package = tmp_path / "omnitok-accelerometer"

    do("new", "omnitok", "new", "accelerometer")
    edit(package)
    do("install", "pip", "install", "--quiet", "-e", f"{package}[test]")
    try:
        use(do, package, one)
    finally:
        do("uninstall", "pip", "uninstall", "--quiet", "--yes", "omnitok-accelerometer")
    assert "accelerometer" not in do("plugins again", "omnitok", "plugins")
    do("others go on", "omnitok", "tokenize", "--as", "text", "still here")
    told = json.loads(do("doctor", "omnitok", "doctor", "--json", "--timeout", "60"))
    assert {"torch", "torchaudio", "sound", "plugins"} <= {f["id"] for f in told["findings"] if f["level"] == "ok"}
    do("a run without it", "omnitok", "eval", "run", code=2)
    assert do.report() < MOST_SECONDS


def use(do: Steps, package: Path, one: Path) -> None:
    """All that an installed plugin is for."""
    assert "accelerometer" in do("plugins", "omnitok", "plugins")
    do("its own tests", "pytest", "-q", cwd=package)
    do("check", "omnitok", "check", "accelerometer")

    tokens = json.loads(do("tokenize", "omnitok", "tokenize", one, "--json"))
    assert (tokens["tokenizer"], tokens["count"], tokens["round_trip"]["verdict"]) == ("accelerometer", 20, "exact")

    (do.folder / "recipe.toml").write_text(recipe_of(package / "README.md"))
    trained = do("train", "omnitok", "train", "recipe.toml", "--out", "run", "--set", "train.steps=2")
    assert "2 steps" in trained
    scored = do("eval", "omnitok", "eval", "run")
    assert "describe" in scored
    assert "make" in scored
    few = ("--max-tokens", "5", "--json", "--channel")
    made = json.loads(do("generate readings", "omnitok", "generate", "run", "--prompt", "at rest", *few, "accelerometer"))
    assert made["tokens"] == 5
    assert made["answer"].startswith("array([[")
    given = ("--file", f"accelerometer={one}")
    assert json.loads(do("generate words", "omnitok", "generate", "run", *given, *few, "text"))["channel"] == "text"


def test_the_same_in_one_file_without_a_package(python: Path, tmp_path: Path) -> None:
    do = Steps(python, tmp_path)
    one = record_motion(tmp_path / "recordings")
    do("new", "omnitok", "new", "accelerometer")
    package = tmp_path / "omnitok-accelerometer"
    edit(package)
    (tmp_path / "recipe.toml").write_text(recipe_of(package / "README.md"))
    mine = (package / "omnitok_accelerometer.py").rename(tmp_path / "mine.py")
    package.rename(tmp_path / "put-away")
    plugin = ("--plugin", "./mine.py")

    tokens = json.loads(do("tokenize", "omnitok", "tokenize", *plugin, one, "--json"))
    assert (tokens["tokenizer"], tokens["round_trip"]["verdict"]) == ("accelerometer", "exact")
    do("train", "omnitok", "train", "recipe.toml", *plugin, "--out", "run", "--set", "train.steps=2")
    assert "describe" in do("eval", "omnitok", "eval", "run", *plugin)
    assert "failed" not in do("check", "omnitok", "check", *plugin, "accelerometer")
    given = ("--prompt", "walking", "--channel", "accelerometer", "--max-tokens", "5", "--json")
    assert json.loads(do("generate", "omnitok", "generate", "run", *plugin, *given))["tokens"] == 5

    do("new --from", "omnitok", "new", "accelerometer", "--from", mine)
    assert (package / "omnitok_accelerometer.py").read_bytes() == mine.read_bytes()
    do("install", "pip", "install", "--quiet", "-e", f"{package}[test]")
    try:
        do("its own tests", "pytest", "-q", cwd=package)
        tokens = json.loads(do("tokenize again", "omnitok", "tokenize", one, "--json"))
        assert (tokens["tokenizer"], tokens["count"]) == ("accelerometer", 20)
    finally:
        do("uninstall", "pip", "uninstall", "--quiet", "--yes", "omnitok-accelerometer")
    assert do.report() < MOST_SECONDS


def test_a_package_that_nobody_edited_passes_its_own_tests(python: Path, tmp_path: Path) -> None:
    do = Steps(python, tmp_path)
    do("new", "omnitok", "new", "Heart_Rate")
    package = tmp_path / "omnitok-heart-rate"
    do("install", "pip", "install", "--quiet", "-e", f"{package}[test]")
    try:
        do("its own tests", "pytest", "-q", cwd=package)
        (report,) = json.loads(do("check", "omnitok", "check", "heart-rate", "--json"))
        assert {check["result"] for check in report["checks"]} == {"ok", "skipped"}
        assert {"version", "api-range", "suffixes", "generates"} <= {c["id"] for c in report["checks"] if c["result"] == "ok"}
    finally:
        do("uninstall", "pip", "uninstall", "--quiet", "--yes", "omnitok-heart-rate")
    do.report()
