"""`omnitok doctor`: every message it can give, by a fault that is really there, each with its next step; and its reports."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import omnitok as ot
import omnitok.doctor
from omnitok import cli
from omnitok.doctor import Complaint, Finding, accelerator, libraries, machine, report, surroundings
from omnitok.errors import OmnitokError

ROOT = Path(__file__).parents[1]
SECONDS = 60.0
"""for processes that import torch where other things run"""


class Stage:
    """A place for faults: a folder in front of the installed packages, an empty working folder, a state folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.site, self.here, self.patch = folder / "site", folder / "here", patch
        self.site.mkdir()
        self.here.mkdir()
        patch.syspath_prepend(str(self.site))
        patch.chdir(self.here)
        patch.setenv("OMNITOK_HOME", str(folder / "state"))
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMNITOK_PLUGINS", "CUDA_VISIBLE_DEVICES"):
            patch.delenv(name, raising=False)

    def module(self, name: str, code: str) -> None:
        (self.site / f"{name}.py").write_text(code)

    def dist(self, name: str, version: str = "1.0", metadata: str = "", entry_points: str = "") -> None:
        """A distribution as an installer leaves it."""
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\n")
        (info / "entry_points.txt").write_text(entry_points)

    def plugin(self, name: str, code: str = "", requires: str = "", version: str = "1.0") -> None:
        """A distribution of a plugin that has this name."""
        module = name.replace("-", "_")
        self.module(module, code)
        self.dist(name, version, f"Requires-Dist: {requires}" if requires else "", f"[omnitok]\npulse = {module}\n")

    def torch(self, code: str = "", cuda: str | None = "13.0", available: bool = False) -> None:
        """A small torch that says what it is told to; the fault comes with `code`."""
        self.module("torch", TORCH.format(cuda=cuda, available=available) + code)

    def driver(self) -> None:
        """What the NVIDIA driver leaves behind where it is installed."""
        (self.site / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.10")
        self.patch.setattr(accelerator, "DRIVER", (self.site / "version",))


TORCH = """
class _Array:
    def numpy(self): return self
    def sum(self): return 8.0
def zeros(n): return _Array()
def ones(n, device): return _Array()
def get_num_threads(): return 2
class version: cuda = {cuda!r}
class _Gpu: name, total_memory = "NVIDIA Test", 80_000_000_000
class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: 1)
    get_device_properties = staticmethod(lambda i: _Gpu)
    is_bf16_supported = staticmethod(lambda: True)
    init = staticmethod(lambda: None)
__version__ = "2.14.1"
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


@dataclass(frozen=True)
class Fault:
    """How one message comes about: the fault, the examination that finds it, and what it must say."""

    prepare: Callable[[Stage], object]
    examination: str
    what: str
    next: str
    seconds: float = SECONDS


FAULTS: dict[str, Fault] = {}


def fault(id: str, examination: str, what: str, next: str, seconds: float = SECONDS) -> Callable[..., Callable[[Stage], object]]:
    def keep(prepare: Callable[[Stage], object]) -> Callable[[Stage], object]:
        assert id not in FAULTS
        FAULTS[id] = Fault(prepare, examination, what, next, seconds)
        return prepare

    return keep


# -- faults: Python and libraries


@fault("omnitok-twice", "python", "the installed metadata says 9.9", "pip uninstall omnitok")
def _(stage: Stage) -> None:
    stage.dist("omnitok", "9.9", "Requires-Python: >=3.11")


@fault("python-version", "python", "outside what omnitok declares (<3.5)", "venv")
def _(stage: Stage) -> None:
    stage.dist("omnitok", ot.__version__, "Requires-Python: <3.5")


@fault("packaging-missing", "libraries", "`packaging` is missing", "pip install packaging")
def _(stage: Stage) -> None:
    stage.patch.setitem(sys.modules, "packaging.requirements", None)


@fault("library-missing", "libraries", "no-such-library is not installed", 'pip install "no-such-library>=2"')
def _(stage: Stage) -> None:
    stage.dist("omnitok", ot.__version__, "Requires-Dist: no-such-library>=2")


@fault("library-version", "libraries", "msgspec 0.3 is outside", 'pip install "msgspec>=')
def _(stage: Stage) -> None:
    stage.dist("msgspec", "0.3")


@fault("library-unreadable", "libraries", "its version is 'newest'", "--force-reinstall")
def _(stage: Stage) -> None:
    stage.dist("einops", "newest")


@fault("extra-version", "extras", "hub 0.1 is outside what the extra 'hub' declares", 'pip install "omnitok[hub]"')
def _(stage: Stage) -> None:
    stage.dist("huggingface_hub", "0.1")


# -- faults: torch and the GPU


@fault("torch-hangs", "torch", "gave no answer within 1.5 seconds", "--timeout 60", seconds=1.5)
def _(stage: Stage) -> None:
    stage.module("torch", "import time; time.sleep(60)")


@fault("torch-crashes", "torch", "SIGSEGV", 'pip install --force-reinstall "torch')
def _(stage: Stage) -> None:
    stage.module("torch", f"import os; os.kill(os.getpid(), {signal.SIGSEGV.value})")


@fault("torch-broken", "torch", "libcudnn.so.9: cannot open", 'pip install --force-reinstall "torch')
def _(stage: Stage) -> None:
    stage.module("torch", "raise OSError('libcudnn.so.9: cannot open shared object file: No such file or directory')")


@fault("torch-numpy", "torch", "Numpy is not available", '"numpy')
def _(stage: Stage) -> None:
    stage.torch("def _fails(self): raise RuntimeError('Numpy is not available')\n_Array.numpy = _fails")


@fault("torch-for-cpu", "torch", "built for the CPU only", "builds are for CUDA")
def _(stage: Stage) -> None:
    stage.torch(cuda=None)
    stage.driver()


@fault("gpu-hidden", "torch", "CUDA_VISIBLE_DEVICES='-1'", "unset CUDA_VISIBLE_DEVICES")
def _(stage: Stage) -> None:
    stage.torch()
    stage.driver()
    stage.patch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@fault("gpu-unusable", "torch", "driver on your system is too old", "driver for CUDA 13.0 or newer")
def _(stage: Stage) -> None:
    stage.torch(
        "def _old(): raise RuntimeError('The NVIDIA driver on your system is too old (found version 12020)')\ncuda.init = _old"
    )
    stage.driver()


@fault("gpu-fails", "torch", "a sum on NVIDIA Test fails: RuntimeError: CUDA error: no kernel image", "--device cpu")
def _(stage: Stage) -> None:
    stage.torch("def ones(n, device): raise RuntimeError('CUDA error: no kernel image is available')", available=True)
    stage.driver()


# -- faults: plugins


@fault("plugin-broken", "plugins", "'pulse' of fake-pulse 1.0 cannot be used: ImportError", "pip uninstall fake-pulse")
def _(stage: Stage) -> None:
    stage.plugin("fake-pulse", "raise ImportError('needs a thing')")
    with pytest.raises(OmnitokError, match="needs a thing"):
        ot.load_plugins().tokenizer("pulse")  # the failure is remembered


@fault("plugin-duplicate", "plugins", "fake-one 1.0 and fake-two 1.0", "pip uninstall fake-one")
def _(stage: Stage) -> None:
    stage.plugin("fake-one")
    stage.plugin("fake-two")


@fault("plugin-too-new", "plugins", "asks for omnitok>=99", "pip install -U omnitok")
def _(stage: Stage) -> None:
    stage.plugin("fake-new", requires="omnitok>=99")


@fault("plugin-too-old", "plugins", "asks for omnitok<0.0.1", "pip install -U fake-old")
def _(stage: Stage) -> None:
    stage.plugin("fake-old", requires="omnitok<0.0.1")


@fault("plugins-none", "plugins", "no plugin is installed", "pip install --force-reinstall omnitok")
def _(stage: Stage) -> None:
    stage.patch.setattr("omnitok.plugins.discovery.installed", list)


@fault("state-unreadable", "plugins", "what was remembered of plugins is lost", "delete that file")
def _(stage: Stage) -> None:
    from omnitok.plugins.remembered import Memory

    path = Memory().path
    path.parent.mkdir(parents=True)
    path.write_text("{ half a file")


@fault("examination-failed", "odd (plugin)", "the examination 'odd' of fake-odd failed", "pip install -U fake-odd")
def _(stage: Stage) -> None:
    stage.module("fake_odd", "def examine(): raise SystemExit(3)")
    stage.dist("fake-odd", entry_points="[omnitok.doctor]\nodd = fake_odd:examine\n")


@fault("doctor-failed", "threads", "the examination 'threads' of the doctor itself failed: OSError", "omnitok doctor --markdown")
def _(stage: Stage) -> None:
    def fails(*_: object) -> None:
        raise OSError("no cores")

    stage.patch.setattr(os, "sched_getaffinity", fails, raising=False)


# -- faults: the machine


@fault("threads-unreadable", "threads", "OMP_NUM_THREADS='banana'", "export OMP_NUM_THREADS=")
def _(stage: Stage) -> None:
    stage.patch.setenv("OMP_NUM_THREADS", "banana")


@fault("threads-many", "threads", "OMP_NUM_THREADS=4096", "export OMP_NUM_THREADS=")
def _(stage: Stage) -> None:
    stage.patch.setenv("OMP_NUM_THREADS", "4096")


@fault("threads-quota", "threads", "the time of 0.5", "export OMP_NUM_THREADS=1")
def _(stage: Stage) -> None:
    (stage.site / "cpu.max").write_text("50000 100000\n")
    stage.patch.setattr(machine, "CGROUP", stage.site)


@fault("folder-gone", "folders", "does not exist any more", "cd ~")
def _(stage: Stage) -> None:
    stage.here.rmdir()


@fault("folder-unwritable", "folders", "the state folder", "export OMNITOK_HOME=FOLDER")
def _(stage: Stage) -> None:
    (stage.site / "file").write_text("")
    stage.patch.setenv("OMNITOK_HOME", str(stage.site / "file" / "state"))  # not even root writes below a file


def _room(stage: Stage, free: int) -> None:
    stage.patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, (1 << 40) - free, free))


@fault("disk-full", "folders", "has 10 MB left", "make room")
def _(stage: Stage) -> None:
    _room(stage, 10 << 20)


@fault("disk-low", "folders", "has 500 MB left", "make room")
def _(stage: Stage) -> None:
    _room(stage, 500 << 20)


@fault("tmpdir-unusable", "folders", "TMPDIR=/no/such/folder cannot be used", "unset TMPDIR")
def _(stage: Stage) -> None:
    stage.patch.setenv("TMPDIR", "/no/such/folder")
    stage.patch.setattr(tempfile, "tempdir", None)


@fault("shared-memory", "shared memory", "has 64 MB left", "--shm-size")
def _(stage: Stage) -> None:
    stage.patch.setattr(machine, "SHARED_MEMORY", stage.site)
    _room(stage, 64 << 20)


@fault("encoding", "encoding", "the encoding of files is ANSI_X3.4-1968", "export PYTHONUTF8=1")
def _(stage: Stage) -> None:
    stage.patch.setattr("locale.getpreferredencoding", lambda do_setlocale=True: "ANSI_X3.4-1968")  # below: a real one


# -- faults: what surrounds a start


@fault("variable-unknown", "variables", "no environment variable OMNITOK_DATE", "perhaps OMNITOK_DATA is meant")
def _(stage: Stage) -> None:
    stage.patch.setenv("OMNITOK_DATE", "/data")


@fault("data-folder", "variables", "OMNITOK_DATA=/no/such/folder is no folder", "unset OMNITOK_DATA")
def _(stage: Stage) -> None:
    stage.patch.setenv("OMNITOK_DATA", "/no/such/folder")


@fault("variable-plugins", "variables", "OMNITOK_PLUGINS names 'imaeg'", "perhaps 'image' is meant")
def _(stage: Stage) -> None:
    stage.patch.setenv("OMNITOK_PLUGINS", "text, imaeg")


@fault("variable-seconds", "variables", "OMNITOK_IMPORT_SECONDS='soon'", "export OMNITOK_IMPORT_SECONDS=30")
def _(stage: Stage) -> None:
    stage.patch.setenv("OMNITOK_IMPORT_SECONDS", "soon")


@fault("library-hidden", "hidden libraries", "torch.py hides the library torch", "rename it")
def _(stage: Stage) -> None:
    (stage.here / "torch.py").write_text("")


@fault("script-elsewhere", "command", "belongs to another Python (/opt/other/bin/python)", "-m omnitok")
def _(stage: Stage) -> None:
    script = stage.site / "omnitok"
    script.write_text("#!/opt/other/bin/python\nimport omnitok\n")
    script.chmod(0o755)
    stage.patch.setenv("PATH", str(stage.site))


@fault("script-missing", "command", "no command `omnitok` is on the PATH", "-m omnitok")
def _(stage: Stage) -> None:
    stage.patch.setenv("PATH", str(stage.site))


# -- faults: sound, which the audio plugin examines in a process of its own; here in this one, where that is quicker


SOUND_HERE = "audio (here)"


def examine(stage: Stage, fault: Fault) -> list[Finding]:
    """The findings of the examination that is to find a fault."""
    if fault.examination != SOUND_HERE:
        return report.examine(fault.seconds, only=[fault.examination])
    from omnitok_audio import doctor, features

    for name in [m for m in sys.modules if m.partition(".")[0] in ("soundfile", "torchaudio")]:
        stage.patch.delitem(sys.modules, name)
    cached = (features._mel, features._transforms)
    try:
        for function in cached:
            function.cache_clear()
        return doctor.examine()
    finally:
        for function in cached:
            function.cache_clear()


@fault("sound-decoder", "audio (plugin)", "soundfile cannot be imported: OSError: sndfile library not found", '"soundfile')
def _(stage: Stage) -> None:
    stage.module("soundfile", "raise OSError('sndfile library not found')")


SOUNDFILE = """
__version__, __libsndfile_version__ = "0.14.0", "1.0.28"
_kept = []
def available_formats(): return {formats}
def write(file, wave, rate, format, subtype): _kept.append((wave, rate))
def read(file, dtype): return {read}
"""
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU")


@fault("sound-formats", SOUND_HERE, "libsndfile 1.0.28 does not read MP3", "--only-binary soundfile")
def _(stage: Stage) -> None:
    formats = {name: "" for name in FORMATS if name != "MP3"}
    stage.module("soundfile", SOUNDFILE.format(formats=formats, read="_kept[-1]"))


@fault("sound-round-trip", SOUND_HERE, "does not give back a FLAC that it wrote itself", '"soundfile')
def _(stage: Stage) -> None:
    stage.module("soundfile", SOUNDFILE.format(formats=dict.fromkeys(FORMATS, ""), read="_kept[-1][0] + 1, 8000"))


@fault("torchaudio-cuda", "audio (plugin)", "built for another CUDA than torch", "torchaudio>=")
def _(stage: Stage) -> None:
    stage.module("torchaudio", "raise OSError('libcudart.so.12: cannot open shared object file: No such file or directory')")


@fault("torchaudio-torch", SOUND_HERE, "built for another torch", "torchaudio>=")
def _(stage: Stage) -> None:
    stage.module("torchaudio", "raise OSError('_torchaudio.abi3.so: undefined symbol: aoti_torch_zero_')")


@fault("torchaudio-broken", SOUND_HERE, "torchaudio cannot be imported: ImportError", "torchaudio>=")
def _(stage: Stage) -> None:
    stage.module("torchaudio", "raise ImportError('half installed')")


@fault("torchaudio-fails", SOUND_HERE, "makes no spectrogram", "torchaudio>=")
def _(stage: Stage) -> None:
    stage.module("torchaudio", "__version__ = '2.11.0'\nclass transforms: pass")


# -- every message has its fault, and every fault its message


FOUND_ELSEWHERE = {"omnitok-not-installed"}
"""Staged in a process without any library (below)."""


def complaints() -> dict[str, Complaint]:
    """All that the doctor and the built-in plugins can complain of."""
    rooms = [f"omnitok.doctor.{m.name}" for m in pkgutil.iter_modules(omnitok.doctor.__path__) if m.name != "__main__"]
    found: dict[str, Complaint] = {}
    for name in [*rooms, "omnitok_audio.doctor"]:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, Complaint):
                assert found.setdefault(value.id, value) is value, f"two complaints are called {value.id}"
    return found


def test_every_message_has_a_staged_fault() -> None:
    assert set(complaints()) == set(FAULTS) | FOUND_ELSEWHERE
    assert len(FAULTS) >= 15


@pytest.mark.parametrize("id", FAULTS)
def test_a_fault_is_found_and_the_next_step_told(stage: Stage, id: str) -> None:
    staged = FAULTS[id]
    staged.prepare(stage)
    found = {f.id: f for f in examine(stage, staged)}
    assert id in found, f"found only {list(found.values())}"
    assert found[id].level == complaints()[id].level
    assert staged.what in found[id].what
    assert staged.next in found[id].next


@pytest.mark.parametrize("id", ["torch-hangs", "torch-crashes", "examination-failed", "doctor-failed"])
def test_a_fault_leaves_the_other_examinations_alone(stage: Stage, id: str) -> None:
    FAULTS[id].prepare(stage)
    others = ["threads", "encoding", "libraries"]
    found = report.examine(3.0, only=[FAULTS[id].examination, *others])
    assert {f.id for f in found if f.level == "ok"} >= {"encoding", "libraries"}
    assert id in {f.id for f in found}


def test_nothing_is_wrong_where_nothing_was_staged(stage: Stage) -> None:
    """With the real torch and the real decoders of this environment."""
    findings = report.examine(SECONDS)
    assert not [f for f in findings if f.level == "problem"]
    assert {"torch", "gpu", "sound", "torchaudio", "libraries", "plugins", "omnitok"} <= {f.id for f in findings}


# -- in processes of their own: no libraries, another locale, no room on the disk


def doctor(
    *arguments: str, module: str = "omnitok", options: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """A process that knows this environment's packages, and of the variables only those that are given."""
    words = ["doctor", *arguments] if module == "omnitok" else arguments
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment}
    return subprocess.run(
        [sys.executable, *options, "-m", module, *words], env=env, capture_output=True, timeout=120, cwd=environment.get("HOME")
    )


def test_it_starts_without_any_library(stage: Stage) -> None:
    stage.torch()
    done = doctor(module="omnitok.doctor", options=("-S",), PYTHONPATH=f"{ROOT}{os.pathsep}{stage.site}", HOME=str(stage.here))
    text = done.stdout.decode()
    assert done.returncode == 1, done.stderr.decode()
    assert re.search(r"problem +omnitok .* is not installed.*\n +-> install it: `pip install omnitok`", text)
    assert "`packaging` is missing" in text
    assert "Traceback" not in text + done.stderr.decode()


def test_it_prints_in_a_terminal_that_knows_ascii_only(stage: Stage) -> None:
    stage.torch()
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": str(stage.here)}
    for module in ("omnitok", "omnitok.doctor"):
        done = doctor(module=module, **plain)
        assert b"not UTF-8" in done.stdout, done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_a_disk_that_takes_no_more_is_found(stage: Stage) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); from omnitok.doctor import machine; "
    code += "print(*machine.folders(), sep='\\n')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("cannot be written (File too large)") == 3, done.stderr


# -- reports


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = cli.run(["doctor", *arguments])
    return code, capsys.readouterr().out


@pytest.fixture
def only_quick(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Without the examinations that take seconds."""
    every = report.examinations

    def quick(seconds: float) -> dict[str, report.Examination]:
        return {n: e for n, e in every(seconds).items() if n != "torch" and not n.endswith("(plugin)")}

    monkeypatch.setattr(report, "examinations", quick)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # whether or not it is activated
    return stage


def test_exit_code_and_last_line_tell_how_it_went(only_quick: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys)
    assert code == 0
    only_quick.patch.setenv("OMNITOK_DATE", "1")
    code, out = run(capsys)
    assert code == 0
    assert "no problems, 1 warning" in out
    only_quick.patch.setenv("OMNITOK_DATA", "/no/such/folder")
    code, out = run(capsys)
    assert code == 1
    assert "1 problem, 1 warning" in out
    assert "unset OMNITOK_DATA" in " ".join(out.split())
    assert cli.run(["doctor", "--json", "--markdown"]) == 2
    assert cli.run(["doctor", "--timeout", "0"]) == 2


def test_json_says_the_same(only_quick: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    only_quick.patch.setenv("OMNITOK_DATA", "/no/such/folder")
    code, out = run(capsys, "--json")
    told = json.loads(out)
    assert code == 1
    assert told["ok"] is False
    assert told["versions"]["omnitok"] == ot.__version__
    assert {f["id"]: f["level"] for f in told["findings"]}["data-folder"] == "problem"
    assert all(f["next"] for f in told["findings"] if f["level"] != "ok")


def test_markdown_names_nobody(only_quick: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    home = only_quick.here / "home" / "maria-curie"
    (home / "work").mkdir(parents=True)
    patch = only_quick.patch
    patch.setenv("HOME", str(home))
    patch.setenv("USER", "mcurie")
    patch.chdir(home / "work")
    patch.setattr("socket.gethostname", lambda: "radium-7")
    patch.setenv("OMNITOK_DATA", str(home / "no | data"))
    patch.setenv("OMNITOK_HOME", "/home/pierre/state")
    patch.setenv("OMNITOK_DATE", "radium-7:mcurie")
    (home / "work" / "numpy.py").write_text("")
    code, out = run(capsys, "--markdown")
    assert code == 1
    for name in ("maria", "mcurie", "pierre", "radium", str(home), sys.prefix):
        assert name not in out
    assert r"OMNITOK_DATA=~/no \| data is no folder" in out
    assert "/home/<user>/state" in out
    assert "<working folder>/numpy.py hides" in out
    rows = [line for line in out.splitlines() if line.startswith(("| problem", "| warning", "| ok"))]
    assert rows == sorted(
        rows, key=lambda line: ("| problem", "| warning", "| ok").index(line.rsplit(" | ", 2)[0].split(" |")[0])
    )
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)


def test_words_that_only_contain_a_name_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("USER", "ann")
    assert report.anonymous("annotated by ann in /home/ann/x, /home/annabel, C:\\Users\\ann") == (
        "annotated by <name> in ~/x, /home/<user>, C:\\Users\\<user>"
    )


# -- what it costs, and what it knows


def test_the_parent_imports_no_torch_and_takes_less_than_3_seconds(stage: Stage) -> None:
    code = "import sys, resource; from omnitok import cli; cli.run(['doctor', '--json', '--timeout', '60']); "
    code += "used = resource.getrusage(resource.RUSAGE_SELF); "
    code += "print([m for m in ('torch', 'torchaudio', 'soundfile', 'omnitok_audio') if m in sys.modules], file=sys.stderr); "
    code += "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=180)
    imported, seconds = done.stderr.splitlines()[-2:]
    assert imported == "[]"
    assert float(seconds) < 3


def test_what_hangs_costs_its_time_limit_and_little_more(stage: Stage) -> None:
    FAULTS["torch-hangs"].prepare(stage)
    stage.module("fake_odd", "import time; time.sleep(60)")
    stage.dist("fake-odd", entry_points="[omnitok.doctor]\nodd = fake_odd:examine\n")
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.monotonic()
    found = report.examine(2.0, only=["torch", "odd (plugin)", "plugins", "libraries"])
    assert {"torch-hangs", "examination-failed"} <= {f.id for f in found}
    assert time.monotonic() - begin < 2 * 2 + 8  # side by side, on a machine that others use
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2
    assert report.SECONDS < 15


def test_it_knows_every_variable_that_the_code_reads() -> None:
    files = [p for room in ("omnitok", "plugins") for p in (ROOT / room).rglob("*.py")]
    named = {name for p in files for name in re.findall(r"OMNITOK_[A-Z][A-Z_]*[A-Z]", p.read_text())}
    assert named == set(surroundings.VARIABLES)


def test_it_knows_how_every_library_is_imported() -> None:
    for name in libraries.versions():
        if name not in ("python", "system"):
            assert importlib.util.find_spec(surroundings.imported_as(name)), name


def test_a_finding_is_one_line() -> None:
    assert Finding("a", "ok", "two\nlines  here", " next\t").what == "two lines here"


def test_the_checkout_itself_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert [f.level for f in surroundings.hidden_libraries()] == ["ok"]
