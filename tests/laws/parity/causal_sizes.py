"""Parity cases: causal language models at published sizes; above 150 million parameters their widths and heads, with 2
layers and 4096 ids.
"""

from typing import Any

from omnitok.presets import get
from tests.laws.parity.case import Case, published
from tests.laws.parity.causal import language_model

CUT, IDS = 2, 4096


def size(model: str, preset: str, name: str, whole: bool = False) -> None:
    """Register a published size of a preset; `model` is the library's class."""

    @published(name)
    def make() -> Case:
        cls: Any = get(preset)
        found = cls.published[name]
        vocab = found.channels["tokens"].vocab if whole else IDS
        ours = cls(**(dict(found.fields) if whole else {**found.fields, "depth": CUT}))
        config = ours.to_config({"tokens": found.channels["tokens"].__class__(vocab=vocab)})
        theirs = {k: v for k, v in config.items() if k not in NOT_THEIRS}
        return language_model(model, theirs, ours, vocab=vocab)


NOT_THEIRS = ("architectures", "model_type", "vocab_size", "bos_token_id", "eos_token_id")

size("GPT2", "gpt2", "gpt2", whole=True)
size("GPT2", "gpt2", "gpt2-xl")
size("Llama", "llama", "llama-2-7b")
size("Llama", "llama", "llama-3.2-1b")
size("Qwen3", "qwen3", "qwen3-0.6b")
size("Mistral", "mistral", "mistral-7b")
size("GPTJ", "gptj", "gpt-j-6b")
size("Bloom", "bloom", "bloom-560m")
size("GPTNeoX", "gpt-neox", "pythia-70m", whole=True)
size("GPTNeoX", "gpt-neox", "pythia-160m", whole=True)
