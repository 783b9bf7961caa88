"""A preset's fields <-> the `config.json` that Hugging Face's transformers keeps: one table serves both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError, unknown_name
from ...nn.rope import Stretch
from ...tokenizer import Channel
from ...weights import Op, Reference, Rule

ACTS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "quick_gelu": "quick_gelu",
}
"""their activation -> ours; the first of several is the one that is written"""


@dataclass(frozen=True)
class Key:
    """One of their settings."""

    name: str
    default: Any = ...
    """what the library takes where the setting is absent; ...: it must be there"""
    values: Mapping[str, str] | None = None
    """their word -> ours"""
    also: tuple[str, ...] = ()
    """older names of it"""

    def read(self, preset: str, config: Mapping[str, Any]) -> Any:
        value = next((config[n] for n in (self.name, *self.also) if n in config), self.default)
        if value is ...:
            raise ConfigError(f"{preset}: the configuration lacks {self.name!r}; add it to config.json")
        if self.values is None:
            return value
        if value not in self.values:
            raise unknown_name(f"{preset}: {self.name}", str(value), self.values)
        return self.values[value]

    def write(self, value: Any) -> Any:
        return next(k for k, v in self.values.items() if v == value) if self.values else value


def read(preset: str, keys: Mapping[str, Key], config: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's fields, by our names. Raises ConfigError for a setting that is missing or not known."""
    return {field: key.read(preset, config) for field, key in keys.items()}


def write(preset: Reference, keys: Mapping[str, Key]) -> dict[str, Any]:
    """The settings that these fields are in `config.json`."""
    return {key.name: key.write(getattr(preset, field)) for field, key in keys.items()}


def heading(model_class: str, model_type: str, channel: Channel) -> dict[str, Any]:
    """What every `config.json` of a language model begins with."""
    return {
        "architectures": [model_class],
        "model_type": model_type,
        "vocab_size": channel.vocab,
        "bos_token_id": channel.start,
        "eos_token_id": channel.end,
    }


def tokens_of(preset: str, config: Mapping[str, Any]) -> dict[str, Channel]:
    """The channel of role `tokens` that a language model's configuration describes; of several ends the first."""
    vocab: int = Key("vocab_size").read(preset, config)
    ends = config.get("eos_token_id")
    end, start = ends[0] if isinstance(ends, list) and ends else ends, config.get("bos_token_id")
    start, end = (i if isinstance(i, int) and i < vocab else None for i in (start, end))
    return {"tokens": Channel(vocab=vocab, start=start, end=end)}


def without_prefix(rules: Sequence[Rule], prefix: str) -> list[Rule]:
    """The weight map of a model with a tied head, for a file without the head, whose keys begin behind `prefix`."""
    out = []
    for r in rules:
        theirs = tuple(k.removeprefix(prefix) for k in r.theirs if k.startswith(prefix))
        out.append(Rule(r.ours, theirs, r.op if len(theirs) == len(r.theirs) else Op()))
    return out


def require(preset: str, config: Mapping[str, Any], **only: Any) -> None:
    """Raises ConfigError naming a setting that is there with another value than the one the preset follows."""
    for name, value in only.items():
        if (given := config.get(name)) is not None and given != value:
            raise ConfigError(f"{preset}: {name} = {given!r} is not supported, only {value!r}")


def read_rope(preset: str, config: Mapping[str, Any], theta: float = 10000.0) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The fields `theta` and `stretch`, and all that the configuration says of rotary positions.

    Up to version 4 of transformers they are `rope_theta` and `rope_scaling`, since version 5 `rope_parameters`.
    """
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = given.get("rope_type") or given.get("type") or "default"
    base = given.get("rope_theta") or config.get("rope_theta") or theta
    if nested := [k for k, v in given.items() if isinstance(v, Mapping)]:
        raise ConfigError(f"{preset}: rope_parameters of their own for {', '.join(nested)} are not supported")
    if kind not in ("default", "llama3"):
        raise ConfigError(f"{preset}: rope_type = {kind!r} is not supported, only 'default' and 'llama3'")
    if kind == "default":
        return {"theta": float(base), "stretch": None}, given
    length = config.get("original_max_position_embeddings") or given.get("original_max_position_embeddings")
    length = length or config.get("max_position_embeddings") or Stretch().length
    names = {"factor": "factor", "low": "low_freq_factor", "high": "high_freq_factor"}
    said = {field: float(Key(name).read(preset, given)) for field, name in names.items()}
    return {"theta": float(base), "stretch": Stretch(**said, length=length)}, given


def write_rope(theta: float, stretch: Stretch | None, **more: Any) -> dict[str, Any]:
    """The setting `rope_parameters`, and the older two beside it; `more` is theirs too."""
    if stretch is None:
        return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}
    said = {
        "rope_type": "llama3",
        "factor": stretch.factor,
        "low_freq_factor": stretch.low,
        "high_freq_factor": stretch.high,
        "original_max_position_embeddings": stretch.length,
    }
    return {"rope_theta": theta, "rope_scaling": said, "rope_parameters": {**said, "rope_theta": theta, **more}}
