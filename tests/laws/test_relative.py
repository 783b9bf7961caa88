"""Relative positions of Transformer-XL: equal to their formula by every backend, and cached = recomputed."""

import math

import pytest
import torch

from omnitok.batch import collate
from omnitok.errors import ConfigError
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import Rope
from omnitok.nn.relative import XL
from omnitok.nn.residual import Residual
from tests.laws import worlds
from tests.laws.attentions import DOCUMENTS, SCHEMA
from tests.laws.laws import cached_equals_full, close, packed_equals_alone, pieces
from tests.laws.worlds import TASKS, mixed, world_model

DIM, HEADS, K = 12, 3, 4


def wave(distance: int) -> torch.Tensor:
    """[DIM] sine and cosine in turn."""
    angles = [distance / 10000 ** (2 * (c // 2) / DIM) for c in range(DIM)]
    return torch.tensor([math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(angles)], dtype=torch.float64)


def by_formula(module, x, layout):
    """Equation 5 of the paper, one query, key and head at a time."""
    (term,) = module.own
    q, k, v = (f(x).view(-1, HEADS, K) for f in (module.q, module.k, module.v))
    out, position, visible = torch.zeros_like(q), layout.position.tolist(), layout.visible()
    for i in range(len(x)):
        seen = visible[i].nonzero()[:, 0].tolist()
        for h in range(HEADS):
            scores = []
            for j in seen:
                r = (term.r.weight @ wave(position[i] - position[j])).view(HEADS, K)[h]
                scores.append((q[i, h] + term.u[h]) @ k[j, h] + (q[i, h] + term.v[h]) @ r)
            out[i, h] = (torch.stack(scores) / K**0.5).softmax(0) @ v[seen, h]
    return module.o(out.flatten(1))


@pytest.mark.parametrize("backend", ["dense", "split", "rows", "auto"])
def test_every_backend_equals_the_formula(backend):
    """Causal, full and mixed documents of several lengths; sets share one position."""
    torch.manual_seed(0)
    layout = collate(DOCUMENTS, SCHEMA).streams["main"].layout
    module = Attention(HEADS, positions=(XL(DIM),)).build(DIM).double()
    worlds.randomise(module)
    x = torch.randn(len(layout), DIM, dtype=torch.float64)
    with torch.no_grad():
        close(module(x, Context(layout, backend=backend)), by_formula(module, x, layout), backend, 1e-12)


@pytest.mark.parametrize("backend", ["edges", "flex"])
def test_backends_that_cannot_refuse(backend):
    layout = collate(DOCUMENTS, SCHEMA).streams["main"].layout
    module = Attention(HEADS, positions=(XL(DIM),)).build(DIM)
    with pytest.raises(ConfigError):
        module(torch.randn(len(layout), DIM), Context(layout, backend=backend))


class Recent(Preset, frozen=True):
    """A decoder with relative positions, beside a rotation and under a window, and with values of another width."""

    def model(self, bound, channels):
        layers = (Attention(2, positions=(XL(16),), value_dim=5), Attention(2, positions=(XL(16), Rope()), window=3))
        blocks = tuple((Residual("attention", a, pre=Norm()), Residual("mlp", MLP(32), pre=Norm())) for a in layers)
        return Model({"main": Stream(16, blocks, Norm())})


def test_packed_equals_alone():
    tasks = tuple(TASKS)[::2]
    packed_equals_alone(world_model(Recent(), tasks), mixed(tasks), TASKS)


def test_cached_equals_full():
    """Documents of different lengths, so that the shorter ones have empty slots."""
    model = world_model(Recent())
    sequences = [worlds.words(n, worlds.maker(n)) for n in (9, 3, 6)]
    cached_equals_full(model, [list(pieces(s, range(1 + i, len(s)))) for i, s in enumerate(sequences)])
