"""Recipes: a TOML file that says what a run is, as frozen structs whose every key is described."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from . import presets
from .config import Config, from_plain
from .errors import ConfigError, DuplicateNameError, unknown_name
from .model import Preset
from .objectives import Objective

Template = dict[str, tuple[dict[str, str], ...]]
"""stream -> fields of the sample in order, each {instance: field}."""


class Task(Config, frozen=True, kw_only=True):
    """Three answers: where samples come from, how one becomes a document, and what is asked of it."""

    name: Annotated[str, Meta(description="word for the task in metrics and answers")]
    data: Annotated[
        dict[str, Any],
        Meta(description='{ name = "..." } of a registered dataset and its fields, { folder = "..." }, or { <kind> = "<id>" }'),
    ]
    document: Annotated[Template, Meta(description="{ instance = field of the sample } in order, or one such list per stream")]
    objective: Annotated[
        Objective,
        Meta(description="{ next = { on = <channel> } }, or masked, classify, regress, ctc, link, seq2seq, corrupt, contrast"),
    ]
    share: Annotated[float, Meta(gt=0, description="how often it is drawn, relative to the other tasks")] = 1.0
    weight: Annotated[float, Meta(ge=0, description="what its loss counts")] = 1.0
    context: Annotated[int, Meta(ge=1, description="longest document in tokens per stream; longer ones are cropped")] | None = (
        None
    )
    truncate: Annotated[bool, Meta(description="cut a document over the budget to it, and count it, instead of stopping")] = False

    def fields(self) -> Iterator[tuple[str, str, str]]:
        """(stream, instance, field) of the template, in order."""
        for stream, parts in self.document.items():
            for part in parts:
                for instance, name in part.items():
                    yield stream, instance, name

    @property
    def split(self) -> str:
        return str(self.data.get("split", "train"))

    @property
    def eval_split(self) -> str:
        return str(self.data.get("eval", "eval"))


class Train(Config, frozen=True, kw_only=True):
    """How long, how fast and where."""

    steps: Annotated[int, Meta(ge=0, description="updates of the weights")] = 1000
    budget: Annotated[int, Meta(ge=1, description="tokens per packed batch, all streams counted")] = 4096
    accumulate: Annotated[int, Meta(ge=1, description="packed batches per update")] = 1
    seed: Annotated[int, Meta(ge=0, description="seeds weights, data order and every other choice")] = 0
    workers: Annotated[int, Meta(ge=0, description="processes that make documents; 0: this one")] = 0
    threads: Annotated[int, Meta(ge=1, description="CPU threads of the model; unset: torch's own choice")] | None = None
    lr: Annotated[float, Meta(gt=0, description="highest learning rate")] = 1e-3
    warmup: Annotated[int, Meta(ge=0, description="steps in which the rate rises linearly")] = 100
    floor: Annotated[float, Meta(ge=0, le=1, description="share of the rate left where the cosine ends")] = 0.1
    weight_decay: Annotated[float, Meta(ge=0, description="AdamW's decay, of parameters with two dimensions or more")] = 0.01
    betas: Annotated[tuple[float, float], Meta(description="AdamW's two averages")] = (0.9, 0.95)
    clip: Annotated[float, Meta(gt=0, description="longest gradient")] = 1.0
    precision: Annotated[Literal["auto", "fp32", "bf16"], Meta(description="auto: bf16 on a GPU that has it, fp32 elsewhere")] = (
        "auto"
    )
    compile: Annotated[bool, Meta(description="torch.compile the MLP residuals (needs a C++ compiler)")] = False
    device: Annotated[str, Meta(description='"auto", "cpu", "cuda" or "cuda:1"')] = "auto"
    log_every: Annotated[int, Meta(ge=1, description="steps between lines of metrics.jsonl")] = 10
    evaluate_every: Annotated[int, Meta(ge=0, description="steps between evaluations; 0: only at the end")] = 500
    eval_samples: Annotated[int, Meta(ge=1, description="most samples per task and evaluation")] = 500
    checkpoint_every: Annotated[int, Meta(ge=0, description="steps between checkpoints; 0: only at the end")] = 500
    keep: Annotated[int, Meta(ge=1, description="checkpoints that are kept")] = 2
    max_skips: Annotated[int, Meta(ge=1, description="skipped (non-finite) steps in a row after which training stops")] = 5
    fit_samples: Annotated[int, Meta(ge=1, description="most training samples that a tokenizer is fitted to")] = 10_000
    tensorboard: Annotated[bool, Meta(description="also write TensorBoard event files")] = False


class Recipe(Config, frozen=True, kw_only=True):
    """Tokenizers by instance name, tasks, a model and a training section."""

    tokenizers: dict[str, dict[str, Any]] = {}
    tasks: Annotated[tuple[Task, ...], Meta(description="one [[tasks]] table each")]
    model: dict[str, Any] = {}
    train: Train = Train()

    def plugin(self, instance: str) -> str:
        """The plugin of a tokenizer: what it says, or its own name."""
        return str(self.tokenizers[instance].get("plugin", instance))

    def config(self, instance: str) -> dict[str, Any]:
        """The configuration of a tokenizer."""
        return {k: v for k, v in self.tokenizers[instance].items() if k != "plugin"}

    def task(self, name: str) -> Task:
        """The task of that name."""
        found = {t.name: t for t in self.tasks}
        if name not in found:
            raise unknown_name("task", name, found, "tasks")
        return found[name]

    @property
    def preset_name(self) -> str:
        return str(self.model.get("preset", "decoder"))

    @property
    def roles(self) -> dict[str, str]:
        return dict(self.model.get("channels", {}))

    def preset(self) -> Preset:
        """The preset with the [model] keys as its fields."""
        fields = {k: v for k, v in self.model.items() if k not in ("preset", "channels")}
        return from_plain(fields, presets.get(self.preset_name), "model")


def load_recipe(path: str | Path, sets: Iterable[str] = ()) -> Recipe:
    """Read a TOML recipe, with `sets` such as "train.seed=1" or "tasks.caption.share=2" laid over it.

    Raises ConfigError naming the file, the key and the nearest name.
    """
    try:
        with open(path, "rb") as file:
            plain = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the recipe ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
    for change in sets:
        override(plain, change)
    try:
        return make_recipe(plain)
    except ConfigError as error:
        raise type(error)(f"{path}: {error}") from None


def make_recipe(plain: Mapping[str, Any], tasks_needed: bool = True) -> Recipe:
    """Plain tables, as they stand in TOML -> a checked recipe that names all its tokenizers.

    A model that was imported may have no task yet.
    """
    plain = dict(plain)
    tasks = plain.get("tasks", None if tasks_needed else [])
    if not isinstance(tasks, list) or (tasks_needed and not tasks) or not all(isinstance(t, dict) for t in tasks):
        raise ConfigError("a recipe needs at least one [[tasks]] table")
    plain["tasks"] = [_task(t, f"tasks[{i}]") for i, t in enumerate(tasks)]
    recipe: Recipe = from_plain(plain, Recipe)
    names = [t.name for t in recipe.tasks]
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ConfigError(f"task name {name!r}: use lower-case letters, digits, '-' and '_'")
        if names.count(name) > 1:
            raise DuplicateNameError(f"two tasks are named {name!r}: rename one")
    used = dict.fromkeys(instance for t in recipe.tasks for _, instance, _ in t.fields())
    recipe = recipe.replace(tokenizers={**recipe.tokenizers, **{i: {} for i in used if i not in recipe.tokenizers}})
    recipe.preset()
    return recipe


def _task(plain: dict[str, Any], where: str) -> dict[str, Any]:
    """The short forms of `document` and `objective`, and the checks that a type cannot say."""
    plain = dict(plain)
    if isinstance(plain.get("document"), list):
        plain["document"] = {"main": plain["document"]}
    for stream, parts in (plain.get("document") or {}).items():
        if not isinstance(parts, list) or not parts or not all(isinstance(p, dict) and len(p) == 1 for p in parts):
            raise ConfigError(f"{where}.document: stream {stream!r} must be a list of {{ instance = field }}, got {parts!r}")
    if "objective" in plain:
        plain["objective"] = _objective(plain["objective"], f"{where}.objective")
    if isinstance(plain.get("data"), dict) and not plain["data"].keys() - {"split", "eval"}:
        raise ConfigError(f'{where}.data: say where samples come from: {{ name = "..." }} or {{ folder = "..." }}')
    return plain


def _objective(plain: Any, where: str) -> Objective:
    """`{ next = { on = "..." } }` -> Next(on="...")."""
    if isinstance(plain, Objective):
        return plain
    if not isinstance(plain, dict) or len(plain) != 1 or not isinstance(next(iter(plain.values())), dict):
        raise ConfigError(f"{where}: write it as {{ <objective> = {{ <its fields> }} }}, got {plain!r}")
    ((name, fields),) = plain.items()
    known = {c.__name__.lower(): c for c in _below(Objective) if c.mark is not Objective.mark and c.loss is not Objective.loss}
    if name not in known:
        raise unknown_name(f"objective at {where}:", name, known, "objectives")
    return from_plain(fields, known[name], f"{where}.{name}")


def _below(base: type[Objective]) -> Iterator[type[Objective]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _below(cls)


def override(plain: dict[str, Any], change: str) -> None:
    """Lay one `path.to.key=value` over plain tables; a task is found by its name or number, a value is TOML or a bare word."""
    path, equals, text = change.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {change!r}: write it as train.seed=1")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed["value"] if parsed.keys() == {"value"} else text.strip()
    table: Any = plain
    for key in keys[:-1]:
        table = _entry(table, key, change) if isinstance(table, list) else table.setdefault(key, {})
        if not isinstance(table, dict | list):
            raise ConfigError(f"--set {change!r}: {key!r} is no table")
    if isinstance(table, list):
        raise ConfigError(f"--set {change!r}: name one key of one table, such as tasks.NAME.share=2")
    table[keys[-1]] = value


def _entry(tables: list[Any], key: str, change: str) -> Any:
    by_name = {str(t.get("name", i)) if isinstance(t, dict) else str(i): t for i, t in enumerate(tables)}
    if key.isdigit() and int(key) < len(tables):
        return tables[int(key)]
    if key not in by_name:
        raise unknown_name(f"table in --set {change!r}:", key, by_name, "tables")
    return by_name[key]
