"""Labels and numbers of a whole document, or of each of its tokens: classification and regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ..batch import Ask, Document
from ..errors import ConfigError, InputError, SequenceError, did_you_mean
from ..model import CONTROL
from ..nn.steps import Linear, Pool, Step
from ..sequence import Span, TokenSequence
from ..tokenizer import Channel
from .base import At, Objective, stream_of, with_main


class Labelled(Objective, frozen=True):
    """Base: where the label comes from and where it is read."""

    label: Annotated[str, Meta(description="field of the sample")]
    read: Annotated[
        Literal["readout", "mean", "tokens"],
        Meta(description="where: a readout token that sees all, the mean of all rows, or every token by itself"),
    ] = "readout"

    def reads_out(self) -> bool:
        return self.read == "readout"

    def size(self) -> int:
        raise NotImplementedError

    def target(self, value: Any, document: Document) -> Tensor:
        """[G] or [G, size] from the sample's field."""
        raise NotImplementedError

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        return {task: (*((Pool(),) if self.read == "mean" else ()), Linear(self.size()))}

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        if self.label not in sample:
            raise SequenceError(f"{document.name}: the sample has no field {self.label!r}; {did_you_mean(self.label, sample)}")
        target = self.target(sample[self.label], document)
        length, group, streams = len(document.main), None, document.streams
        rows = torch.arange(length)
        if self.read == "readout":
            readout = TokenSequence((Span(CONTROL, torch.tensor([at.readout])),))
            joined = readout + document.main if at.readout_first else document.main + readout
            streams, rows = with_main(document, joined), torch.tensor([0 if at.readout_first else length])
        elif self.read == "mean":
            group = torch.zeros(length, dtype=torch.long)
        elif len(target) != length:
            raise SequenceError(f"{document.name}: {len(target)} labels in {self.label!r} for {length} tokens")
        weight = torch.ones(len(target))
        if self.read == "tokens" and not target.is_floating_point():
            asked = target >= 0
            rows, target, weight = rows[asked], target[asked], weight[asked]
        ask = Ask(at.task, rows, target, weight, group, None, stream_of(document))
        return document.replace(streams=streams, asks={**document.asks, at.task: ask})


class Classify(Labelled, frozen=True):
    """One of `classes` labels, by cross-entropy. A token's label -1 is not asked for."""

    classes: Annotated[int, Meta(ge=1, description="labels; unset: as many as the dataset names")] | None = None
    names: Annotated[tuple[str, ...], Meta(description="words for the labels; unset: the dataset's")] = ()

    def size(self) -> int:
        if self.classes is None and not self.names:
            raise ConfigError(f"classify {self.label!r}: set `classes`; the dataset does not name them")
        return self.classes or len(self.names)

    def target(self, value: Any, document: Document) -> Tensor:
        if isinstance(value, str):
            if value not in self.names:
                raise InputError(f"{document.name}: unseen label {value!r}; {did_you_mean(value, self.names, 'classes')}")
            value = self.names.index(value)
        target = torch.as_tensor(value).long().reshape(-1)
        low = -1 if self.read == "tokens" else 0
        if len(target) and not low <= int(target.min()) <= int(target.max()) < self.size():
            raise InputError(
                f"{document.name}: label {target.tolist()[:5]} is outside the {self.size()} classes of {self.label!r}"
            )
        return target

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        return F.cross_entropy(out.float(), ask.target, reduction="none")

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        loss = F.cross_entropy(out.float(), ask.target, reduction="sum").item()
        return {"accuracy": ((out.argmax(-1) == ask.target).sum().item(), len(out)), "nats": (loss, len(out))}

    def chance(self, targets: Tensor) -> dict[str, float]:
        share = torch.bincount(targets).double() / max(1, len(targets))
        seen = share[share > 0]
        return {"accuracy": share.max().item() if len(targets) else 0.0, "nats": -(seen * seen.log()).sum().item()}

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        best = out.argmax(-1).tolist()
        return [self.names[i] for i in best] if self.names else best


class Regress(Labelled, frozen=True):
    """One or several numbers, by squared error of (x - mean) / std."""

    mean: Annotated[float, Meta(description="of the numbers; the model predicts (x - mean) / std")] = 0.0
    std: Annotated[float, Meta(gt=0, description="of the numbers")] = 1.0
    columns: Annotated[int, Meta(ge=1, description="numbers per target")] = 1

    def size(self) -> int:
        return self.columns

    def target(self, value: Any, document: Document) -> Tensor:
        target = torch.as_tensor(value).float().reshape(-1, self.columns)
        if not bool(target.isfinite().all()):
            raise InputError(f"{document.name}: {self.label!r} holds NaN or infinity")
        return (target - self.mean) / self.std

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        return (out.float() - ask.target).square().mean(-1)

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        error = (out.float() - ask.target) * self.std
        return {"mse": (error.square().mean(-1).sum().item(), len(out)), "mae": (error.abs().mean(-1).sum().item(), len(out))}

    def chance(self, targets: Tensor) -> dict[str, float]:
        if not len(targets):
            return {"mse": 0.0, "mae": 0.0}
        error = targets * self.std
        return {
            "mse": (error - error.mean(0)).square().mean().item(),
            "mae": (error - error.median(0).values).abs().mean().item(),
        }

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        values = out * self.std + self.mean
        return values[:, 0].tolist() if self.columns == 1 else values.tolist()  # type: ignore[no-any-return]
