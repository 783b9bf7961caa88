"""Law: the files of a reference's own `save_pretrained` become a run that computes the same, and an exported run is read
by the reference's own `from_pretrained`, bit for bit.
"""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch

from omnitok.hub import export_run, import_run
from omnitok.model import Transformer
from omnitok.plugins import load_plugins
from omnitok.run import Run, load_run
from omnitok.weights import Reference
from tests.laws.parity.case import CASES, FP64, Case, distance, load_families, quiet

pytestmark = pytest.mark.slow
load_families()


def readable(name: str) -> Case:
    """The case, where its reference keeps files that the preset reads and writes; else the test is skipped, and says why."""
    torch.manual_seed(0)
    case = CASES[name]()
    preset = type(case.preset)
    if not hasattr(case.reference, "save_pretrained"):
        pytest.skip(f"{type(case.reference).__name__} has no from_pretrained")
    if preset.from_config.__func__ is Reference.from_config.__func__ or preset.to_config is Reference.to_config:
        pytest.skip(f"preset {preset.name!r} reads or writes no published configuration")
    return case


@pytest.mark.parametrize("name", CASES)
def test_files_come_in_and_go_out(name: str, tmp_path: Path) -> None:
    case = readable(name)
    reference = case.reference.float()
    with quiet():
        reference.save_pretrained(tmp_path / "theirs")
    covered = case.state(reference)
    rest = [k for k in reference.state_dict() if k not in covered]
    imported = import_run(tmp_path / "theirs", tmp_path / "run", load_plugins(only=[]), leave_out=[*rest, *case.unread])
    assert imported.model.preset.name == case.preset.name, "config.json says what it is"
    run = load_run(tmp_path / "run")
    assert all(torch.equal(v, imported.model.state_dict()[k]) for k, v in run.model.state_dict().items())
    assert distance(case.got(as_the_case(case, run).double()), case.want(torch.float64)) <= FP64

    export_run(run, tmp_path / "ours")
    with quiet():
        how = reference.config._attn_implementation
        again = type(reference).from_pretrained(tmp_path / "ours", attn_implementation=how).eval()
    theirs, ours = reference.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    read = [k for k in covered if k not in rest and not any(fnmatchcase(k, p) for p in case.unread)]
    assert [k for k in read if not torch.equal(ours[k], theirs[k])] == []
    if not rest:
        want, case.reference = case.want(), again
        got = case.want()
        assert [t for t in want if not torch.equal(got[t], want[t])] == []


def as_the_case(case: Case, run: Run) -> Transformer:
    """The run's model over the case's channels, which have the case's names, means and axes."""
    model = case.build(run.recipe.preset())
    own = {role: case.channels.get(channel) for role, channel in model.roles.items()}
    for role, channel in run.model.roles.items():
        read, made = run.model.channel_info[channel], own[role]
        assert made is None or (read.vocab, read.size) == (made.vocab, made.size), role
    streams = {k: v for k, v in run.model.state_dict().items() if k.startswith("streams.")}
    assert streams.keys() == {k for k in model.state_dict() if k.startswith("streams.")}
    model.load_state_dict(streams, strict=False)
    return model
