"""Parallel branches: the sum of what each would add, with all that a residual's branch may have."""

import pytest
import torch

from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.config import from_plain, to_plain
from omnitok.errors import ConfigError
from omnitok.model import Model, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.conv import Conv
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.parallel import Parallel
from omnitok.nn.positions import PairTable, Rope
from omnitok.nn.residual import Residual
from omnitok.tokenizer import Channel
from tests.laws.worlds import maker, randomise, words

ATTENTION = Residual("attention", Attention(2), pre=Norm(), scale=0.5)
BOTH = (ATTENTION, Residual("mlp", MLP(32), pre=Norm(eps=0.1), gain=0.3, branch=Norm()))


def model_of(*block: Residual, **stream):
    torch.manual_seed(0)
    model = build(Model({"main": Stream(16, (block,), **stream)}), {"words": Channel(vocab=40)})
    randomise(model)
    return model.eval()


@torch.no_grad()
def test_the_branches_add_up():
    """x + p(x) = x + (a(x) - x) + (b(x) - x), where a and b hold one branch each."""
    whole = model_of(Residual("both", Parallel(BOTH)))
    state = whole.state_dict()
    batch = collate([Document({"main": words(n, maker(n))}) for n in (5, 1, 3)], whole.schema)
    parts, nothing = [], model_of()
    nothing.load_state_dict(state, strict=False)
    for branch in BOTH:
        part = model_of(branch)
        renamed = {k.replace("blocks.0.both.mixer.", "blocks.0."): v for k, v in state.items()}
        assert not part.load_state_dict({k: v for k, v in renamed.items() if k in part.state_dict()}).missing_keys
        parts.append(part.hidden(batch)["main"])
    x = nothing.hidden(batch)["main"]
    torch.testing.assert_close(whole.hidden(batch)["main"], sum(parts) - x)


def test_what_is_inside_is_seen_from_outside():
    """Axes, pairs and looks ahead of the branches count as the stream's; the configuration is data."""
    rope = Attention(2, positions=(Rope((("h", 0),)), PairTable("edge", 3)))
    config = Model({"main": Stream(16, ((Residual("both", Parallel((Residual("a", rope), BOTH[1]))),),))})
    assert from_plain(to_plain(config), Model) == config
    schema = build(config, {"words": Channel(vocab=40)}).schema
    assert "h" in schema.axes and "edge" in schema.pairs
    with pytest.raises(ConfigError, match="Conv, which looks at later tokens"):
        model_of(Residual("both", Parallel((ATTENTION, Residual("conv", Conv(3))))))


@pytest.mark.parametrize(
    ("branches", "says"),
    [
        ((), "names of their own, got no branch"),
        ((ATTENTION, ATTENTION), "names of their own, got attention, attention"),
        ((ATTENTION.replace(post=Norm()),), "'attention' is only added"),
        ((ATTENTION.replace(skip=False),), "'attention' is only added"),
    ],
)
def test_what_does_not_add_up_is_refused(branches, says):
    with pytest.raises(ConfigError, match=says):
        model_of(Residual("both", Parallel(branches)))
