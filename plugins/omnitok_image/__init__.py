"""The image plugin: pictures as square patches, any size and aspect ratio."""

from __future__ import annotations

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import ImageTokenizer

    return [ImageTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Digits, Emoji, Fashion, Photos

    return [Digits, Fashion, Emoji, Photos]
