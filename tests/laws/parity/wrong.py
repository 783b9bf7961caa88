"""Wrong on purpose: presets whose model is changed, to prove that a comparison would see it."""

from collections.abc import Callable
from typing import Any

from omnitok.model import Model, Preset, Stream
from omnitok.nn.residual import Residual


def changed(edit: Callable[[Model], Model], preset: Any) -> Preset:
    """The preset with another model: same fields, same weight map."""
    cls = type(preset)
    name = f"Wrong{cls.__name__}{edit.__qualname__.replace('.', '').replace('<', '').replace('>', '')}"

    def model(self: Any, bound: Any, channels: Any) -> Model:
        return edit(cls.model(self, bound, channels))

    wrong = type(cls)(f"{name}{id(edit)}", (cls,), {"model": model, "__module__": __name__}, frozen=True)
    return wrong(**{f: getattr(preset, f) for f in preset.__struct_fields__})


def streams(edit: Callable[[Stream], Stream]) -> Callable[[Any], Preset]:
    """Every stream changed."""
    return lambda preset: changed(lambda m: m.replace(streams={n: edit(s) for n, s in m.streams.items()}), preset)


def residuals(edit: Callable[[Residual], Residual]) -> Callable[[Any], Preset]:
    """Every residual changed."""
    return streams(lambda s: s.replace(blocks=tuple(tuple(edit(r) for r in block) for block in s.blocks)))


def mixers(kind: type, **fields: Any) -> Callable[[Any], Preset]:
    """These fields of every mixer of a kind."""
    return residuals(lambda r: r.replace(mixer=r.mixer.replace(**fields)) if isinstance(r.mixer, kind) else r)


full = streams(lambda s: s.replace(attend="full"))
post_norm = residuals(lambda r: r.replace(pre=None, post=r.pre))
pre_norm = residuals(lambda r: r.replace(pre=r.post, post=None))


def _bare(r: Residual) -> Residual:
    return r.replace(mixer=r.mixer.replace(scale=1.0)) if hasattr(r.mixer, "scale") else r


bare_scores = residuals(_bare)
