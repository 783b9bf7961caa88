"""Runs: a trained model with its tokenizers and tasks, out of a folder that training wrote."""

from __future__ import annotations

import platform
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy
import torch

from . import __version__, checkpoint
from .batch import Document, collate
from .beam import Hypothesis, Rules, beam_search
from .config import from_plain, to_plain
from .errors import CheckpointError, ConfigError, PluginError, SequenceError, UnknownNameError, did_you_mean, unknown_name
from .generate import Pick, Sampler, Session, generate
from .model import Transformer
from .objectives import Objective
from .recipe import Recipe, make_recipe
from .sequence import TokenSequence
from .tasks import Tasks
from .tokenizer import Channel, Tokenizer
from .toml import to_toml

if TYPE_CHECKING:
    from .data import Sample
    from .plugins import Host


@dataclass
class Run:
    """A model as one checkpoint left it, and all that turns objects into its documents and back."""

    folder: Path
    step: int
    tasks: Tasks
    model: Transformer
    host: Host
    """the plugins it uses"""

    @property
    def recipe(self) -> Recipe:
        return self.tasks.recipe

    @property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """The fitted tokenizers by instance name."""
        return self.tasks.tokenizers

    def tokenizer(self, channel: str) -> Tokenizer:
        """The tokenizer of a channel or instance. Raises UnknownNameError naming what there is."""
        instance = channel.partition("/")[0]
        if instance not in self.tokenizers:
            raise unknown_name("tokenizer of channel", channel, self.tasks.channels, "this run's channels")
        return self.tokenizers[instance]

    def document(self, task: str, sample: Sample) -> Document:
        """A sample as the task's document, marked as in evaluation."""
        return self.tasks.document(task, sample)

    def answers(self, task: str, sample: Sample) -> list[Any]:
        """What the model answers to a task's question about one sample: ids, labels or numbers."""
        batch = collate([self.document(task, sample)], self.tasks.schema(self.model)).to(next(self.model.parameters()).device)
        with torch.no_grad():
            return self.tasks.objectives[task].answers(self.model(batch)[task], batch.asks[task])

    def session(self, documents: int = 1, **options: Any) -> Session:
        """Growing documents behind the model's cache; options as in `Session`."""
        return Session(self.model, documents, **options)

    @property
    def reads(self) -> str | None:
        """The stream that prompts go to where the decoder of this model reads one."""
        return self.model.config.streams[self.model.main].memory

    def generate(
        self,
        prompt: TokenSequence | Document,
        channel: str,
        max_tokens: int,
        pick: Pick | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> TokenSequence:
        """The tokens that the model adds to a prompt on one channel; `pick` chooses ids (the best by default).

        The prompt of an encoder-decoder is what the decoder reads; it begins with its start token, or, where the prompt
        is a document that holds the decoder's stream, behind that. Raises ConfigError where the model has no head for
        the channel, SequenceError for an empty prompt.
        """
        session = self.prompted(prompt, channel)
        return generate(session, self.tokenizer(channel), channel, max_tokens, pick or Sampler(0.0), meta)

    def beams(
        self,
        prompt: TokenSequence | Document,
        channel: str,
        max_tokens: int,
        rules: Rules | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> list[Hypothesis]:
        """The likeliest continuations of a prompt on one channel of ids, best first (`beam.beam_search`)."""
        return beam_search(self.prompted(prompt, channel), self.tokenizer(channel), channel, max_tokens, rules, meta)[0]

    def prompted(self, prompt: TokenSequence | Document, channel: str) -> Session:
        """A session that goes on behind this prompt on one channel."""
        tokenizer = self.tokenizer(channel)
        if channel not in self.tasks.heads:
            raise ConfigError(
                f"no task of this run predicts channel {channel!r}; {did_you_mean(channel, self.tasks.heads, 'heads')}"
            )
        document = prompt if isinstance(prompt, Document) else Document({self.reads or self.model.main: prompt})
        if not len(document):
            raise SequenceError("an empty prompt: the first token is read off the one before it, so give at least one")
        session = self.session(attend={channel: "causal"}, unit=tokenizer.unit)
        if self.reads is None:
            return session.feed(document.main)
        session.read({name: x for name, x in document.streams.items() if name != self.model.main})
        if self.model.main in document.streams:
            return session.feed(document.main)
        return session.start(channel, tokenizer.channels()[channel])


def load_run(folder: str | Path, plugin_files: Iterable[str | Path] = (), device: str = "cpu") -> Run:
    """The newest checkpoint of a run. Imports only the plugins that its manifest names.

    A plugin that is a file must be handed over again in `plugin_files`, and be the same. Raises CheckpointError where
    the checkpoint is incomplete or altered, or a plugin is missing.
    """
    newest = checkpoint.latest(Path(folder))
    if newest is None:
        raise CheckpointError(f"{folder}: no complete checkpoint here; name the folder that `omnitok train --out` wrote")
    saved = checkpoint.load(newest)
    host = host_of(saved, plugin_files)
    tasks = restore_tasks(saved, host)
    model = tasks.build()
    load_weights(model, saved)
    return Run(Path(folder), saved.step, tasks, model.to(device).eval(), host)


def load_weights(model: Transformer, saved: checkpoint.Checkpoint) -> None:
    """Put a checkpoint's weights into a model. Raises CheckpointError where they do not belong to it."""
    try:
        model.load_state_dict(saved.tensors("model.safetensors"))
    except RuntimeError as error:
        raise CheckpointError(f"{saved.folder}: the weights do not fit this version's model ({error})") from None


def describe(tasks: Tasks, host: Host) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What a manifest says of a run beside its weights, and the tokenizers' states as files."""
    states = {f"tokenizers/{i}.state": t.state for i, t in tasks.tokenizers.items() if t.state is not None}
    used = {t.name for t in tasks.tokenizers.values()} | {d.name.partition("/")[0] for d in tasks.datasets.values()}
    facts = {
        "recipe": to_toml(tasks.recipe),
        "tokenizers": {i: {"plugin": t.name, "config": config_of(t)} for i, t in tasks.tokenizers.items()},
        "objectives": {name: to_plain(objective) for name, objective in tasks.objectives.items()},
        "channels": {name: channel.to_plain() for name, channel in tasks.bare.items()},
        "plugins": {
            s.name: {"distribution": s.distribution, "version": s.version, "file": s.is_file}
            for s in host.status()
            if s.name in used and s.status != "disabled"
        },
        "versions": {
            "omnitok": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
    }
    return facts, states


def config_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The values of a tokenizer's fields, as a recipe writes them."""
    values = {name: msgspec.to_builtins(to_plain(getattr(tokenizer, name))) for name in tokenizer.config_fields()}
    return {k: v for k, v in values.items() if v is not None}


def host_of(saved: checkpoint.Checkpoint, plugin_files: Iterable[str | Path]) -> Host:
    """A host of just the plugins that a manifest names. Raises CheckpointError for one that is missing or changed."""
    from .plugins import load_plugins

    missing = [key for key in ("recipe", "tokenizers", "objectives", "plugins", "versions") if key not in saved.manifest]
    if missing:
        raise CheckpointError(f"{saved.folder}: its manifest has no {', '.join(missing)}, so it is not a run's checkpoint")
    needed: Mapping[str, Mapping[str, Any]] = saved.manifest["plugins"]
    installed = [name for name, fact in needed.items() if not fact["file"]]
    try:
        host = load_plugins(only=installed, files=plugin_files)
    except UnknownNameError as error:
        lists = ", ".join(f"{n} ({needed[n]['distribution']} {needed[n]['version']})" for n in installed)
        raise CheckpointError(f"{saved.folder} was made with the plugins {lists}: {error}") from None
    here = {s.name: s for s in host.status() if s.status != "disabled"}
    for name, fact in needed.items():
        _check_plugin(saved, name, fact, here.get(name))
    return host


def _check_plugin(saved: checkpoint.Checkpoint, name: str, fact: Mapping[str, Any], here: Any) -> None:
    if here is None:
        raise CheckpointError(
            f"{saved.folder} was made with plugin {name!r} from the file {fact['distribution']}: hand it over with --plugin"
        )
    if here.version == fact["version"]:
        return
    if fact["file"]:
        raise CheckpointError(
            f"plugin file {here.distribution} is not the one that {saved.folder} was made with: it has changed since, or is "
            f"another; hand over {fact['distribution']} as it was ({fact['version']}), or train again"
        )
    warnings.warn(f"{saved.folder} was made with {fact['distribution']} {fact['version']}, here is {here.version}", stacklevel=2)


def restore_tasks(saved: checkpoint.Checkpoint, host: Host) -> Tasks:
    """The tasks of a checkpoint with its fitted tokenizers, without their data."""
    try:
        recipe = make_recipe(tomllib.loads(saved.manifest["recipe"]), tasks_needed=False)
        tokenizers = {i: _tokenizer(saved, i, fact, host) for i, fact in saved.manifest["tokenizers"].items()}
        objectives = {n: from_plain(plain, Objective, n) for n, plain in saved.manifest["objectives"].items()}
        bare = {name: Channel.from_plain(plain, name) for name, plain in saved.manifest.get("channels", {}).items()}
        return Tasks(recipe, tokenizers, objectives, bare=bare)
    except (ConfigError, PluginError) as error:
        raise CheckpointError(f"{saved.folder} cannot be used here: {error}") from None


def _tokenizer(saved: checkpoint.Checkpoint, instance: str, fact: Mapping[str, Any], host: Host) -> Tokenizer:
    state = saved.files.get(f"tokenizers/{instance}.state")
    return host.restored(fact["plugin"], instance, fact["config"], state)
