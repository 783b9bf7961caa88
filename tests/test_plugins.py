"""The host: what metadata tells, what happens when a plugin is broken, doubled, misnamed, and which file is whose."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import omnitok as ot
from omnitok.errors import ConfigError, DuplicateNameError, InputError, PluginError, UnknownNameError
from omnitok.plugins.remembered import Memory
from tests.distributions import PULSE, Install, pulse

BUILT_IN = ("audio", "graph", "image", "text", "trajectory")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own."""
    monkeypatch.setenv("OMNITOK_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def record(host: ot.Host, name: str) -> "ot.plugins.PluginStatus":
    return next(r for r in host.status() if r.name == name)


def test_listing_imports_nothing() -> None:
    code = "import sys, omnitok; h = omnitok.load_plugins(); h.status(); print(h.names()); "
    code += "print([m for m in sys.modules if m == 'torch' or m.startswith('omnitok_')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    names, imported = out.splitlines()
    assert set(BUILT_IN) <= set(eval(names, {}))
    assert imported == "[]"


def test_built_in_plugins_take_the_strangers_path() -> None:
    host = ot.load_plugins()
    for name in BUILT_IN:
        assert record(host, name).distribution == "omnitok"
        assert record(host, name).status == "not imported"
        assert record(host, name).suffixes
    assert record(host, "image").suffixes.count(".png") == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('needs a thing')", "ImportError: needs a thing"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "fake_bad.Odd: odd"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("x = 1", "'fake_bad' must be the name of one of its tokenizers, which are none"),
        (
            "from omnitok.hookspecs import hookimpl\n@hookimpl\ndef register_tokenizer(): return []",
            "unknown hook 'register_tokenizer'",
        ),
        (
            "from omnitok.hookspecs import hookimpl\n@hookimpl\ndef register_tokenizers(colour): return []",
            "{'colour'} are declared in the hookimpl",
        ),
        ("from omnitok.hookspecs import hookimpl\n@hookimpl\ndef register_tokenizers(): return [int]", "is no Tokenizer class"),
        ("from omnitok.hookspecs import hookimpl\n@hookimpl\ndef register_tokenizers(): raise OSError('no')", "OSError: no"),
        (
            "from omnitok.hookspecs import hookimpl\nfrom omnitok.tokenizer import Tokenizer\n"
            "class Half(Tokenizer, frozen=True):\n    name = 'fake_bad'\n    def encode(self, raw): ...\n"
            "@hookimpl\ndef register_tokenizers(): return [Half]",
            "Half does not implement channels, samples",
        ),
    ],
)
def test_a_broken_plugin_is_listed_and_harms_no_other(installed: Install, code: str, reason: str) -> None:
    installed("fake-bad", code)
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    host = ot.load_plugins()
    with pytest.raises(PluginError, match=r"plugin 'fake_bad' of fake-bad 1\.0 cannot be used") as failure:
        host.tokenizer("fake_bad")
    assert reason in str(failure.value)
    assert reason in record(host, "fake_bad").error
    assert record(host, "fake_bad").status == "broken"
    assert host.tokenizer("pulse").name == "pulse"
    assert record(host, "pulse").status == "ok"


def test_keyboard_interrupt_is_not_swallowed(installed: Install) -> None:
    installed("fake-slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        ot.load_plugins().tokenizer("fake_slow")


def test_entry_point_must_have_the_tokenizers_name(installed: Install) -> None:
    installed("fake-misnamed", PULSE.read_text(), {"puls": "fake_misnamed"})
    with pytest.raises(PluginError, match="'puls' must be the name of one of its tokenizers, which are pulse"):
        ot.load_plugins().tokenizer("puls")


def test_duplicates_name_both_distributions(installed: Install) -> None:
    installed("fake-one", PULSE.read_text(), {"pulse": "fake_one"})
    installed("fake-two", PULSE.read_text(), {"pulse": "fake_two"})
    host = ot.load_plugins()
    assert host.names().count("pulse") == 1
    assert [(r.distribution, r.status) for r in host.status() if r.name == "pulse"] == [
        ("fake-one", "duplicate"),
        ("fake-two", "duplicate"),
    ]
    with pytest.raises(DuplicateNameError, match=r"fake-one 1\.0 and fake-two 1\.0"):
        host.tokenizer("pulse")
    assert "pulse/beats" not in host.datasets()
    assert host.tokenizer("text").name == "text"


def test_one_unreadable_distribution_hides_no_other(installed: Install, tmp_path: Path) -> None:
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    info = tmp_path / "site" / "spoilt-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: spoilt\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[omnitok]\nno equals sign here\n")
    assert {"pulse", *BUILT_IN} <= set(ot.load_plugins().names())


def test_names_are_checked_with_the_nearest() -> None:
    host = ot.load_plugins(files=[PULSE])
    with pytest.raises(UnknownNameError, match="unknown plugin 'puls'; did you mean 'pulse'"):
        host.tokenizer("puls")
    with pytest.raises(UnknownNameError, match="unknown dataset 'pulse/beat'; did you mean 'pulse/beats'"):
        host.dataset("pulse/beat")
    with pytest.raises(UnknownNameError, match="unknown plugin 'txt'; did you mean 'text'"):
        ot.load_plugins(only=["txt"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_bin": 64}, "unknown field 'num_bin' of tokenizer 'pulse'; did you mean 'num_bins'"),
        ({"num_bins": "many"}, "tokenizer 'pulse', field 'num_bins': Expected `int`, got `str`"),
        ({"num_bins": 3}, "tokenizer 'pulse', field 'num_bins': Expected `int` >= 64"),
        ({"state": b"x"}, "unknown field 'state'"),
        ({"instance": "No Name"}, "tokenizer name 'No Name'"),
    ],
)
def test_configuration_errors_name_the_field(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        ot.load_plugins(only=[], files=[PULSE]).tokenizer("pulse", **config)  # type: ignore[arg-type]
    assert message in str(failure.value)


def test_fields_are_checked_however_a_tokenizer_is_made() -> None:
    host = ot.load_plugins(only=["image", "text"], files=[PULSE])
    for name, values in {"pulse": {"num_bins": 3}, "text": {"vocab_size": "many"}, "image": {"patch_size": 0}}.items():
        ((field, _),) = values.items()
        with pytest.raises(ConfigError, match=f"tokenizer '{name}', field '{field}': Expected `int"):
            host.tokenizer_class(name)(**values)  # type: ignore[arg-type]


def test_configuration_and_instance() -> None:
    host = ot.load_plugins(only=[], files=[PULSE])
    tokenizer = host.tokenizer("pulse", instance="left", num_bins=128)
    assert list(tokenizer.channels()) == ["left"]
    assert tokenizer.channels()["left"].vocab == 128
    assert len(host.dataset("pulse/beats", count=5).split("train")) == 5
    with pytest.raises(ConfigError, match="dataset 'pulse/beats', field 'count'"):
        host.dataset("pulse/beats", count=0)
    assert host.datasets() == host.datasets("pulse") == ("pulse/beats",)


def test_a_file_is_a_plugin(tmp_path: Path) -> None:
    host = ot.load_plugins(only=["text"], files=[PULSE])
    assert host.names() == ("pulse", "text")
    assert record(host, "pulse").distribution == str(PULSE)
    assert record(host, "pulse").is_file
    tokenizer = host.tokenizer("pulse")
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    assert ot.load_plugins(files=[PULSE]).tokenizer_class("pulse") is type(tokenizer)  # unchanged: the same classes
    with pytest.raises(ConfigError, match=r"nowhere\.py does not exist"):
        ot.load_plugins(files=[tmp_path / "nowhere.py"])


def test_a_broken_file_is_listed_and_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("1 / 0")
    host = ot.load_plugins(files=[tmp_path / "mine.py"])
    assert record(host, "mine").status == "broken"
    with pytest.raises(UnknownNameError, match=r"mine\.py cannot be used: ZeroDivisionError: division by zero"):
        host.tokenizer("pulse")


def test_hosts_share_nothing() -> None:
    one, two = ot.load_plugins(files=[PULSE]), ot.load_plugins()
    assert "pulse" in one.names()
    assert "pulse" not in two.names()
    one.tokenizer("text")
    assert record(two, "text").status == "not imported"
    assert record(ot.load_plugins(), "text").status == "ok"  # but the next one remembers


def test_a_file_goes_to_who_claims_it(installed: Install, tmp_path: Path) -> None:
    installed("fake-pulse", PULSE.read_text(), {"pulse": "fake_pulse", "pulse.beat": "fake_pulse", "pulse.txt": "fake_pulse"})
    host = ot.load_plugins()
    (tmp_path / "a.BEAT").write_text("0.5 0.25")
    assert host.for_file(tmp_path / "a.BEAT", num_bins=100) == host.tokenizer("pulse", num_bins=100)
    (tmp_path / "words.txt").write_text("hello")  # pulse says no when it sniffs
    assert host.for_file(tmp_path / "words.txt").name == "text"
    (tmp_path / "both.txt").write_text("0.5")
    with pytest.raises(InputError, match=r"both\.txt: 2 plugins read this; choose with --as pulse or --as text"):
        host.for_file(tmp_path / "both.txt")
    assert host.for_file(tmp_path / "both.txt", as_="pulse").name == "pulse"


def test_a_claimant_that_breaks_has_no_say(installed: Install, tmp_path: Path) -> None:
    installed("fake-bad", "1 / 0", {"fake_bad": "fake_bad", "fake_bad.txt": "fake_bad"})
    (tmp_path / "words.txt").write_text("hello")
    assert ot.load_plugins().for_file(tmp_path / "words.txt").name == "text"


def test_files_that_nobody_reads(tmp_path: Path) -> None:
    host = ot.load_plugins()
    for name, message in (("a.xyz", "no plugin claims .xyz"), ("plain", "no plugin claims names without a suffix")):
        (tmp_path / name).write_text("")
        with pytest.raises(InputError, match=f"{message}; choose with --as audio or --as graph"):
            host.for_file(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        host.for_file(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="is a folder"):
        host.for_file(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
        with pytest.raises(InputError, match="is no regular file"):
            host.for_file(tmp_path / "pipe.png")


def test_a_distribution_speaks_of_suffixes_for_its_own_plugins_only(installed: Install, tmp_path: Path) -> None:
    installed("fake-other", pulse("fake_other"), {"fake_other": "fake_other", "text.beat": "fake_other"})
    host = ot.load_plugins()
    assert ".beat" not in record(host, "text").suffixes
    assert host.tokenizer("text").name == "text"


def test_one_unreadable_distribution_is_named_where_it_names_us(installed: Install, tmp_path: Path) -> None:
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    for name, group in (("spoilt", "omnitok"), ("stranger", "console_scripts")):
        info = tmp_path / "site" / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nno equals sign here\n")
    host = ot.load_plugins()
    assert len(host.names()) == len(host.status())  # the path holds some folders twice: they are no duplicates
    assert "stranger" not in host.names()
    with pytest.raises(
        PluginError, match=r"spoilt 1\.0 cannot be used: its entry_points\.txt cannot be read.*pip uninstall spoilt"
    ):
        host.tokenizer("spoilt")


def test_metadata_without_a_name(installed: Install, tmp_path: Path) -> None:
    installed("fake-good", PULSE.read_text(), {"pulse": "fake_good"})
    info = next((tmp_path / "site").glob("*.dist-info"))
    (info / "METADATA").write_text("Metadata-Version: 2.1\n")
    host = ot.load_plugins()
    assert (record(host, "pulse").distribution, record(host, "pulse").version) == (str(info), "")
    assert host.tokenizer("pulse").name == "pulse"
    (info / "METADATA").unlink()
    assert record(ot.load_plugins(), "pulse").distribution == str(info)


@pytest.mark.parametrize(
    ("requires", "status", "message"),
    [
        (
            "omnitok>=99",
            "too new",
            r"asks for omnitok>=99; this is omnitok \S+: `pip install -U omnitok`, or `pip install \"fake",
        ),
        ("omnitok<0.0.1", "too old", r"asks for omnitok<0.0.1; this is omnitok \S+: `pip install -U fake-pulse`, or `pip inst"),
        ("omnitok>>1", "broken", r"cannot be used: its requirement 'omnitok>>1' cannot be read; `pip install -U fake-pulse`"),
    ],
)
def test_a_plugin_for_another_omnitok_is_refused_by_its_metadata(
    requires: str, status: str, message: str, installed: Install, tmp_path: Path
) -> None:
    installed("fake-pulse", "1 / 0", {"pulse": "fake_pulse", "pulse.beat": "fake_pulse"}, requires=[requires, "torch"])
    host = ot.load_plugins()
    assert (record(host, "pulse").status, record(host, "pulse").asks) == (status, requires)
    (tmp_path / "a.beat").write_text("0.5")
    for ask in (lambda: host.tokenizer("pulse"), lambda: host.for_file(tmp_path / "a.beat"), lambda: host.dataset("pulse/beats")):
        with pytest.raises((PluginError, InputError), match=message):
            ask()
    assert "fake_pulse" not in sys.modules


def test_an_unknown_dataset_imports_no_plugin(installed: Install) -> None:
    installed("fake-pulse", PULSE.read_text(), {"pulse": "fake_pulse"})
    host = ot.load_plugins()
    with pytest.raises(
        UnknownNameError, match=r"unknown dataset 'beats'; a dataset is named PLUGIN/NAME, and the plugins are audio"
    ):
        host.dataset("beats")
    assert {r.status for r in host.status()} == {"not imported"}
    host.tokenizer("pulse")
    for again in (host, ot.load_plugins()):  # what was imported once is known
        with pytest.raises(UnknownNameError, match="unknown dataset 'beats'; did you mean 'pulse/beats'"):
            again.dataset("beats")
    assert record(ot.load_plugins(), "text").status == "not imported"


def test_narrowing(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("fake-bad", "1 / 0")
    monkeypatch.setenv("OMNITOK_PLUGINS", "text, image")
    host = ot.load_plugins(files=[PULSE])
    assert host.names() == ("image", "pulse", "text")
    with pytest.raises(UnknownNameError, match="plugin 'audio' is left out by OMNITOK_PLUGINS=text, image"):
        host.tokenizer("audio")
    with pytest.raises(UnknownNameError, match="plugin 'audio' is left out"):
        ot.load_plugins(only=["audio"])
    monkeypatch.setenv("OMNITOK_PLUGINS", "txt")
    with pytest.raises(UnknownNameError, match="OMNITOK_PLUGINS names an unknown plugin 'txt'; did you mean 'text'"):
        ot.load_plugins()
    monkeypatch.setenv("OMNITOK_PLUGINS", "")
    assert "audio" in ot.load_plugins().names()


def test_strict(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNITOK_STRICT", "1")
    assert {r.status for r in ot.load_plugins().status()} == {"ok"}
    installed("fake-bad", "1 / 0")
    installed("fake-new", PULSE.read_text(), {"newer": "fake_new"}, requires=["omnitok>=99"])
    installed("fake-text", PULSE.read_text(), {"text": "fake_text"})
    with pytest.raises(PluginError) as failure:
        ot.load_plugins()
    for part in (
        "OMNITOK_STRICT: ",
        "'fake_bad' of fake-bad 1.0",
        "ZeroDivision",
        "asks for omnitok>=99",
        "fake-text 1.0 and omn",
    ):
        assert part in str(failure.value)
    assert ot.load_plugins(only=["audio"]).names() == ("audio",)  # only what is asked for counts
    Memory().disable(["fake_bad", "newer", "fake-text:text"])
    assert ot.load_plugins().tokenizer("text").name == "text"
    monkeypatch.setenv("OMNITOK_STRICT", "0")
    Memory().enable(["fake_bad"])
    ot.load_plugins()
