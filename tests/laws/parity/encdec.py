"""Parity cases: models of an encoder and a decoder."""

import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Document
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, SMALL, VOCAB, Case, asked, case, ids, library, published
from tests.laws.parity.wrong import mixers, streams

PAIRS = ((7, 4), (12, 9), (5, 6))


def pair(raw: tuple[Tensor, Tensor]) -> Document:
    """Ids read by one stream and ids predicted by the other, every row asked."""
    one, two = (TokenSequence((Span("text", x),)) for x in raw)
    return Document({"encoder": one, "decoder": two}, {"next": asked("decoder:tokens", torch.arange(len(two)), "decoder")})


def two_streams(fresh, preset, vocab: int = VOCAB, lengths=PAIRS, **more) -> Case:
    """A Hugging Face model of ids with a head over them; more of `Case` by keyword."""
    return Case(
        fresh,
        preset,
        {"text": Channel(vocab=vocab)},
        [(ids(n, n, vocab), ids(m, 100 + m, vocab)) for n, m in lengths],
        pair,
        lambda reference, raw: {
            "next": reference(input_ids=raw[0][None], decoder_input_ids=raw[1][None], use_cache=False).logits[0]
        },
        steps=True,
        **more,
    )
