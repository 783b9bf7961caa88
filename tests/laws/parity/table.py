"""The table of parity: every case beside its reference, measured by the tests' own functions; never typed in.

`python -m tests.laws.parity --table` writes it into omnitok/presets/README.md; `--small` leaves the published sizes out.
"""

import importlib.metadata
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from omnitok.commands.presets import parameters
from omnitok.errors import OmnitokError
from tests.laws.parity.case import CASES, FP32, FP64, PUBLISHED, Case, distance

PLACE = Path(__file__).parents[3] / "omnitok" / "presets" / "README.md"
COMMAND = "python -m tests.laws.parity --table"
LIBRARIES = ("torch", "transformers", "timm", "torchaudio", "torch_geometric")
FAILED = "FAILED"
SMALL = ("preset", "variation", "reference", "parameters", "fp64", "fp32", "round trip", "controls", "cached = recomputed")
SIZES = ("published model", "preset", "reference", "parameters compared", "fp32")

INTRODUCTION = """# Presets beside their references

Written by `{command}` with {versions}; nothing here is typed in.

Every preset is compared with the implementation that it follows: all parameters and running statistics of the reference
are randomised, a ragged batch of documents is packed here, and the reference reads the documents one by one.

- *fp64*, *fp32*: the largest `max|diff| / max|ref|` of all answers, in double and in single precision. Limits:
  {fp64:.0e} and {fp32:.0e}; where the reference does not divide its scores by the root of the head's width, twice what the
  reference itself loses from double to single precision, given in brackets.
- *round trip*: the reference's state dict, imported and exported, is the same bit for bit, but for tensors that the
  reference itself never reads.
- *controls*: settings that are wrong on purpose, and how many of them this comparison sees.
- *cached = recomputed*: token by token behind a cache gives what the whole document gives; *refused*: it cannot be
  decoded token by token, and says so.
- *parameters*: at the preset's first published size.
"""

PUBLISHED_INTRODUCTION = """
## At published sizes

Models of up to 150 million parameters are whole; larger ones have their published widths and heads, 2 layers and 4096 ids.
"""


def write(small: bool) -> int:
    """Measure everything and write the table; 1 where a case failed."""
    failed: list[str] = []
    lines = [introduction(), *table(SMALL, rows(sorted(CASES), small_row, failed))]
    if not small:
        lines += [PUBLISHED_INTRODUCTION, *table(SIZES, rows(sorted(PUBLISHED), published_row, failed))]
    PLACE.write_text("\n".join(lines) + "\n")
    print(f"written to {PLACE}; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def introduction() -> str:
    own = {name: importlib.metadata.version(name) for name in LIBRARIES}
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{n} {v.partition('+')[0]}" for n, v in own.items())])
    return INTRODUCTION.format(command=COMMAND, versions=versions, fp64=FP64, fp32=FP32)


def table(columns: Iterable[str], cells: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(list(columns))}"
    yield from (f"| {' | '.join(row)} |" for row in cells)


def rows(names: list[str], row: Callable[[str], list[str]], failed: list[str]) -> Iterator[list[str]]:
    """One row per case; a case that breaks keeps its row, which says so."""
    for name in tqdm(names, unit="case"):
        try:
            cells = row(name)
        except (Exception, pytest.skip.Exception):
            traceback.print_exc(limit=-2, file=sys.stderr)
            preset, _, variation = name.partition(": ")
            cells = [f"`{preset}`", variation, FAILED]
        if FAILED in " ".join(cells):
            failed.append(name)
        yield cells


def small_row(name: str) -> list[str]:
    from tests.laws.parity import test_parity as tests

    case, (preset, _, variation) = tests.made(name), name.partition(": ")
    double, single = (distance(case.got(case.model(t)), case.want(t)) for t in (torch.float64, torch.float32))
    limit = tests.tolerance(case)
    seen = controls(case, limit)
    cached = holds(tests.test_cached_is_recomputed_or_refused, name)
    return [
        f"`{preset}`",
        variation,
        case.note,
        count(case),
        figure(double, FP64),
        figure(single, limit),
        holds(tests.test_weights_come_back_bit_by_bit, name),
        (f"{seen} of {len(case.wrong)}" if case.wrong else "-") + ("" if seen == len(case.wrong) else f" {FAILED}"),
        "refused" if cached == "yes" and not case.steps else cached,
    ]


def published_row(name: str) -> list[str]:
    torch.manual_seed(0)
    case = PUBLISHED[name]()
    model, want = case.model(), case.want()
    limit = FP32 if not case.unscaled else max(FP32, 2 * distance(want, case.want(torch.float64)))
    compared = sum(p.numel() for n, p in model.named_parameters() if n.startswith("streams."))
    own = type(case.preset).name
    return [name, f"`{own}`", case.note, f"{compared:,}", figure(distance(case.got(model), want), limit)]


def count(case: Case) -> str:
    """Parameters at the preset's first published size."""
    sizes = type(case.preset).published
    return f"{parameters(type(case.preset), next(iter(sizes.values()))):,}" if sizes else FAILED


def figure(value: float, limit: float) -> str:
    own = "" if limit in (FP32, FP64) else f" ({limit:.0e})"
    return (f"{value:.0e}" if value else "0") + own + ("" if value <= limit else f" {FAILED}")


def controls(case: Case, limit: float) -> int:
    """How many wrong settings are seen, or refused by strict loading."""
    want, seen = case.want(), 0
    for edit in case.wrong.values():
        try:
            seen += distance(case.got(case.model(preset=edit(case.preset))), want) > limit
        except OmnitokError:
            seen += 1
    return seen


def holds(test: Callable[[str], Any], name: str) -> str:
    """Whether one of the tests passes on a case."""
    try:
        test(name)
    except AssertionError:
        traceback.print_exc(limit=-1, file=sys.stderr)
        return FAILED
    return "yes"
