"""The point cloud plugin: sets of points as patches, and sampled surfaces to tell apart."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import PointCloudTokenizer

    return [PointCloudTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Shapes

    return [Shapes]
