"""The training loop over a recipe: updates, evaluations and checkpoints, resumed bit for bit."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from . import checkpoint, rng
from .draws import Draws
from .errors import CheckpointError, ConfigError, NonFiniteError
from .evaluate import evaluate, unasked
from .loader import Loader
from .metrics import Metrics, Window
from .recipe import Recipe
from .run import Run, describe, load_weights, restore_tasks
from .start import follow, take_weights
from .tasks import Tasks, open_data, prepare, was_cut
from .toml import to_toml
from .update import NOTHING_ASKED, Update, Updater, cast_of

if TYPE_CHECKING:
    from .plugins import Host

NAMED = 20
"""Documents that a message names at most."""


@dataclass(frozen=True)
class Result:
    """How a training ended."""

    step: int
    report: dict[str, dict[str, Any]] | None
    """the last evaluation"""
    interrupted: bool = False


def train(
    recipe: Recipe, out: str | Path, host: Host, resume: bool = False, quiet: bool = False, start: Run | None = None
) -> Result:
    """Train what a recipe says into a run folder: metrics.jsonl, recipe.toml and checkpoints/.

    `start` is a run whose model, tokenizers and weights the new one begins with (`omnitok/start.py`).

    Raises ConfigError where the folder holds a run already, or none to resume; NonFiniteError after `train.max_skips`
    refused updates in a row, with the last checkpoint intact.
    """
    folder = Path(out)
    newest = checkpoint.latest(folder)
    if newest and not resume:
        raise ConfigError(f"{folder} already holds a run ({newest.name}): continue it with --resume, or choose another --out")
    if resume and not newest:
        raise ConfigError(f"{folder} holds no complete checkpoint to resume; leave --resume out to start")
    if resume and start:
        raise ConfigError("--resume continues the run itself; --from starts another one: choose one of them")
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    saved = checkpoint.load(newest) if newest else None
    if saved and "data" not in saved.manifest:
        raise CheckpointError(f"{newest} was imported, not trained: start from it with --from {folder} and another --out")
    training = Training(recipe, folder, host, saved, quiet, start)
    with stop_on_signal() as stop:
        try:
            return training.run(stop)
        finally:
            training.close()


class Training:
    """One training in progress."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        host: Host,
        saved: checkpoint.Checkpoint | None = None,
        quiet: bool = True,
        start: Run | None = None,
    ) -> None:
        recipe, given = follow(recipe, start) if start else (recipe, {})
        self.recipe, self.config, self.folder, self.host, self.quiet = recipe, recipe.train, folder, host, quiet
        self.tasks = prepare(recipe, host, given) if saved is None else _again(recipe, saved, host)
        rng.seed_all(self.config.seed)
        self.updater = Updater(self.tasks.build(), self.tasks)
        if start is not None:
            taken = take_weights(self.updater.model, start)
            if not quiet:
                print(taken, file=sys.stderr)
        schema = self.tasks.schema(self.updater.model)
        draws = Draws(self.tasks.sources(), self.config.seed)
        self.loader = Loader(self.tasks, draws, self.config.budget, schema, self.config.workers)
        self.window, self.refused = Window(), 0
        self.report: dict[str, dict[str, Any]] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.toml").write_text(to_toml(recipe))
        self.metrics = Metrics(folder, self.config.tensorboard)
        self.metrics.rewind(saved.step if saved else -1)
        self.started = time.monotonic()
        if saved is not None:
            self._restore(saved)

    def run(self, stop: threading.Event) -> Result:
        """Update until `train.steps`, or until `stop` is set; either way the last state is saved."""
        often = 0.1 if sys.stderr.isatty() else 20.0  # seconds: a log file needs fewer lines than a screen
        with tqdm(total=self.config.steps, initial=self.updater.step, unit="step", disable=self.quiet, mininterval=often) as bar:
            while self.updater.step < self.config.steps and not stop.is_set():
                result = self._update()
                if result.done:
                    bar.update()
                    bar.set_postfix(loss=f"{result.loss:.3f}", refresh=False)
                    self._after(self.updater.step)
        if stop.is_set():
            self.save()
            return Result(self.updater.step, self.report, interrupted=True)
        if self.report is None:
            self.evaluate()
        self.save()
        return Result(self.updater.step, self.report)

    def _update(self) -> Update:
        batches = list(islice(self.loader, self.config.accumulate))
        result = self.updater.update(batches)
        names = [name for batch in batches for name in batch.names]
        if not result.done:
            self._refuse(result)
            return result
        self.refused = 0
        self.window.add(
            updates=1,
            loss=result.loss,
            gradient=result.gradient,
            tokens=sum(map(len, batches)),
            documents=len(names),
            unasked=sum(map(unasked, batches)),
            cut=sum(map(was_cut, names)),
        )
        for task, (total, weight) in result.losses.items():
            self.window.add_loss(task, total, weight)
        if self.updater.step % self.config.log_every == 0:
            self._log(result.rate)
        return result

    def _refuse(self, result: Update) -> None:
        """Record an update that was not made; the weights never saw it."""
        self.refused += 1
        self.window.add(skipped=1)
        step = self.updater.step
        self.metrics.write({"step": step + 1, "skipped": result.reason, "documents": result.suspects})
        some = ", ".join(result.suspects[:NAMED]) + (
            f" and {len(result.suspects) - NAMED} more" if len(result.suspects) > NAMED else ""
        )
        message = f"step {step + 1} skipped: {result.reason}; documents: {some}"
        if not self.quiet:
            tqdm.write(message, file=sys.stderr)
        if self.refused >= self.config.max_skips:
            newest = checkpoint.latest(self.folder)
            rest = f"the last checkpoint is {newest}" if newest else "there is no checkpoint yet"
            kind = ConfigError if result.reason == NOTHING_ASKED else NonFiniteError
            raise kind(f"{self.refused} updates in a row were refused; {message}; {rest}")

    def _log(self, rate: float) -> None:
        step, seconds = self.updater.step, time.monotonic() - self.started
        record = self.window.record()
        updates = record.pop("updates")
        fill = record["tokens"] / (updates * self.config.accumulate * self.config.budget)
        means = {"loss": record.pop("loss") / updates, "gradient": record.pop("gradient") / updates}
        self.metrics.write({"step": step, **means, "rate": rate, "fill": fill, **record, "seconds": round(seconds, 3)})

    def _after(self, step: int) -> None:
        """What is due behind an update."""
        self.report = None
        if self.config.evaluate_every and step % self.config.evaluate_every == 0:
            self.evaluate()
        if self.config.checkpoint_every and step % self.config.checkpoint_every == 0:
            self.save()

    def evaluate(self) -> None:
        """Score the held-out samples and record it."""
        cast = cast_of(self.config.precision, self.updater.device)
        self.report = evaluate(self.updater.model, self.tasks, cast=cast)
        self.metrics.write({"step": self.updater.step, "evaluation": self.report})

    def save(self) -> None:
        """Write a checkpoint of everything that the next update depends on."""
        tensors, random_facts = rng.take()
        facts, states = describe(self.tasks, self.host)
        facts |= {
            "data": self.loader.state(),
            "random": random_facts,
            "window": self.window.sums,
            "refused": self.refused,
            "threads": torch.get_num_threads(),
            "device": self.updater.device.type,
        }
        files = {"model.safetensors": self.updater.model.state_dict(), "optimizer.safetensors": self.updater.state()}
        checkpoint.save(self.folder, self.updater.step, files | {"random.safetensors": tensors}, states, facts, self.config.keep)

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        facts = saved.manifest
        load_weights(self.updater.model, saved)
        self.updater.restore(saved.tensors("optimizer.safetensors"), saved.step)
        self.loader.restore(facts["data"])
        self.window, self.refused = Window(facts["window"]), facts["refused"]
        rng.put(saved.tensors("random.safetensors"), facts["random"])
        here = {"threads": torch.get_num_threads(), "device": self.updater.device.type, "torch": torch.__version__}
        for name, now in here.items():
            was = facts["versions"][name] if name == "torch" else facts[name]
            if was != now:
                warnings.warn(f"{name} was {was} and is {now}: the run goes on, but not bit for bit", stacklevel=2)

    def close(self) -> None:
        """Stop the workers and close the files."""
        self.loader.close()
        self.metrics.close()


def _again(recipe: Recipe, saved: checkpoint.Checkpoint, host: Host) -> Tasks:
    """The tasks of a checkpoint, with their data open; the recipe may differ from it in [train] only."""
    old = restore_tasks(saved, host)
    for part in ("tokenizers", "tasks", "model"):
        if getattr(recipe, part) != getattr(old.recipe, part):
            raise CheckpointError(
                f"{part!r} of the recipe is not what {saved.folder} was trained with; start another run with --out"
            )
    return Tasks(recipe, old.tokenizers, old.objectives, open_data(recipe, host, old.tokenizers))


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or termination signal sets, so that a step is never cut in two; a second one interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
