"""The video plugin: clips as tubelets, and drawn clips whose direction of motion no single frame tells."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import VideoTokenizer

    return [VideoTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Motion

    return [Motion]
