"""The graph plugin: nodes (and edges, where asked) as tokens, edges as pairs, and three collections of graphs."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import GraphTokenizer

    return [GraphTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Atlas, Cora, Tu

    return [Atlas, Cora, Tu]
