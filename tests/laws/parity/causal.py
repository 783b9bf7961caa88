"""Parity cases: causal language models of Hugging Face."""

from omnitok import presets
from omnitok.tokenizer import Channel
from omnitok.weights import Reference
from tests.laws.parity.case import DEPTH, DIM, HEADS, LENGTHS, SMALL, VOCAB, Case, case, ids, library, published, sentence
from tests.laws.parity.wrong import bare_scores, full, post_norm


def language_model(fresh, preset: Reference, **more) -> Case:
    """A causal model of ids with a head over them; more of `Case` by keyword."""
    vocab = more.pop("vocab", VOCAB)
    return Case(
        fresh,
        preset,
        {"text": Channel(vocab=vocab)},
        [ids(n, n, vocab) for n in LENGTHS],
        sentence,
        lambda reference, raw: {"next": reference(raw[None], use_cache=False).logits[0]},
        steps=True,
        **more,
    )


@case("gpt2")
def gpt2() -> Case:
    hf = library("transformers")
    config = hf.GPT2Config(
        vocab_size=VOCAB, n_embd=DIM, n_layer=DEPTH, n_head=HEADS, n_positions=40, bos_token_id=0, eos_token_id=0
    )
    return language_model(
        lambda: hf.GPT2LMHeadModel(config),
        presets.gpt2(**SMALL, positions=40),
        note="transformers.GPT2LMHeadModel",
        wrong={
            "erf gelu": lambda p: p.replace(act="gelu"),
            "eps 1e-6": lambda p: p.replace(eps=1e-6),
            "norms behind the sums": post_norm,
            "every token sees all": full,
            "scores not scaled": bare_scores,
        },
    )


@published("gpt2")
def gpt2_small() -> Case:
    hf = library("transformers")
    return language_model(
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config()), presets.gpt2(), vocab=50257, note="transformers.GPT2LMHeadModel"
    )
