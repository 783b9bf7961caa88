"""The return-tracking report: asked against achieved returns as a table, a picture and JSON."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from rich.table import Table

import omnitok

from .evaluation import Reference
from .tracking import Tracking, pearson, saturation, slope


def versions() -> dict[str, str]:
    """Of everything that decides the numbers."""
    return {
        "omnitok": omnitok.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
    }


def numbers(tracking: Tracking, reference: Reference) -> dict[str, Any]:
    """`targets`, `achieved`, `pearson`, `slope`, `saturation` and `normalised`, each with its 95 % bootstrap interval over
    start states. A number that does not exist (one target, a flat curve) is null."""
    interval = tracking.interval()
    scores = 100 * (interval - reference.low) / (reference.high - reference.low)
    return {
        "env": tracking.env,
        "episodes": tracking.returns.shape[1],
        "targets": list(tracking.targets),
        "achieved": {"mean": _plain(tracking.means), "interval": _plain(interval), "returns": _plain(tracking.returns)},
        "pearson": _curve(tracking, pearson, tracking.pearson),
        "slope": _curve(tracking, slope, tracking.slope),
        "saturation": {
            **_curve(tracking, saturation, tracking.saturation),
            "reached": tracking.saturation < max(tracking.targets),
        },
        "normalised": {
            "mean": _plain(tracking.normalised(reference.low, reference.high)),
            "interval": _plain(scores),
            "low": {"return": reference.low, "from": reference.low_from},
            "high": {"return": reference.high, "from": reference.high_from},
        },
    }


def _curve(tracking: Tracking, number: Any, value: float) -> dict[str, Any]:
    return {"value": _plain(value), "interval": _plain(tracking.of(number))}


def _plain(value: Any) -> Any:
    """Numbers as JSON holds them, to 6 digits."""
    if isinstance(value, np.ndarray | tuple | list):
        return [_plain(v) for v in value]
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def table(tracking: Tracking, reference: Reference, support: tuple[float, float]) -> Table:
    """One row per target and the numbers of the whole curve below."""
    low, high = support
    out = Table(
        "asked",
        "achieved",
        "95 % interval",
        "normalised",
        "in the data",
        title=f"{tracking.env}: {tracking.returns.shape[1]} episodes per target",
    )
    scores = tracking.normalised(reference.low, reference.high)
    for target, mean, (a, b), score in zip(tracking.targets, tracking.means, tracking.interval(), scores, strict=True):
        out.add_row(f"{target:g}", f"{mean:.1f}", f"[{a:.1f}, {b:.1f}]", f"{score:.1f}", "yes" if low <= target <= high else "no")
    out.add_section()
    for name, value, number in (
        ("Pearson", tracking.pearson, pearson),
        ("slope", tracking.slope, slope),
        ("saturates at", tracking.saturation, saturation),
    ):
        a, b = tracking.of(number)
        shown = f"not below {value:g}" if number is saturation and value == max(tracking.targets) else f"{value:.3g}"
        out.add_row(name, shown, f"[{a:.3g}, {b:.3g}]")
    return out


def draw(
    path: Path, curves: Mapping[str, Tracking], support: tuple[float, float], returns: Sequence[float] | None = None
) -> Path:
    """Achieved against asked returns with intervals, the line where they agree, and the returns of the data shaded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(5.4, 4.6), layout="constrained")
    ax.axvspan(*support, color="C2", alpha=0.10, linewidth=0, label="returns in the data")
    if returns is not None:
        ax.plot(returns, np.zeros(len(returns)), "|", color="C2", alpha=0.4, markersize=8, transform=ax.get_xaxis_transform())
    ends = [t for tracking in curves.values() for t in (min(tracking.targets), max(tracking.targets))]
    ax.plot([min(ends), max(ends)], [min(ends), max(ends)], color="0.6", linewidth=1, linestyle="--", label="asked = achieved")
    for name, tracking in curves.items():
        spread = np.abs(tracking.interval().T - tracking.means)
        ax.errorbar(tracking.targets, tracking.means, yerr=spread, marker="o", markersize=4, capsize=3, label=name)
    first = next(iter(curves.values()))
    ax.set(xlabel="asked return", ylabel="achieved return (mean, 95 % interval)", title=first.env)
    ax.legend(fontsize=8)
    try:
        figure.savefig(path, dpi=130)
    finally:
        plt.close(figure)
    return path
