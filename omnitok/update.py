"""One update of the weights: forward, loss, gradient, and the refusal of anything that is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .batch import PackedBatch
from .errors import ConfigError
from .model import Transformer
from .nn.mixers import MLPModule
from .nn.residual import ResidualModule
from .recipe import Train
from .tasks import Tasks

NOTHING_ASKED = "nothing is asked of any document"


@dataclass
class Update:
    """What one update did."""

    done: bool
    """False: a loss or gradient was not finite, or nothing was asked; the weights are as before."""
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    """task -> (sum of weighted losses, sum of weights)"""
    loss: float = 0.0
    gradient: float = 0.0
    """length before clipping"""
    rate: float = 0.0
    reason: str = ""
    suspects: list[str] = field(default_factory=list)
    """documents whose loss was not finite, or all of them where only the gradient was not"""


def learning_rate(step: int, config: Train) -> float:
    """The rate of update number `step` (from 0): a linear rise, then half a cosine down to `floor`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def device_of(name: str) -> torch.device:
    """The device that a recipe names; "auto" is a GPU where there is one. Raises ConfigError where there is not."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f'train.device: unknown device {name!r}; use "auto", "cpu" or "cuda"') from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"train.device: {name!r} asked for, but this machine has no usable GPU")
    return device


def cast_of(precision: str, device: torch.device) -> AbstractContextManager:
    """The autocast context of a precision: "auto" is bf16 on a GPU that has it, fp32 elsewhere."""
    auto = precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or auto)


def compile_rows(model: nn.Module) -> None:
    """Compile, in place, the residuals that work row by row: one graph fits every batch.

    The whole model would be compiled anew for every mix of document lengths, which takes longer than it saves.
    """
    for module in model.modules():
        if isinstance(module, ResidualModule) and isinstance(module.mixer, MLPModule):
            module.compile(dynamic=True)


class Updater:
    """A model, its optimizer and its step counter."""

    def __init__(self, model: Transformer, tasks: Tasks) -> None:
        self.tasks, self.config = tasks, tasks.recipe.train
        self.device = device_of(self.config.device)
        self.model = model.to(self.device).train()
        if self.config.compile:
            compile_rows(self.model)
        named = list(model.named_parameters())
        decayed = [p for n, p in named if p.dim() > 1 and not n.endswith("bias")]  # experts stack theirs
        others = [p for n, p in named if p.dim() <= 1 or n.endswith("bias")]
        groups = [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=self.config.betas, fused=True)
        saved = model.state_dict()
        self.buffers = [name for name, _ in model.named_buffers() if name in saved]
        self.step = 0

    def update(self, batches: Sequence[PackedBatch]) -> Update:
        """One step over the batches (several: accumulated). Weights, buffers and random state stay where it is refused."""
        undo = (self._buffers(), torch.get_rng_state(), self._cuda_state())
        totals: dict[str, float] = {}
        for batch in batches:
            for task, ask in batch.asks.items():
                totals[task] = totals.get(task, 0.0) + float(ask.weight.sum())
        result = self._gradient(batches, {t: w for t, w in totals.items() if w})
        if result.done:
            for group in self.optimizer.param_groups:
                group["lr"] = result.rate = learning_rate(self.step, self.config)
            self.optimizer.step()
            self.step += 1
        else:
            self._undo(*undo)
        self.optimizer.zero_grad(set_to_none=True)
        return result

    def _gradient(self, batches: Sequence[PackedBatch], totals: dict[str, float]) -> Update:
        """Clipped gradient of the sum over tasks of weight x (sum of losses / sum of weights, over all batches)."""
        if not totals:
            return Update(False, reason=NOTHING_ASKED, suspects=[n for b in batches for n in b.names])
        parts = []
        for batch in batches:
            moved = batch.to(self.device, non_blocking=True)
            asks = {t: a for t, a in moved.asks.items() if t in totals and len(a.weight)}
            with cast_of(self.config.precision, self.device):
                extra: list[Tensor] = []
                out = self.model(moved, extra=extra)
                each = {t: self.tasks.objectives[t].loss(out[t], ask) * ask.weight for t, ask in asks.items()}
            if each:
                terms = [self._factor(t, totals) * x.sum() for t, x in each.items()]
                terms += [x / len(batches) for x in extra]
                torch.stack(terms).sum().backward()
                parts.append((moved, {t: x.detach() for t, x in each.items()}))
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        return self._judge(parts, norm, totals)

    def _factor(self, task: str, totals: dict[str, float]) -> float:
        return self.tasks.recipe.task(task).weight / totals[task]

    def _judge(self, parts: list[tuple[PackedBatch, dict[str, Tensor]]], norm: Tensor, totals: dict[str, float]) -> Update:
        """Whether all is finite: the numbers come from the device in one piece, once per update."""
        sums = {t: torch.stack([each[t].sum() for _, each in parts if t in each]).sum() for t in totals}
        gradient, *values = torch.stack([norm, *sums.values()]).tolist()
        losses = {t: (value, totals[t]) for t, value in zip(totals, values, strict=True)}
        loss = sum(self._factor(t, totals) * value for t, (value, _) in losses.items())
        if not math.isfinite(loss):
            found = dict.fromkeys(name for batch, each in parts for name in suspects(batch, each))
            return Update(False, losses, loss, gradient, reason="the loss is not finite", suspects=list(found))
        if not math.isfinite(gradient):
            names = [name for batch, _ in parts for name in batch.names]
            return Update(False, losses, loss, gradient, reason="the gradient is not finite", suspects=names)
        return Update(True, losses, loss, gradient)

    def _buffers(self) -> dict[str, Tensor]:
        return {name: self.model.get_buffer(name).clone() for name in self.buffers}

    def _cuda_state(self) -> Tensor | None:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

    def _undo(self, buffers: dict[str, Tensor], cpu: Tensor, cuda: Tensor | None) -> None:
        for name, old in buffers.items():
            self.model.get_buffer(name).copy_(old)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, self.device)

    def state(self) -> dict[str, Tensor]:
        """The optimizer's tensors by "<what>:<parameter>"."""
        of = self.optimizer.state
        return {f"{what}:{n}": v for n, p in self.model.named_parameters() if p in of for what, v in of[p].items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Put back what `state` gave, and the step."""
        parameters = dict(self.model.named_parameters())
        self.optimizer.state.clear()
        for key, value in tensors.items():
            what, _, name = key.partition(":")
            self.optimizer.state[parameters[name]][what] = value.to(self.device)
        self.step = step


def suspects(batch: PackedBatch, losses: dict[str, Tensor]) -> list[str]:
    """The documents that a non-finite loss was asked of."""
    found: dict[str, None] = {}
    for task, each in losses.items():
        ask, bad = batch.asks[task], ~each.isfinite()
        rows = ask.rows[bad if ask.group is None else bad[ask.group]]
        for segment in batch.streams[ask.stream].layout.segment[rows].unique().tolist():
            found[batch.names[segment]] = None
    return list(found)
