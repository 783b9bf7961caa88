"""The bytes plugin: any file as its bytes, folders of files, and sectors of ten formats."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import BytesTokenizer

    return [BytesTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Formats, Fragments

    return [Formats, Fragments]
