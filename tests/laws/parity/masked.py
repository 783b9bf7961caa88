"""Parity cases: BERT and its kind."""

import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Document
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import (
    DEPTH,
    DIM,
    HEADS,
    HIDDEN,
    LENGTHS,
    SMALL,
    VOCAB,
    Case,
    asked,
    case,
    ids,
    library,
    published,
)
from tests.laws.parity.wrong import pre_norm


def typed(raw: tuple[Tensor, Tensor]) -> Document:
    axes = {"type": raw[1]} if bool(raw[1].any()) else {}  # without the axis, every token is of the first type
    sequence = TokenSequence((Span("text", raw[0], axes=axes),))
    return Document({"main": sequence}, {"masked": asked("main:tokens/masked", torch.arange(len(sequence)))})


def masked_model(fresh, preset, vocab: int, **more) -> Case:
    return Case(
        fresh,
        preset,
        {"text": Channel(vocab=vocab)},
        [(ids(n, n, vocab), torch.arange(n) // 3 % 2 * (n != LENGTHS[0])) for n in LENGTHS],
        typed,
        lambda reference, raw: {"masked": reference(raw[0][None], token_type_ids=raw[1][None]).logits[0]},
        note="transformers.BertForMaskedLM",
        **more,
    )


@case("bert")
def bert() -> Case:
    hf = library("transformers")
    config = hf.BertConfig(
        vocab_size=VOCAB,
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=40,
    )
    wrong = {
        "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
        "eps 1e-5": lambda p: p.replace(eps=1e-5),
        "norms in front": pre_norm,
    }
    preset = presets.bert(**SMALL, hidden=HIDDEN, positions=40)
    return masked_model(lambda: hf.BertForMaskedLM(config), preset, VOCAB, wrong=wrong)


@published("bert-base")
def bert_base() -> Case:
    hf = library("transformers")
    return masked_model(lambda: hf.BertForMaskedLM(hf.BertConfig()), presets.bert(), 30522)
