"""The text plugin: subword ids by Hugging Face `tokenizers`, and three corpora."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import TextTokenizer

    return [TextTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Banking77, Shakespeare, Topics

    return [Topics, Shakespeare, Banking77]
