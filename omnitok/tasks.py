"""A recipe's tasks made ready: datasets opened, tokenizers fitted, samples turned into marked documents."""

from __future__ import annotations

import dataclasses
import json
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

from .assemble import build
from .batch import Document, Schema
from .data import Dataset, Sample
from .draws import Source, chance
from .errors import ConfigError, DuplicateNameError, InputError, did_you_mean
from .model import READOUT, Transformer
from .nn.steps import Step
from .objectives import At, Classify, Link, Objective
from .packing import channels_of
from .recipe import Recipe, Task
from .sequence import Span, TokenSequence
from .sources import dataset_of
from .tokenizer import Channel, Tokenizer

if TYPE_CHECKING:
    from .plugins import Host

CUT = " (cut: first "
MOST_ENCODED = 1 << 27
"""bytes of encoded training samples that one process keeps"""


class Tasks:
    """What turns samples into documents: the same for training, evaluation and a loaded run. Can be pickled for workers.

    `bare` are channels of the model that no tokenizer here fills.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokenizers: Mapping[str, Tokenizer],
        objectives: Mapping[str, Objective],
        datasets: Mapping[str, Dataset] | None = None,
        bare: Mapping[str, Channel] | None = None,
    ) -> None:
        self.recipe, self.tokenizers, self.objectives = recipe, dict(tokenizers), dict(objectives)
        self.datasets, self.bare = dict(datasets or {}), dict(bare or {})
        self.channels: dict[str, Channel] = {**channels_of(self.tokenizers.values()), **self.bare}
        self.readouts = tuple(n for n, objective in self.objectives.items() if objective.reads_out())
        self.readout_first = recipe.preset().readout is not None
        self.heads = self._heads()
        self._splits: dict[tuple[str, str], Sequence[Sample]] = {}
        self._encoded: dict[tuple[Any, ...], TokenSequence] = {}
        self._room = MOST_ENCODED

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_splits": {}, "_encoded": {}, "_room": MOST_ENCODED}

    def _heads(self) -> dict[str, tuple[Step, ...]]:
        heads: dict[str, tuple[Step, ...]] = {}
        for task, objective in self.objectives.items():
            for name, steps in objective.heads(task, self.channels).items():
                if heads.setdefault(name, steps) != steps:
                    raise DuplicateNameError(f"task {task!r} needs a head {name!r} that differs from another task's: rename it")
        return heads

    def opened(self, host: Host) -> Tasks:
        """The same tasks with their data."""
        return Tasks(self.recipe, self.tokenizers, self.objectives, open_data(self.recipe, host, self.tokenizers), self.bare)

    def build(self) -> Transformer:
        """The recipe's model, with fresh weights."""
        return build(self.recipe.preset(), self.channels, self.heads, self.readouts, self.recipe.roles)

    def schema(self, model: Transformer) -> Schema:
        """What batches for this model are filled up to."""
        axes = {k: v for objective in self.objectives.values() for k, v in objective.axes().items()}
        return dataclasses.replace(model.schema, axes={**model.schema.axes, **axes})

    def split(self, task: Task, name: str) -> Sequence[Sample]:
        """The samples of a task, opened once per process; tasks over the same data share them."""
        if task.name not in self.datasets:
            raise ConfigError(f"the data of task {task.name!r} is not open here")
        key = (_data_key(task), name)
        if key not in self._splits:
            self._splits[key] = self.datasets[task.name].split(name)
        return self._splits[key]

    def sources(self) -> list[Source]:
        """How the training samples of every task are drawn."""
        return [
            Source(t.name, len(self.split(t, t.split)), t.share, self.datasets[t.name].weights(t.split))
            for t in self.recipe.tasks
        ]

    def __call__(self, task: str, index: int, key: str) -> Document:
        """A training document, for the loader."""
        config = self.recipe.task(task)
        sample = self.split(config, config.split)[index]
        return self.document(task, sample, f"{task}/{index}", key, (task, index))

    def document(
        self, task: str, sample: Sample, name: str = "", key: str | None = None, known: tuple[Any, ...] | None = None
    ) -> Document:
        """One sample -> a document with what the task asks of it; with a `key`, cropped and marked as training does.

        `known` names the sample among those of training, whose tokens are kept for the next time. Raises InputError
        naming the field that is missing or refused.
        """
        config, objective = self.recipe.task(task), self.objectives[task]
        name = name or task
        document = self.recipe.preset().prepare(self.compose(config, sample, None if key is None else chance(key, "crop"), known))
        if config.truncate:
            budget = self.recipe.train.budget
            document, name = _truncate(document, budget - objective.added(budget), name)
        readout = READOUT + self.readouts.index(task) if task in self.readouts else 0
        rng = chance(key or f"{self.recipe.train.seed}/{name}", "mark")
        at = At(task, self.channels, rng, key is not None, readout, self.readout_first)
        return objective.mark(document.replace(name=name), sample, at)

    def compose(
        self, task: Task, sample: Sample, rng: random.Random | None = None, known: tuple[Any, ...] | None = None
    ) -> Document:
        """The template filled in: fields encoded, closed by their `end` and joined, streams cropped to the context."""
        streams: dict[str, TokenSequence] = {}
        starts: dict[str, list[tuple[int, int, int]]] = {}
        for stream, instance, field in task.fields():
            so_far = streams.get(stream, TokenSequence())
            part = self._remembered(None if known is None else (*known, instance, field), instance, field, sample)
            streams[stream] = so_far + part
            starts.setdefault(stream, []).append((len(so_far), len(part), self.tokenizers[instance].unit))
        if task.context is not None:
            rng = rng if len(streams) == 1 else None  # windows of several streams would not belong together
            streams = {s: crop(x, task.context, starts[s], rng) for s, x in streams.items()}
        return Document(streams)

    def _remembered(self, key: tuple[Any, ...] | None, instance: str, field: str, sample: Sample) -> TokenSequence:
        """A field's tokens, kept under `key` while there is room: a window costs no second encoding of its whole object."""
        if key in self._encoded:
            return self._encoded[key]  # type: ignore[index]
        tokens = self.encode(instance, field, sample)
        size = sum(x.nbytes for span in tokens.spans for x in (span.content, *span.axes.values()))
        if key is not None and size <= self._room:
            self._encoded[key], self._room = tokens, self._room - size
        return tokens

    def encode(self, instance: str, field: str, sample: Sample) -> TokenSequence:
        """One field as tokens, closed by its channel's `end` where it has one."""
        tokenizer = self.tokenizers[instance]
        if field not in sample:
            raise InputError(f"the sample has no field {field!r}; {did_you_mean(field, sample, 'fields')}")
        try:
            tokens = tokenizer.encode(sample[field])
        except InputError as error:
            raise InputError(f"field {field!r}: {error}") from None
        return closed(tokens, tokenizer)


def closed(tokens: TokenSequence, tokenizer: Tokenizer) -> TokenSequence:
    """A tokenizer's tokens with the `end` of their last channel, where that has one."""
    channels = tokenizer.channels()
    last = tokens.spans[-1].channel if tokens.spans else next(iter(channels))
    end = channels[last].end
    return tokens if end is None else tokens + TokenSequence((Span(last, torch.tensor([end])),))


def crop(tokens: TokenSequence, context: int, parts: Sequence[tuple[int, int, int]], rng: random.Random | None) -> TokenSequence:
    """At most `context` tokens: the first, or with `rng` a window that starts at a multiple of the unit of a field.

    `parts` are (start, length, unit) of every field.
    """
    if len(tokens) <= context:
        return tokens
    last = len(tokens) - context
    starts = [at for start, length, unit in parts for at in range(start, min(start + length, last + 1), unit)]
    start = rng.choice(starts) if rng else 0
    return tokens[start : start + context]


def _truncate(document: Document, budget: int, name: str) -> tuple[Document, str]:
    """A document over the budget without the end of its longest stream, and a name that tells of it."""
    streams, whole = dict(document.streams), len(document)
    while (excess := sum(map(len, streams.values())) - budget) > 0:
        longest = max(streams, key=lambda s: len(streams[s]))
        streams[longest] = streams[longest][: max(0, len(streams[longest]) - excess)]
    if whole > budget:
        name = f"{name}{CUT}{budget} of {whole} tokens)"
    return document.replace(streams=streams), name


def was_cut(name: str) -> bool:
    """Whether the document of that name lost tokens to the budget."""
    return CUT in name


def prepare(recipe: Recipe, host: Host, given: Mapping[str, Tokenizer] | None = None) -> Tasks:
    """Open a recipe's datasets and make its tokenizers and objectives from them.

    Tokenizers see training splits only, of all tasks that use them, in the order of the recipe, up to
    `train.fit_samples`; those in `given` are taken as they are. Raises ConfigError naming the part of the recipe.
    """
    given = given or {}
    used = dict.fromkeys(instance for t in recipe.tasks for _, instance, _ in t.fields())
    for instance in recipe.tokenizers:
        if instance not in used:
            raise ConfigError(f"tokenizer {instance!r} is used by no task; {did_you_mean(instance, used, 'used')}")
    datasets = open_data(recipe, host, given)
    tokenizers = {i: given.get(i) or _tokenizer(recipe, i, datasets, host) for i in used}
    objectives = {t.name: _objective(t.objective, datasets[t.name]) for t in recipe.tasks}
    bare = Tasks(recipe, {}, {}, datasets)
    fitted = {i: t if i in given else _fitted(bare, i, t) for i, t in tokenizers.items()}
    return Tasks(recipe, fitted, objectives, datasets)


def open_data(recipe: Recipe, host: Host, known: Mapping[str, Tokenizer] | None = None) -> dict[str, Dataset]:
    """The dataset of every task; tokenizers that are `known` read its files."""
    return {t.name: dataset_of(recipe, t, host, known) for t in recipe.tasks}


def _data_key(task: Task) -> str:
    return json.dumps({k: v for k, v in task.data.items() if k not in ("split", "eval")}, sort_keys=True, default=str)


def _uses(recipe: Recipe, instance: str) -> Iterator[tuple[Task, str]]:
    """The tasks and fields that an instance encodes, in the recipe's order."""
    return ((t, field) for t in recipe.tasks for _, name, field in t.fields() if name == instance)


def _tokenizer(recipe: Recipe, instance: str, datasets: Mapping[str, Dataset], host: Host) -> Tokenizer:
    """A tokenizer with what the recipe sets, and the datasets' metadata in fields that have no value of their own."""
    plugin, config = recipe.plugin(instance), recipe.config(instance)
    unset = [n for n, f in host.tokenizer_class(plugin).config_fields().items() if n not in config and f.default is None]
    told: dict[str, tuple[Any, str]] = {}
    for task, _ in _uses(recipe, instance):
        metadata = datasets[task.name].metadata()
        for name in unset:
            if metadata.get(name) is not None:
                value, first = told.setdefault(name, (metadata[name], task.name))
                if value != metadata[name]:
                    raise ConfigError(
                        f"tasks {first!r} and {task.name!r} give tokenizer {instance!r} another {name!r}: use two tokenizers"
                    )
    return host.tokenizer(plugin, instance=instance, **config, **{k: v for k, (v, _) in told.items()})


def _objective(objective: Objective, dataset: Dataset) -> Objective:
    """An objective with the classes that its dataset names, where the recipe leaves them out."""
    classes = dataset.metadata().get("classes")
    if not isinstance(objective, Classify | Link) or objective.label is None or classes is None:
        return objective
    if objective.classes is not None or objective.names:
        return objective
    return objective.replace(classes=classes) if isinstance(classes, int) else objective.replace(names=tuple(map(str, classes)))


def _fitted(tasks: Tasks, instance: str, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer fitted to its fields' training samples: all of them, or a seeded choice of `train.fit_samples`."""
    if type(tokenizer).fit is Tokenizer.fit:
        return tokenizer
    recipe = tasks.recipe
    uses = {(_data_key(t), t.split, field): (tasks.split(t, t.split), field) for t, field in _uses(recipe, instance)}
    fields = list(uses.values())
    ends = list(accumulate(len(samples) for samples, _ in fields))
    chosen: Sequence[int] = range(ends[-1])
    if ends[-1] > recipe.train.fit_samples:
        rng = random.Random(f"{recipe.train.seed}/fit/{instance}")
        chosen = sorted(rng.sample(range(ends[-1]), recipe.train.fit_samples))

    def values() -> Iterator[Any]:
        for i in chosen:
            at = bisect_right(ends, i)
            samples, field = fields[at]
            yield samples[i - (ends[at - 1] if at else 0)][field]

    return tokenizer.fit(values())
