"""Packed = alone, for every objective, preset and backend; and what a neighbour holds changes nothing."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.batch import Document, collate
from omnitok.model import Model, Preset, Stream, Transformer
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.conv import Conv
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import PairTable, Rope
from omnitok.nn.residual import Residual
from omnitok.objectives import At
from omnitok.presets.generic import Decoder, Encoder
from omnitok.presets.reference.conformer import Conformer
from omnitok.sequence import TokenSequence
from tests.laws import worlds
from tests.laws.laws import answers, answers_do_not_see_targets, close, neighbours_do_not_matter, packed_equals_alone
from tests.laws.worlds import FULL_TASKS, TASKS, mixed, randomise, world_model

SMALL = {"dim": 16, "depth": 2, "heads": 2}
PRESETS: dict[str, Preset] = {
    "decoder": Decoder(**SMALL),
    "absolute": worlds.Absolute(),
    "encoder": Encoder(**SMALL),
    "conformer-batch": Conformer(**SMALL, kernel=5),
    "conformer-segment": Conformer(**SMALL, kernel=5, norm="segment"),
    "conformer-layer": Conformer(**SMALL, kernel=5, norm="layer"),
}
BACKENDS = ("dense", "split", "rows", "auto")
DECODER = world_model(PRESETS["decoder"])


def tasks_of(preset: str) -> tuple[str, ...]:
    return tuple(TASKS) if preset in ("decoder", "absolute") else FULL_TASKS


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_all_tasks_packed_equal_alone(preset, backend):
    """Gradients with every backend for one preset, and with the chosen backend for every preset."""
    tasks = tasks_of(preset)
    model = world_model(PRESETS[preset], tasks)
    packed_equals_alone(model, mixed(tasks), TASKS, backend, backward=preset == "decoder" or backend == "auto")


@pytest.mark.parametrize("preset", ["decoder", "conformer-segment"])
def test_double_precision_leaves_no_doubt(preset):
    """What is left at 1e-6 is the rounding of losses, which are computed in single precision."""
    tasks = tasks_of(preset)
    packed_equals_alone(world_model(PRESETS[preset], tasks).double(), mixed(tasks[::2], 1), TASKS, tolerance=1e-6)


@settings(max_examples=12, deadline=None)
@given(
    chosen=st.lists(st.tuples(st.sampled_from(list(TASKS)), st.integers(1, 9)), min_size=1, max_size=4),
    backend=st.sampled_from(BACKENDS),
    seed=st.integers(0, 99),
)
def test_any_documents_packed_equal_alone(chosen, backend, seed):
    documents = [worlds.document(task, n, 10 * seed + i) for i, (task, n) in enumerate(chosen)]
    packed_equals_alone(DECODER, documents, TASKS, backend)


@pytest.mark.parametrize("preset", PRESETS)
def test_neighbours_do_not_matter(preset):
    tasks = tasks_of(preset)
    neighbours_do_not_matter(world_model(PRESETS[preset], tasks), mixed(tasks), mixed(tasks, seed=1), TASKS)


@pytest.mark.parametrize("preset", PRESETS)
def test_empty_documents_disturb_nobody(preset):
    """Between others, and in a batch of nothing else."""
    empty = [Document({"main": TokenSequence()}, name=f"empty {i}") for i in range(3)]
    documents = [empty[0], worlds.document("mood", 3, 1), empty[1], worlds.document("kind", 4, 2), empty[2]]
    model = world_model(PRESETS[preset], FULL_TASKS)
    packed_equals_alone(model, documents, TASKS)
    assert model.train().hidden(collate(empty, model.schema))["main"].shape == (0, 16)
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_batch_norm_in_training_takes_its_statistics_over_the_tokens_and_nothing_else():
    """As over the same documents padded and masked: no gap between documents is counted."""
    module = Conv(5).build(16).train()
    randomise(module)
    seen: list[torch.Tensor] = []
    module.norm.register_forward_pre_hook(lambda norm, args: seen.append(args[0]))
    layout = collate([worlds.words(n, worlds.maker(n)) for n in (3, 1, 6)], DECODER.schema, sort=False).streams["main"].layout
    x, before = torch.randn(10, 16, generator=worlds.maker(0)), module.norm.mean.clone()
    module(x, Context(layout))
    close(module.norm.mean, 0.9 * before + 0.1 * seen[0].mean(0), "the running mean")
    for part in x.split([3, 1, 6]):
        module(part, Context(collate([worlds.words(len(part), worlds.maker(0))], DECODER.schema).streams["main"].layout))
    close(torch.cat(seen[1:]), seen[0], "what is normalised")


@pytest.mark.parametrize("preset", [*PRESETS, "edges"])
def test_half_precision_is_near_single(preset):
    """Under autocast to bfloat16, forward and backward; a mix of precisions in one place would raise."""
    tasks = ("kind", "parts") if preset == "edges" else tasks_of(preset)
    model, documents = world_model(Edges() if preset == "edges" else PRESETS[preset], tasks), mixed(tasks)
    single = answers(model, documents, TASKS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = answers(model, documents, TASKS)
        sum(answer.total() for answer in half).backward()
    for a, b in zip(half, single, strict=True):
        close(a.hidden["main"].float(), b.hidden["main"], "hidden rows in half precision", 3e-2)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_front_end_stays_inside_its_span():
    """Two sounds in one document, and two documents of one sound: what is blurred is never the other sound."""
    g = worlds.maker(0)
    one, two, other = worlds.sound(4, g), worlds.sound(3, g), worlds.sound(3, g)
    model = world_model(PRESETS["decoder"])
    alone, beside, changed = (embedded(model, *docs) for docs in ([one], [one + two], [one + other]))
    close(beside[:4], alone, "the first sound beside a second")
    close(changed[:4], beside[:4], "the first sound beside another second")
    close(embedded(model, one, two), beside, "two documents against one")
    assert (changed[4:] - beside[4:]).abs().max() > 1e-2


def embedded(model: Transformer, *sequences: TokenSequence) -> torch.Tensor:
    """[N, D] what the model makes of these documents' content before its first block."""
    stream = collate(sequences, model.schema, sort=False).streams["main"]
    return model.embed(stream, "main", stream.layout, Context(stream.layout, tables=model.tables()))


class Edges(Preset, frozen=True):
    """Attention along pairs, then a feed-forward layer."""

    over: str = "edge"

    def model(self, bound, channels):
        attention = Attention(2, positions=(Rope(), PairTable("edge", 3)), over=self.over)
        block = (Residual("attention", attention, pre=Norm()), Residual("mlp", MLP(32), pre=Norm("rms")))
        return Model({"main": Stream(16, (block, block), Norm())})


@pytest.mark.parametrize("backend", ["edges", *BACKENDS])
def test_attention_along_pairs_packed_equals_alone(backend):
    model = world_model(Edges())
    documents = [worlds.document(task, n, n) for task, n in [("kind", 5), ("mood", 4), ("act", 2), ("parts", 8), ("kind", 1)]]
    packed_equals_alone(model, documents, TASKS, backend)


class EncoderAndDecoder(Preset, frozen=True):
    """An encoder and a decoder that reads it."""

    def model(self, bound, channels):
        def block(*names):
            mixers = {"self": Attention(2, positions=(Rope(),)), "cross": Attention(2, source="memory"), "mlp": MLP(32)}
            return tuple(Residual(name, mixers[name], pre=Norm()) for name in names)

        encoder = Stream(16, (block("self", "mlp"),), Norm(), attend="full")
        decoder = Stream(16, (block("self", "cross", "mlp"),) * 2, Norm(), memory="encoder")
        return Model({"encoder": encoder, "decoder": decoder})


def translation(source: int, target: int, seed: int, order: tuple[str, ...] = ("encoder", "decoder")) -> Document:
    g = worlds.maker(seed)
    streams = {"encoder": worlds.sound(source, g), "decoder": worlds.words(target, g)}
    document = Document({s: streams[s] for s in order}, name=f"{source}-{target}-{seed}")
    return TASKS["write"].mark(document, {}, At("write", worlds.CHANNELS, random.Random(0)))


@pytest.mark.parametrize("backend", ["dense", "rows", "auto"])
def test_two_streams_packed_equal_alone(backend):
    """Documents with memory, with an empty one, and with none at all."""
    model = world_model(EncoderAndDecoder())
    documents = [translation(5, 3, 0), translation(1, 6, 1), translation(0, 4, 2), translation(3, 2, 3, ("decoder",))]
    packed_equals_alone(model, documents, TASKS, "auto" if backend == "auto" else backend)
    neighbours_do_not_matter(model, documents[:2], [translation(5, 3, 7), translation(1, 6, 8)], TASKS, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("task", ["write", "act", "foresee"])
def test_no_answer_sees_its_target(task, backend):
    """Everything from the first target on is replaced; what stands before it is not."""
    answers_do_not_see_targets(DECODER, *worlds.alike_before_the_first_target(task), TASKS, backend)
