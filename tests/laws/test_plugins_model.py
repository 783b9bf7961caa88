"""The laws of the backbone over every installed tokenizer's own channels, steps, axes and pairs, through its samples."""

import random
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omnitok as ot
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import SequenceError
from omnitok.model import Transformer
from omnitok.nn.context import Context
from omnitok.objectives import At, Classify, Ctc, Masked, Next, Objective
from omnitok.presets.generic import Decoder
from omnitok.presets.reference.conformer import Conformer
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.laws import answers_do_not_see_targets, cached_equals_full, close, packed_equals_alone, pieces, uncut
from tests.laws.worlds import randomise

HOST = ot.load_plugins()
FULL = (Masked, Classify, Ctc)


@dataclass
class World:
    """One plugin's channels, its samples as sequences, and a task for everything that can be asked of a channel."""

    channels: dict[str, Channel]
    sequences: list[TokenSequence]
    tasks: dict[str, Objective]

    def model(self, preset: Decoder) -> Transformer:
        heads = {name: s for task, o in self.tasks.items() for name, s in o.heads(task, self.channels).items()}
        torch.manual_seed(0)
        model = build(preset, self.channels, heads, ("readout",))
        randomise(model)
        return model.eval()

    def mark(self, task: str, sequence: TokenSequence, name: str) -> Document:
        at = At(task, self.channels, random.Random(0))
        return self.tasks[task].mark(Document({"main": sequence}, name=name), {"label": 1}, at)

    def documents(self, kinds: tuple[type[Objective], ...] = (Objective,)) -> list[Document]:
        """Every task of every sample that can be asked it: for transcription the rows must be enough."""
        found = []
        for task, objective in self.tasks.items():
            for i, sequence in enumerate(self.sequences):
                if isinstance(objective, kinds):
                    try:
                        found.append(self.mark(task, sequence, f"{task} of sample {i}"))
                    except SequenceError:
                        assert isinstance(objective, Ctc)
        return found


@cache
def world(name: str) -> World:
    tokenizer = HOST.tokenizer(name)
    channels = tokenizer.channels()
    sequences = [tokenizer.encode(raw) for raw in tokenizer.samples()]
    tasks: dict[str, Objective] = {
        "readout": Classify("label", classes=3),
        "mean": Classify("label", "mean", classes=3),
    }
    single = {span.channel for s in sequences for span in s if span.ids is None or span.ids.dim() == 1}
    for channel in channels:
        if channel in single:
            part = channel.replace("/", "-")
            tasks |= {f"next-{part}": Next(channel), f"masked-{part}": Masked(channel)}
    return World(channels, [s for s in sequences if len(s) <= 200], tasks)


@pytest.mark.parametrize("name", HOST.names())
def test_packed_equals_alone(name):
    """All samples with all tasks in one batch, and with those of a model that sees all."""
    own = world(name)
    assert any(map(len, own.sequences))
    decoder = own.model(Decoder(16, 2, 2))
    packed_equals_alone(decoder, own.documents(), own.tasks, backward=False)
    shortest = sorted(own.documents(), key=len)[:: max(1, len(own.documents()) // 6)]
    packed_equals_alone(decoder, shortest, own.tasks)
    conformer = own.model(Conformer(16, 1, 2, kernel=5, norm="segment"))
    packed_equals_alone(conformer, own.documents(FULL), own.tasks, backward=False)


@pytest.mark.parametrize("name", HOST.names())
def test_two_objects_in_one_document_are_embedded_as_alone(name):
    """A front end that looks across tokens stays inside its object."""
    own = world(name)
    model = own.model(Decoder(16, 1, 2))

    def embedded(sequence: TokenSequence) -> torch.Tensor:
        stream = collate([sequence], model.schema).streams["main"]
        return model.embed(stream, "main", stream.layout, Context(stream.layout, tables=model.tables()))

    with torch.no_grad():
        for one, two in zip(own.sequences, own.sequences[1:] + own.sequences[:1], strict=True):
            close(embedded(one + two), torch.cat([embedded(one), embedded(two)]), f"two objects of {name}")


def other_from(sequence: TokenSequence, begin: int, channels: dict[str, Channel]) -> TokenSequence:
    """The same structure with other content in all places from `begin` on."""
    spans = []
    for span, place in zip(sequence.spans, sequence.places, strict=True):
        late, info = place >= begin, channels[span.channel]
        content = span.content.clone()
        if span.ids is not None:
            content[late] = (content[late] + 1) % info.vocab
            spans.append(span.replace(ids=content))
        else:
            shift = 50 if content.dtype == torch.uint8 else 1
            content[late] = content[late] + shift
            spans.append(span.replace(features=content))
    return TokenSequence(tuple(spans), sequence.pairs)


@pytest.mark.parametrize("name", HOST.names())
def test_no_next_token_sees_itself(name):
    """Not through attention, and not through a front end that looks at later tokens."""
    own = world(name)
    model = own.model(Decoder(16, 1, 2))
    asked = 0
    for document in own.documents((Next,)):
        ((task, ask),) = document.asks.items()
        changed = other_from(document.main, int(ask.source.min()), own.channels) if len(ask.rows) else document.main
        if changed != document.main:  # a channel of one id has no other content
            answers_do_not_see_targets(model, document, own.mark(task, changed, document.name), own.tasks)
            asked += 1
    assert asked or all(info.vocab == 1 for info in own.channels.values())


@pytest.mark.parametrize("name", HOST.names())
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_cached_equals_full(name, data):
    """Two samples, fed in pieces of their own, behind one cache."""
    own = world(name)
    model, parts = own.model(Decoder(16, 1, 2)), []
    for sequence in data.draw(st.lists(st.sampled_from(own.sequences), min_size=1, max_size=2)):
        allowed = uncut(sequence, model, {})
        cuts = data.draw(st.sets(st.sampled_from(allowed), max_size=4)) if allowed else set()
        parts.append(list(pieces(sequence, sorted(cuts))))
    cached_equals_full(model, parts)
