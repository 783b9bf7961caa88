"""Lengths of documents as five kinds of data mix them, and packed layouts of such lengths."""

import math
import random

import torch

from omnitok.batch import Schema, Stream, collate
from omnitok.sequence import Span, TokenSequence


def mix(count: int, seed: int = 0) -> list[int]:
    """Equal shares of text, images, sounds, trajectories and graphs; lengths in tokens, 20 to 500."""
    draw = random.Random(seed)
    kinds = {
        "t": lambda: min(500, max(20, int(draw.lognormvariate(math.log(130), 0.8)))),
        "i": lambda: draw.choice([64, 100, 144, 196, 256]),
        "a": lambda: draw.randint(50, 400),
        "r": lambda: 60,
        "g": lambda: draw.randint(10, 100),
    }
    return [kinds[draw.choice("tiarg")]() for _ in range(count)]


def packed(lengths: list[int], rule: str) -> Stream:
    """Documents of these lengths, longest last, all of one rule."""
    documents = [TokenSequence((Span("tokens", ids=torch.zeros(n, dtype=torch.long)),)) for n in sorted(lengths)]
    return collate(documents, Schema({"tokens": rule})).streams["main"]
