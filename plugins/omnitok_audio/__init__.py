"""The audio plugin: sounds as patches of a log-mel spectrogram, at any sample rate."""

from __future__ import annotations

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import AudioTokenizer

    return [AudioTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Esc10, Fsdd, SpokenDigits

    return [SpokenDigits, Fsdd, Esc10]
