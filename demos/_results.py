"""What the demos' result files say of how they came about."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

import omnitok
from omnitok.batch import Document


def fresh(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that is not there yet."""
    numbered = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 1000))]
    return next(f for f in numbered if not f.exists())


def versions() -> dict[str, str]:
    """Of everything that decides the numbers."""
    return {
        "omnitok": omnitok.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def data_hash(documents: Iterable[Document]) -> str:
    """sha256 over the content of every span and target of these documents."""
    digest = hashlib.sha256()
    for document in documents:
        for sequence in document.streams.values():
            for span in sequence.spans:
                digest.update(span.channel.encode() + span.content.numpy().tobytes())
        for ask in document.asks.values():
            digest.update(ask.target.numpy().tobytes())
    return digest.hexdigest()
