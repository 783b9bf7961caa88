"""Parity cases: causal language models of Hugging Face, small ones; `causal_sizes.py` has the published sizes."""

from typing import Any

from omnitok import presets
from omnitok.nn.alibi import Alibi
from omnitok.nn.attention import Attention
from omnitok.nn.mixers import MLP
from omnitok.nn.parallel import Parallel
from omnitok.nn.positions import Rope
from omnitok.nn.rope import Stretch
from omnitok.tokenizer import Channel
from omnitok.weights import Reference
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, SMALL, VOCAB, Case, case, ids, library, sentence
from tests.laws.parity.wrong import bare_scores, full, mixers, post_norm, residuals, streams


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


def branches(edit):
    """Every branch of a parallel mixer changed."""
    return residuals(
        lambda r: r.replace(mixer=Parallel(tuple(edit(b) for b in r.mixer.branches))) if isinstance(r.mixer, Parallel) else r
    )


def branch_mixers(kind: type, **fields):
    """These fields of every mixer of a kind inside a parallel one."""
    return branches(lambda b: b.replace(mixer=b.mixer.replace(**fields)) if isinstance(b.mixer, kind) else b)


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


@case("qwen3")
def qwen3() -> Case:
    return language_model(
        "Qwen3",
        {**TINY, "head_dim": 16},
        presets.qwen3(**NARROW, head_dim=16, positions=32768, theta=10000.0, tie=False),
        wrong={
            "theta": set_to(theta=1000000.0),
            "eps 1e-5": set_to(eps=1e-5),
            "heads of dim / heads": set_to(head_dim=None),
            "queries and keys not normed": mixers(Attention, qk_norm=None),
            "norms behind the sums": post_norm,
        },
    )


@case("qwen3: tied, biases, rope_parameters")
def qwen3_tied() -> Case:
    more = {"tie_word_embeddings": True, "attention_bias": True, "rope_parameters": {**ROPE, "rope_theta": 1e6}}
    return language_model(
        "Qwen3",
        {**TINY, **more, "head_dim": 16},
        presets.qwen3(**NARROW, head_dim=16, positions=32768, attention_bias=True),
        wrong={"theta": set_to(theta=10000.0), "no biases": set_to(attention_bias=False)},
    )


@case("mistral")
def mistral() -> Case:
    return language_model(
        "Mistral",
        {**TINY, "sliding_window": 4},
        presets.mistral(**NARROW, window=4, positions=131072, eps=1e-6),
        wrong={
            "window of 3": set_to(window=3),
            "window of 5": set_to(window=5),
            "no window": set_to(window=None),
            "eps 1e-5": set_to(eps=1e-5),
            "theta": set_to(theta=500000.0),
        },
    )


@case("mistral: no window, tied")
def mistral_far() -> Case:
    return language_model(
        "Mistral",
        {**TINY, "sliding_window": None, "tie_word_embeddings": True, "rope_parameters": ROPE},
        presets.mistral(**NARROW, window=None, positions=131072, eps=1e-6, theta=5e5, tie=True),
        wrong={"window of 11": set_to(window=11)},
    )


SLANTED = {"n_embd": DIM, "n_layer": DEPTH, "n_head": HEADS, "n_positions": 40, "rotary_dim": 4}


@case("gptj")
def gptj() -> Case:
    return language_model(
        "GPTJ",
        SLANTED,
        presets.gptj(**SMALL, rotary=4, positions=40),
        wrong={
            "halves rotated": branch_mixers(Attention, positions=(Rope((("position", 4),)),)),
            "all of a head rotated": set_to(rotary=12),
            "erf gelu": set_to(act="gelu"),
            "eps 1e-6": set_to(eps=1e-6),
            "half of the MLP": branches(lambda b: b.replace(scale=0.5) if b.name == "mlp" else b),
        },
    )


@case("gptj: n_inner")
def gptj_narrow() -> Case:
    return language_model("GPTJ", {**SLANTED, "n_inner": HIDDEN}, presets.gptj(**SMALL, hidden=HIDDEN, rotary=4, positions=40))


@case("bloom")
def bloom() -> Case:
    """Its gelu has a constant of eight digits, which ours exceeds: 5e-11 of the answers in double precision."""
    return language_model(
        "Bloom",
        {"hidden_size": DIM, "n_layer": DEPTH, "n_head": HEADS},
        presets.bloom(**SMALL),
        wrong={
            "no slopes": mixers(Attention, positions=()),
            "erf gelu": mixers(MLP, act="gelu"),
            "eps 1e-6": set_to(eps=1e-6),
            "embedding not normed": streams(lambda s: s.replace(steps=())),
            "slopes along no axis": mixers(Attention, positions=(Alibi("place"),)),
        },
    )


@case("bloom: heads that are no power of two")
def bloom_three() -> Case:
    config = {"hidden_size": DIM, "n_layer": DEPTH, "n_head": 3}
    return language_model("Bloom", config, presets.bloom(**{**SMALL, "heads": 3}), wrong={"4 heads": set_to(heads=4)})


NEOX = {"hidden_size": DIM, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": HIDDEN}


@case("gpt-neox")
def gpt_neox() -> Case:
    return language_model(
        "GPTNeoX",
        {**NEOX, "rotary_pct": 0.5},
        presets.gpt_neox(**SMALL, hidden=HIDDEN, rotary=0.5),
        wrong={
            "one after the other": set_to(parallel=False),
            "a quarter rotated": set_to(rotary=0.4),
            "neighbours rotated": branch_mixers(Attention, positions=(Rope((("position", 6),), interleaved=True),)),
            "theta": set_to(theta=20000.0),
            "tanh gelu": set_to(act="gelu_tanh"),
        },
    )


@case("gpt-neox: one after the other, rope_parameters")
def gpt_neox_serial() -> Case:
    rope = {**ROPE, "partial_rotary_factor": 1.0}
    return language_model(
        "GPTNeoX",
        {**NEOX, "use_parallel_residual": False, "rope_parameters": rope},
        presets.gpt_neox(**SMALL, hidden=HIDDEN, rotary=1.0, theta=5e5, parallel=False),
        wrong={"side by side": set_to(parallel=True), "theta": set_to(theta=10000.0), "half rotated": set_to(rotary=0.5)},
    )
