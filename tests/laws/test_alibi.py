"""ALiBi: equal to its formula by every backend, along any axis, and cached = recomputed."""

import pytest
import torch

from omnitok.batch import collate
from omnitok.model import Model, Preset, Stream
from omnitok.nn.alibi import Alibi, slopes
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from tests.laws import worlds
from tests.laws.attentions import DOCUMENTS, SCHEMA
from tests.laws.laws import cached_equals_full, close, packed_equals_alone, pieces
from tests.laws.worlds import TASKS, mixed, world_model

DIM, HEADS = 12, 3


def test_slopes_are_those_of_the_paper():
    assert slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert slopes(1).tolist() == [2.0**-8]
    assert slopes(6).tolist() == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3], "the last two are of 8 heads"


def by_formula(module, x, layout, config):
    """One query, key and head at a time; a token without the axis, or a key without it, gets no bias."""
    q, k, v = (f(x).view(-1, HEADS, DIM // HEADS) for f in (module.q, module.k, module.v))
    out, place = torch.zeros_like(q), layout.axis(config.axis).tolist()
    visible = layout.visible()
    if config.over is not None:
        listed = torch.zeros_like(visible)
        listed[tuple(layout.pairs[config.over][0])] = True
        visible = visible & listed
    for i in range(len(x)):
        seen = visible[i].nonzero()[:, 0].tolist()
        for h in range(HEADS if seen else 0):
            far = [abs(place[i] - place[j]) if place[i] >= 0 and place[j] >= 0 else 0 for j in seen]
            scores = q[i, h] @ k[seen, h].T / (DIM // HEADS) ** 0.5 - slopes(HEADS)[h] * torch.tensor(far)
            out[i, h] = scores.softmax(0) @ v[seen, h]
    return module.o(out.flatten(1))


@pytest.mark.parametrize("axis", ["position", "h"])
@pytest.mark.parametrize("backend", ["dense", "split", "rows", "auto", "edges"])
def test_every_backend_equals_the_formula(backend, axis):
    """Causal, full and mixed documents of several lengths; few tokens have the axis `h`."""
    torch.manual_seed(0)
    layout = collate(DOCUMENTS, SCHEMA).streams["main"].layout
    over = "edge" if backend == "edges" else None
    module = Attention(HEADS, positions=(Alibi(axis),), over=over).build(DIM).double()
    worlds.randomise(module)
    (term,) = (p.build(HEADS, DIM // HEADS).double() for p in module.config.positions)
    x = torch.randn(len(layout), DIM, dtype=torch.float64)
    shared = {(Alibi(axis), HEADS, DIM // HEADS): term}
    with torch.no_grad():
        got = module(x, Context(layout, shared=shared, backend=backend))
        close(got, by_formula(module, x, layout, Sought(axis, over)), backend, 1e-12)


class Sought:
    """What the formula must know of the attention."""

    def __init__(self, axis, over):
        self.axis, self.over = axis, over


class Sloping(Preset, frozen=True):
    """A decoder with one bias that all layers share, under a window in the second."""

    def model(self, bound, channels):
        layers = (Attention(2, positions=(Alibi(),)), Attention(2, positions=(Alibi(),), window=3))
        return Model({"main": Stream(16, tuple((Residual("attention", a, pre=Norm()),) for a in layers), Norm())})


def test_packed_equals_alone():
    tasks = tuple(TASKS)[::2]
    packed_equals_alone(world_model(Sloping(), tasks), mixed(tasks), TASKS)


def test_cached_equals_full():
    model = world_model(Sloping())
    sequences = [worlds.words(n, worlds.maker(n)) for n in (9, 3, 6)]
    cached_equals_full(model, [list(pieces(s, range(1 + i, len(s)))) for i, s in enumerate(sequences)])
    assert len(model.stream("main").shared) == 1, "one module for the whole stream"
    assert not [k for k in model.state_dict() if "slope" in k], "slopes are not weights"
