"""The tabular plugin: rows of tables as one token per cell, tables in files, and four that scikit-learn ships."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import TabularTokenizer

    return [TabularTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Cancer, Diabetes, Iris, TableFile, Wine

    return [Cancer, Diabetes, Iris, TableFile, Wine]
