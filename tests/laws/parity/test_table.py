"""The committed table of parity names exactly the cases that there are, all of them within the limits it states."""

import re

import pytest

from omnitok import presets
from omnitok.weights import Reference
from tests.laws.parity.case import CASES, FP32, FP64, PUBLISHED, load_families
from tests.laws.parity.table import COMMAND, FAILED, LIBRARIES, PLACE

load_families()


@pytest.fixture(scope="module")
def text() -> str:
    return PLACE.read_text()


def cells(text: str, columns: int) -> list[list[str]]:
    """The rows of the table with that many columns, without its head."""
    found = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in found if len(row) == columns and not row[0].startswith("---")][1:]


def test_it_names_every_case_once(text: str) -> None:
    small = [": ".join(filter(None, (row[0].strip("`"), row[1]))) for row in cells(text, 9)]
    assert small == sorted(CASES), f"out of date: run `{COMMAND}`"
    assert [row[0] for row in cells(text, 5)] == sorted(PUBLISHED), f"out of date: run `{COMMAND}`"


def test_every_preset_of_a_published_model_is_in_it(text: str) -> None:
    following = {name for name in presets.names() if issubclass(presets.get(name), Reference)}
    assert {row[0].strip("`") for row in cells(text, 9)} == following


def test_it_states_its_limits_and_keeps_them(text: str) -> None:
    assert f"{FP64:.0e} and {FP32:.0e}" in text and COMMAND in text
    assert all(re.search(rf"{name} \d", text) for name in LIBRARIES)
    assert FAILED not in text
    for row in cells(text, 9):
        assert float(row[4]) <= FP64 and within(row[5]), row
    assert all(within(row[4]) for row in cells(text, 5))


def within(figure: str) -> bool:
    value, _, limit = figure.partition(" ")
    return float(value) <= (float(limit.strip("()")) if limit else FP32)
