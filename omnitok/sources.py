"""Where a task's samples come from: a dataset that a plugin registers, or a folder of files that a tokenizer reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from .data import Dataset, Sample, check_split, hold_out
from .errors import ConfigError, InputError, unknown_name
from .recipe import Recipe, Task
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .plugins import Host

FILE = "file"
"""The field of a folder's samples that holds the object itself; the tokenizer of that field reads the files."""


class Folder(Dataset, frozen=True):
    """Every file below a folder that a tokenizer reads, sorted by path; every tenth of a seeded shuffle is held out.

    Samples: `file` (the object), `name` (of the file, without suffix), `folder` (the name of the folder it lies in).
    """

    name: ClassVar[str] = "folder"
    licence: ClassVar[str] = "as the files"
    source: ClassVar[str] = "local files"

    folder: str
    reader: Tokenizer
    suffixes: tuple[str, ...]

    def files(self) -> list[Path]:
        """The files of all splits. Raises ConfigError where there are fewer than two."""
        home = Path(self.folder)
        if not home.is_dir():
            raise ConfigError(f"folder {self.folder!r} does not exist")
        found = sorted(p for p in home.rglob("*") if p.is_file() and p.name.lower().endswith(self.suffixes))
        if len(found) < 2:
            raise ConfigError(
                f"folder {self.folder!r} has {len(found)} files that {self.reader.name!r} reads ({', '.join(self.suffixes)}); "
                "training and evaluation need one each"
            )
        return found

    def split(self, name: str) -> Sequence[Sample]:
        every = min(10, len(self.files()))
        return _Files(hold_out(self.files(), check_split(self, name), every), self.reader)

    def metadata(self) -> dict[str, Any]:
        return {"classes": sorted({p.parent.name for p in self.files()})}


class _Files(Sequence[Sample]):
    """Samples that are read when they are asked for."""

    def __init__(self, files: list[Path], reader: Tokenizer) -> None:
        self.files, self.reader = files, reader

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: Any) -> Any:
        path = self.files[i]
        try:
            raw = self.reader.read(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        return {FILE: raw, "name": path.stem, "folder": path.parent.name}


def dataset_of(recipe: Recipe, task: Task, host: Host, known: Mapping[str, Tokenizer] | None = None) -> Dataset:
    """The dataset behind a task's `data`; files are read by the tokenizers in `known`, where the instance is among them.

    Raises ConfigError naming the task where there is no such dataset, field or split.
    """
    fields = {k: v for k, v in task.data.items() if k not in ("split", "eval")}
    try:
        dataset = _dataset(recipe, task, fields, host, known or {})
        for split in (task.split, task.eval_split):
            check_split(dataset, split)
    except ConfigError as error:
        raise type(error)(f"data of task {task.name!r}: {error}") from None
    return dataset


def _dataset(recipe: Recipe, task: Task, fields: dict[str, Any], host: Host, known: Mapping[str, Tokenizer]) -> Dataset:
    if "name" in fields:
        name = str(fields.pop("name"))
        return host.dataset(name, **fields)
    if set(fields) == {"folder"}:
        instance = next((i for _, i, field in task.fields() if field == FILE), None)
        if instance is None:
            raise ConfigError(f'a folder\'s samples have the fields "{FILE}", "name" and "folder"; none is read as "{FILE}"')
        plugin, config = recipe.plugin(instance), recipe.config(instance)
        reader = known.get(instance) or host.tokenizer(plugin, instance=instance, **config)
        suffixes = next((s.suffixes for s in host.status() if s.name == reader.name and s.status == "ok"), ())
        if not suffixes:
            raise ConfigError(f"plugin {reader.name!r} declares no file suffixes, so it reads no folder")
        return Folder(folder=str(fields["folder"]), reader=reader, suffixes=suffixes)
    kind, *rest = fields
    used = dict.fromkeys(recipe.plugin(instance) for _, instance, _ in task.fields())
    found = [d for plugin in used for d in host.datasets(plugin) if _kind(d) == kind]
    found = found or [d for d in host.datasets() if _kind(d) == kind]  # no plugin is imported that is not needed
    if rest or len(found) != 1:
        raise unknown_name("kind of data", kind, ["name", "folder", *map(_kind, host.datasets())], "kinds")
    required = [f.name for f in msgspec.structs.fields(host.dataset_class(found[0])) if f.required]
    if len(required) != 1:
        raise ConfigError(f'write {{ name = "{found[0]}" }} with its fields: it needs {", ".join(required) or "none"}')
    return host.dataset(found[0], **{required[0]: fields[kind]})


def _kind(dataset: str) -> str:
    return dataset.rpartition("/")[2]
