"""Side-by-side timing: contenders take turns in rotated rounds, and what is quoted is a ratio of medians.

Run a benchmark with `python -m tests.bench.<name> [--threads N] [--clock cpu|wall] [--rounds N]`; none is collected by pytest.
On a busy machine use one thread and the CPU clock; on an idle one `--clock wall`.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
RESULTS = Path(__file__).parent / "results"


def options(description: str | None) -> argparse.Namespace:
    """The options that all benchmarks share; sets the number of threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--note", default="", help="what else was going on, kept with the result")
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    return found


def seconds(contenders: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every round of every contender, after one warm-up each; each round begins with another contender."""
    names = list(contenders)
    for name in names:
        contenders[name]()
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            contenders[name]()
            found[name].append(clock() - start)
    return found


def report(
    name: str, sections: Mapping[str, tuple[Mapping[str, Callable[[], Any]], dict[str, Any]]], asked: argparse.Namespace
) -> None:
    """Time every section, print a table and write `results/<name>-<threads>-<clock>.json`.

    A section's first contender is the peer; a ratio says how often the other one fits into the peer's time.
    """
    plain: dict[str, Any] = {
        "command": f"python -m tests.bench.{name} {' '.join(sys.argv[1:])}".strip(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
        "threads": asked.threads,
        "clock": asked.clock,
        "rounds": asked.rounds,
        "note": asked.note,
        "sections": {},
    }
    for section, (contenders, facts) in sections.items():
        found = seconds(contenders, asked.rounds, CLOCKS[asked.clock])
        medians = {n: statistics.median(s) for n, s in found.items()}
        peer = next(iter(medians.values()))
        print(section, facts)
        for n, median in medians.items():
            spread = f"{min(found[n]) * 1e3:.1f}-{max(found[n]) * 1e3:.1f}"
            print(f"  {n:40s} {median * 1e3:9.1f} ms ({spread})  {peer / median:6.2f}x")
        plain["sections"][section] = {
            **facts,
            "medians_ms": {n: round(m * 1e3, 2) for n, m in medians.items()},
            "ratio": {n: round(peer / m, 2) for n, m in medians.items()},
            "best_to_worst_ms": {n: [round(min(s) * 1e3, 2), round(max(s) * 1e3, 2)] for n, s in found.items()},
        }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{asked.threads}-{asked.clock}.json"
    path.write_text(json.dumps(plain, indent=1) + "\n")
    print(path)
