"""The molecule plugin: graphs of atoms, SMILES as text, and tables of molecules with a property to predict."""

from omnitok.data import Dataset
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    from .smiles import SmilesTokenizer
    from .tokenizer import MoleculeTokenizer

    return [MoleculeTokenizer, SmilesTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    from .datasets import Bbbp, Esol, File, Known, Lipophilicity

    return [Known, File, Esol, Lipophilicity, Bbbp]
