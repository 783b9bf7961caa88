"""Starting from another run: its model section, its tokenizers of the same names, its weights of the same names."""

from __future__ import annotations

from collections.abc import Iterable

from .config import to_plain
from .errors import CheckpointError, ConfigError
from .model import Transformer
from .recipe import Recipe
from .run import Run
from .tokenizer import Tokenizer


def follow(recipe: Recipe, start: Run) -> tuple[Recipe, dict[str, Tokenizer]]:
    """The recipe with what it leaves to the run: keys of [model], where the preset is the same, and the run's tokenizers.

    A tokenizer that the recipe does not configure, or configures as the run does, is the run's, with all it learned.
    Raises ConfigError where the recipe configures one of that name in another way.
    """
    same = recipe.model.get("preset", start.recipe.preset_name) == start.recipe.preset_name
    model = {**start.recipe.model, **recipe.model} if same else recipe.model
    tables, given = dict(recipe.tokenizers), {}
    for instance in recipe.tokenizers.keys() & start.tokenizers.keys():
        theirs = start.tokenizers[instance]
        differs = [k for k, v in recipe.config(instance).items() if to_plain(getattr(theirs, k, None)) != to_plain(v)]
        if differs or recipe.tokenizers[instance].get("plugin", instance) != start.recipe.plugin(instance):
            raise ConfigError(
                f"tokenizer {instance!r} is configured otherwise than in {start.folder} ({', '.join(differs) or 'plugin'}): "
                "leave it out to use the run's, or give it another name"
            )
        tables[instance], given[instance] = start.recipe.tokenizers[instance], theirs
    followed = recipe.replace(model=model, tokenizers=tables)
    followed.preset()
    return followed, given


def take_weights(model: Transformer, start: Run) -> str:
    """Copy the run's weights into the parameters of the same names; one line that says what was taken and what is fresh.

    Raises CheckpointError where none fits, or where a weight of the streams has another shape.
    """
    theirs, own = start.model.state_dict(), model.state_dict()
    fits = {k: v for k, v in theirs.items() if k in own and v.shape == own[k].shape}
    for key in sorted((theirs.keys() & own.keys()) - fits.keys()):
        if key.startswith("streams."):
            raise CheckpointError(
                f"{key!r} is {list(own[key].shape)} in this model and {list(theirs[key].shape)} in {start.folder}: "
                "bind the same channels to the preset's roles, and leave its sizes as they are"
            )
    if not any(k.startswith("streams.") for k in fits):
        raise CheckpointError(
            f"no weight of {start.folder} has a place in this model: {_scopes(theirs)} there, {_scopes(own)} here"
        )
    model.load_state_dict(fits, strict=False)
    fresh, unused = _scopes(own.keys() - fits.keys()), _scopes(theirs.keys() - fits.keys())
    return f"{len(fits)} tensors from {start.folder}; fresh: {fresh or 'none'}" + (f"; not used: {unused}" if unused else "")


def _scopes(keys: Iterable[str]) -> str:
    """Names of parameters as the parts that they belong to: streams.main, channels.waves."""
    return ", ".join(sorted({".".join(k.split(".")[:2]) for k in keys}))
