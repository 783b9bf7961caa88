"""Seeded faults: for every check at least one broken plugin that this very check reports, over a good one that passes all."""

import importlib
from pathlib import Path

import pytest

from omnitok.checks import BY_ID, CHECKS, GROUPS, Subject, examine, fitted_of, judge
from tests.laws.faults import behaviour, contract, data, models, objects
from tests.laws.faults.data import distribution
from tests.laws.faults.registry import FAULTS, Fault, whole

ROOMS = (behaviour, contract, data, models, objects)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, for distributions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_good_plugin_keeps_every_promise(place: Path) -> None:
    outcomes = examine(whole(folder=place, status=distribution(place)))
    assert [str(o) for o in outcomes if o.result != "ok"] == []
    assert len(outcomes) == len(CHECKS) >= 40
    assert len(GROUPS) >= 8


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.check}-{f.name}")
def test_the_fault_is_reported(fault: Fault, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = BY_ID[fault.check]
    module = importlib.import_module(check.law.__module__)
    for name, value in fault.limits.items():
        monkeypatch.setattr(module, name, value)
    subject: Subject = fault.make(place)
    outcome = judge(check, subject, fitted_of(subject))
    assert outcome.result == "failed", f"{fault.name} has a fault that {fault.check!r} must report: {outcome}"
    assert fault.words in outcome.message
    assert outcome.why == check.why and outcome.fix == check.fix


def test_every_check_has_a_fault() -> None:
    assert {check.id for check in CHECKS} - {fault.check for fault in FAULTS} == set()


def test_one_cause_is_told_once() -> None:
    """What hangs on samples that cannot be encoded, or on a model that cannot be built, is skipped and says why."""
    (failed,) = [o for o in examine(whole(contract.Refusing()), only=["schema", "packing"]) if o.result == "failed"]
    assert failed.id == "samples"
    outcomes = examine(whole(models.Dividing()), only=["packing", "embedding", "training"])
    assert [o.id for o in outcomes if o.result == "failed"] == ["model-builds"]
    assert all("model-builds" in o.message for o in outcomes if o.result == "skipped")
