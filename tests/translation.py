"""A small encoder-decoder over toy channels, and the objectives that are asked of it."""

import torch

from omnitok.assemble import build
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import Rope
from omnitok.nn.residual import Residual
from omnitok.objectives import Corrupt, Objective, Seq2Seq
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws import worlds

SENTINELS = tuple(range(40, 60))
CHANNELS = {
    **worlds.CHANNELS,
    "lines": Channel(vocab=60, end=39, sentinels=SENTINELS),
    "begun": Channel(vocab=60, start=0, sentinels=SENTINELS),
}
TASKS: dict[str, Objective] = {
    "translate": Seq2Seq("words"),
    "smooth": Seq2Seq("lines", smoothing=0.2),
    "repair": Corrupt("lines", rate=0.4, length=2.0),
    "begun": Corrupt("begun"),
}


class Translator(Preset, frozen=True):
    """An encoder and a decoder that reads it."""

    def model(self, bound, channels):
        def block(*names):
            mixers = {"self": Attention(2, positions=(Rope(),)), "cross": Attention(2, source="memory"), "mlp": MLP(32)}
            return tuple(Residual(name, mixers[name], pre=Norm()) for name in names)

        encoder = Stream(16, (block("self", "mlp"),), Norm(), attend="full")
        return Model({"encoder": encoder, "decoder": Stream(16, (block("self", "cross", "mlp"),) * 2, Norm(), memory="encoder")})


def translator():
    torch.manual_seed(0)
    heads = {name: steps for o in TASKS.values() for name, steps in o.heads("", CHANNELS).items()}
    model = build(Translator(), CHANNELS, heads)
    worlds.randomise(model)
    return model.eval()


MODEL = translator()


def line(channel: str, values) -> TokenSequence:
    return TokenSequence((Span(channel, torch.as_tensor(values, dtype=torch.long)),))
