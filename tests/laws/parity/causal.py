"""Parity cases: causal language models of Hugging Face."""

from typing import Any

from omnitok import presets
from omnitok.nn.attention import Attention
from omnitok.nn.rope import Stretch
from omnitok.tokenizer import Channel
from omnitok.weights import Reference
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, SMALL, VOCAB, Case, case, ids, library, published, sentence
from tests.laws.parity.wrong import bare_scores, full, mixers, post_norm


def language_model(name: str, config: dict[str, Any], preset: Reference, **more) -> Case:
    """A causal model of ids with a head over them: the class <name>ForCausalLM; more of `Case` by keyword."""
    hf, vocab = library("transformers"), more.pop("vocab", VOCAB)
    made = getattr(hf, f"{name}Config")(vocab_size=vocab, bos_token_id=None, eos_token_id=None, **config)
    kind = getattr(hf, f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    return Case(
        lambda: kind(made),
        preset,
        {"text": Channel(vocab=vocab)},
        [ids(n, n, vocab) for n in LENGTHS],
        sentence,
        lambda reference, raw: {"next": reference(raw[None], use_cache=False).logits[0]},
        steps=True,
        note=f"transformers.{kind.__name__}",
        **more,
    )


def set_to(**fields):
    """A wrong setting: these fields of the preset."""
    return lambda preset: preset.replace(**fields)


@case("gpt2")
def gpt2() -> Case:
    return language_model(
        "GPT2",
        {"n_embd": DIM, "n_layer": DEPTH, "n_head": HEADS, "n_positions": 40},
        presets.gpt2(**SMALL, positions=40),
        wrong={
            "erf gelu": set_to(act="gelu"),
            "eps 1e-6": set_to(eps=1e-6),
            "norms behind the sums": post_norm,
            "every token sees all": full,
            "scores not scaled": bare_scores,
        },
    )


@published("gpt2")
def gpt2_small() -> Case:
    return language_model("GPT2", {}, presets.gpt2(), vocab=50257)


ROPE = {"rope_type": "default", "rope_theta": 500000.0}
FAR = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 2.0,
    "original_max_position_embeddings": 16,
}
TINY = {
    "hidden_size": DIM,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "intermediate_size": HIDDEN,
}
NARROW: dict[str, Any] = {**SMALL, "kv_heads": 2, "hidden": HIDDEN}


@case("llama")
def llama() -> Case:
    return language_model(
        "Llama",
        {**TINY, "rms_norm_eps": 1e-5},
        presets.llama(**NARROW, positions=2048),
        wrong={
            "theta": set_to(theta=20000.0),
            "eps 1e-6": set_to(eps=1e-6),
            "gelu": set_to(act="gelu"),
            "no shared keys": set_to(kv_heads=4),
            "positions not turned": mixers(Attention, positions=()),
        },
    )


@case("llama: tied, biases, rope_parameters, head_dim")
def llama_3() -> Case:
    more = {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "rope_parameters": ROPE, "head_dim": 16}
    return language_model(
        "Llama",
        {**TINY, **more},
        presets.llama(**NARROW, positions=2048, tie=True, attention_bias=True, mlp_bias=True, theta=5e5, head_dim=16, eps=1e-6),
        wrong={"theta": set_to(theta=10000.0)},
    )


@case("llama: stretched")
def llama_31() -> Case:
    stretch = Stretch(factor=4.0, low=1.0, high=2.0, length=16)
    return language_model(
        "Llama",
        {**TINY, "rms_norm_eps": 1e-5, "rope_parameters": FAR},
        presets.llama(**NARROW, positions=2048, stretch=stretch),
        wrong={"not stretched": set_to(stretch=None), "other factor": set_to(stretch=stretch.replace(factor=8.0))},
    )
