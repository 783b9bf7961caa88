"""The timeseries plugin: numbers in time as patches, columns of files, and tides computed here."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .tokenizer import TimeSeriesTokenizer

    return [TimeSeriesTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import SeriesFile, Tides

    return [SeriesFile, Tides]
