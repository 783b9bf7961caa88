"""torch and the GPU: facts from a process of its own, which may crash or hang, and what they mean.

`python -m omnitok.doctor.accelerator` is that process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ..commands.child import ChildFailure, run_in_child, serve
from .findings import Complaint, Finding, fine
from .libraries import asked_for

DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))
"""Either is there where the NVIDIA driver is."""

HANGS = Complaint(
    "torch-hangs",
    "problem",
    "torch gave no answer within {seconds:g} seconds",
    "try again, for a cold disk is slow the first time: `omnitok doctor --timeout 60`; then `{python}`",
)
CRASHES = Complaint(
    "torch-crashes", "problem", "the process that imported torch failed: {reason}", "`pip install --force-reinstall {torch}`"
)
BROKEN = Complaint("torch-broken", "problem", "torch cannot be imported: {error}", "`pip install --force-reinstall {torch}`")
NO_NUMPY = Complaint(
    "torch-numpy",
    "problem",
    "torch {version} and numpy do not work together: {error}",
    "`pip install --force-reinstall {torch} {numpy}`",
)
FOR_CPU = Complaint(
    "torch-for-cpu",
    "warning",
    "there is an NVIDIA GPU, and torch {version} was built for the CPU only",
    "`pip install --force-reinstall {torch}` from an index whose builds are for CUDA",
)
GPU_HIDDEN = Complaint(
    "gpu-hidden",
    "warning",
    "the GPU is hidden by CUDA_VISIBLE_DEVICES={value!r}",
    "`unset CUDA_VISIBLE_DEVICES`, unless that is meant",
)
GPU_UNUSABLE = Complaint(
    "gpu-unusable",
    "warning",
    "there is an NVIDIA GPU, and torch {version} for CUDA {cuda} cannot use it: {error}",
    "install a driver for CUDA {cuda} or newer (`nvidia-smi` names the one that is there), or a torch for an older CUDA",
)
GPU_FAILS = Complaint(
    "gpu-fails",
    "problem",
    "a sum on {name} fails: {error}",
    "a torch that was built for this GPU: `pip install --force-reinstall {torch}`; until then `--device cpu`",
)


def torch(seconds: float) -> Iterator[Finding]:
    """Import torch elsewhere and judge what it says of itself."""
    answer = run_in_child(__name__, {}, seconds)
    lines = {"torch": asked_for("torch"), "numpy": asked_for("numpy")}
    if isinstance(answer, ChildFailure):
        if answer.kind == "timeout":
            yield HANGS(seconds=seconds, python='python -X importtime -c "import torch"')
        else:
            yield CRASHES(reason=answer, **lines)
        return
    yield from judge(answer, any(path.exists() for path in DRIVER), lines)


def judge(facts: Mapping[str, Any], driver: bool, lines: Mapping[str, str]) -> Iterator[Finding]:
    """Findings from the child's facts and from whether there is an NVIDIA driver."""
    version, cuda = facts.get("version"), facts.get("cuda")
    if "error" in facts:
        if facts["missing"]:
            return  # said where the libraries are looked at
        yield BROKEN(error=facts["error"], **lines)
        return
    if facts["numpy"]:
        yield NO_NUMPY(version=version, error=facts["numpy"], **lines)
    built = f"for CUDA {cuda}" if cuda else "for the CPU"
    yield fine("torch", f"torch {version}, built {built}, imported in {facts['seconds']:.1f} s, {facts['threads']} threads")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if facts["gpus"]:
        for gpu in facts["gpus"]:
            if gpu["error"]:
                yield GPU_FAILS(name=gpu["name"], error=gpu["error"], **lines)
            else:
                yield fine("gpu", f"{gpu['name']}, {gpu['memory'] / 1e9:.0f} GB, {'with' if gpu['bf16'] else 'without'} bfloat16")
    elif not driver:
        yield fine("gpu", "no NVIDIA GPU here: models run on the CPU, in float32")
    elif not cuda:
        yield FOR_CPU(version=version, **lines)
    elif hidden is not None and hidden.strip() in ("", "-1"):
        yield GPU_HIDDEN(value=hidden)
    else:
        yield GPU_UNUSABLE(version=version, cuda=cuda, error=facts["gpu_error"] or "it names no reason")


def look(task: Mapping[str, Any]) -> dict[str, Any]:
    """The child: import torch, and say what it is and what it can use."""
    begin = time.monotonic()
    try:
        import torch
    except BaseException as error:
        return {"error": _words(error), "missing": _is_missing()}
    seconds = time.monotonic() - begin
    facts: dict[str, Any] = {"version": torch.__version__, "cuda": torch.version.cuda, "seconds": seconds}
    facts |= {"threads": torch.get_num_threads(), "numpy": _try(lambda: torch.zeros(1).numpy()), "gpus": [], "gpu_error": ""}
    if torch.version.cuda:
        if torch.cuda.is_available():
            facts["gpus"] = [_gpu(torch, i) for i in range(torch.cuda.device_count())]
        else:
            facts["gpu_error"] = _try(torch.cuda.init)
    return facts


def _gpu(torch: Any, number: int) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(number)
    error = _try(lambda: float(torch.ones(8, device=f"cuda:{number}").sum()))
    return {"name": about.name, "memory": about.total_memory, "bf16": torch.cuda.is_bf16_supported(), "error": error}


def _try(action: Any) -> str:
    """What an action raises, in words; "" where it does nothing of the kind."""
    try:
        action()
    except Exception as error:
        return _words(error)
    return ""


def _is_missing() -> bool:
    try:
        return not metadata.version("torch")
    except metadata.PackageNotFoundError:
        return True


def _words(error: BaseException, limit: int = 300) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= limit else f"{words[: limit - 4]} ..."


if __name__ == "__main__":
    serve(look)
