"""The search of RNNsearch beside others, in nothing, for nothing, and in sessions; its equations are in the parity cases."""

import pytest
import torch
from torch import nn

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.generate import Session
from omnitok.model import Model, Stream
from omnitok.nn.bahdanau import Search
from omnitok.nn.residual import Residual
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws import worlds
from tests.laws.laws import cached_equals_full, close, last_row, packed_equals_alone, pieces
from tests.laws.worlds import randomise, world_model

SCHEMA = world_model(worlds.DECODER).schema


SENTENCES = {"english": Channel(vocab=9), "french": Channel(vocab=7, start=0)}


def search_model() -> nn.Module:
    torch.manual_seed(0)
    preset = presets.bahdanau(dim=6, hidden=8, align=5, maxout=4)
    model = build(preset, SENTENCES, roles={"source": "english", "target": "french"}).eval()
    randomise(model)
    return model.double()


def pair(n: int, m: int) -> dict[str, TokenSequence]:
    g = worlds.maker(n + m)
    return {
        "encoder": TokenSequence((Span("english", ids=torch.randint(9, (n,), generator=g)),)),
        "decoder": TokenSequence((Span("french", ids=torch.randint(7, (m,), generator=g)),)),
    }


def test_a_search_in_nothing_and_for_nothing() -> None:
    """Empty sources, empty targets and whole empty documents beside others, in a pass and in a session."""
    model, shapes = search_model(), ((4, 3), (0, 5), (2, 0), (0, 0), (6, 6))
    documents = [Document(pair(*shape), name=f"{i}") for i, shape in enumerate(shapes)]
    packed_equals_alone(model, documents, {}, tolerance=1e-10, backward=False)
    packed_equals_alone(model, [d for d in documents if len(d)], {}, tolerance=1e-10)
    some = [d.streams for d in documents if len(d.streams["decoder"])]
    parts = [list(pieces(s["decoder"], range(1, len(s["decoder"])))) for s in some]
    cached_equals_full(model, parts, memory={"encoder": [s["encoder"] for s in some]})
    only = [Document(pair(0, 0), name="nothing")]
    assert {n: x.shape for n, x in model.hidden(collate(only, model.schema)).items()} == {"encoder": (0, 16), "decoder": (0, 8)}


def test_one_vocabulary_may_serve_both_sides() -> None:
    model = build(presets.bahdanau(dim=6, hidden=8, align=5, maxout=4), {"words": Channel(vocab=9)}, roles={
        "source": "words", "target": "words"})  # fmt: skip
    sides = {s: TokenSequence((Span("words", ids=torch.arange(4)),)) for s in ("encoder", "decoder")}
    assert model.hidden(collate([Document(sides)], model.schema))["decoder"].shape == (4, 8)
    lonely = Stream(8, ((Residual("search", Search(8, 16, 5), skip=False),),), attend="causal")
    with pytest.raises(ConfigError, match="a search reads a memory: set the stream's `memory`"):
        world_model(Model({"main": lonely}), ()).hidden(collate([worlds.words(2, worlds.maker(0))], SCHEMA))
    with pytest.raises(ConfigError, match="role 'source' needs a channel of ids"):
        build(presets.bahdanau(), {"source": Channel(width=(2,)), "target": Channel(vocab=3)})


def test_beams_of_one_document_search_the_same_source() -> None:
    """Reordered among themselves and across documents: what they answer is what a full pass answers."""
    model, g = search_model(), worlds.maker(5)
    sources = [pair(n, 1)["encoder"] for n in (4, 6)]
    session, beams = Session(model, 2).read({"encoder": sources}), [0, 1]
    for chosen in ([0, 0, 1, 1], [1, 0, 3, 2], [2, 3, 0, 0], [1, 0]):
        session.select(chosen)
        beams = [beams[i] for i in chosen]
        session.feed([TokenSequence((Span("french", ids=torch.randint(7, (1,), generator=g)),)) for _ in chosen])
        for held, last, source in zip(session.history, session.last, [sources[b] for b in beams], strict=True):
            close(last, last_row(model, held, None, {"encoder": source}), f"beams {chosen}")
