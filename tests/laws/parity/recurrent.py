"""Parity cases: the recurrent layers of torch."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.weights import Op, Rule
from tests.laws.parity.case import DIM, LENGTHS, Case, case, noise, published
from tests.laws.parity.wrong import residuals


def frames(raw: Tensor) -> Document:
    """Vectors that go in as they are."""
    return Document({"main": TokenSequence((Span("frames", features=raw),))})


def stacked(preset, kind: type[nn.Module], width: int, **more) -> Case:
    """Layers of torch over vectors of `width`."""
    hidden = preset.dim // 2 if preset.bidirectional else preset.dim
    return Case(
        lambda: kind(width, hidden, preset.depth, batch_first=True, bidirectional=preset.bidirectional),
        preset,
        {"frames": Channel(width=(width,), embed=())},
        [noise(n, width, seed=n) for n in LENGTHS],
        frames,
        lambda reference, raw: {"main": reference(raw[None])[0][0]},
        hidden=("main",),
        steps=not preset.bidirectional,
        note=f"torch.nn.{kind.__name__}",
        **more,
    )


class Gates(Op):
    """Two gates exchanged."""

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        first, second, *rest = theirs[0].chunk(4 if len(theirs[0]) == 4 * DIM else 3)
        return [torch.cat([second, first, *rest])]


def exchanged(preset):
    """The preset with a weight map that takes the first gate for the second."""
    cls = type(preset)

    def rules(self, bound) -> list[Rule]:
        return [Rule(r.ours, r.theirs, Gates()) for r in cls.rules(self, bound)]

    wrong = type(cls)(f"Exchanged{cls.__name__}", (cls,), {"rules": rules, "__module__": __name__}, frozen=True)
    return wrong(**{f: getattr(preset, f) for f in preset.__struct_fields__})


WRONG = {
    "gates exchanged": exchanged,
    "a residual around every layer": residuals(lambda r: r.replace(skip=True)),
}


@case("lstm")
def lstm() -> Case:
    return stacked(presets.lstm(dim=DIM, depth=3), nn.LSTM, DIM, wrong=WRONG)


@case("lstm: bidirectional")
def lstm_both_ways() -> Case:
    return stacked(presets.lstm(dim=DIM, depth=2, bidirectional=True), nn.LSTM, DIM)


@case("lstm: another width comes in")
def lstm_of_width() -> Case:
    return stacked(presets.lstm(dim=DIM, depth=2, width=20), nn.LSTM, 20)


@case("gru")
def gru() -> Case:
    return stacked(presets.gru(dim=DIM, depth=3), nn.GRU, DIM, wrong=WRONG)


@case("gru: bidirectional")
def gru_both_ways() -> Case:
    return stacked(presets.gru(dim=DIM, depth=2, bidirectional=True), nn.GRU, DIM)


@published("zaremba-medium")
def zaremba_medium() -> Case:
    return stacked(presets.lstm(), nn.LSTM, 650)


@published("zaremba-large")
def zaremba_large() -> Case:
    return stacked(presets.lstm(**presets.lstm.published["zaremba-large"].fields), nn.LSTM, 1500)


@published("cho-2014")
def cho() -> Case:
    return stacked(presets.gru(), nn.GRU, 1000)
