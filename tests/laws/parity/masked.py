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
from tests.laws.parity.wrong import bare_scores, pre_norm

SIZE = {
    "hidden_size": DIM,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
    "max_position_embeddings": 40,
}


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
    config = hf.BertConfig(**SIZE, vocab_size=VOCAB)
    wrong = {
        "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
        "eps 1e-5": lambda p: p.replace(eps=1e-5),
        "norms in front": pre_norm,
        "scores not scaled": bare_scores,
    }
    preset = presets.bert(**SMALL, hidden=HIDDEN, positions=40)
    return masked_model(lambda: hf.BertForMaskedLM(config), preset, VOCAB, wrong=wrong)


@published("bert-base-uncased")
def bert_base() -> Case:
    hf = library("transformers")
    return masked_model(lambda: hf.BertForMaskedLM(hf.BertConfig()), presets.bert(), 30522)


def without_pooler(reference: torch.nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in reference.state_dict().items() if not k.startswith("pooler")}


@case("bert: encoder alone")
def bert_encoder() -> Case:
    hf = library("transformers")
    config = hf.BertConfig(**SIZE, vocab_size=VOCAB, hidden_act="gelu_new", layer_norm_eps=1e-5)
    preset = presets.bert(**SMALL, hidden=HIDDEN, positions=40, act="gelu_tanh", eps=1e-5, masked=False)
    made = masked_model(lambda: hf.BertModel(config), preset, VOCAB, state=without_pooler)
    made.document = lambda raw: typed(raw).replace(asks={})
    made.answer = lambda reference, raw: {"main": reference(raw[0][None], token_type_ids=raw[1][None]).last_hidden_state[0]}
    made.hidden, made.note = ("main",), "transformers.BertModel"
    return made
