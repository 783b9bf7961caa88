"""Reads every file of a folder with one plugin, under a memory limit, and prints what became of each as JSON.

Run as a process of its own, so that a crash, a hang or a memory blow-up is seen: python malformed.py omnitok_image FOLDER
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path

SPARE = 1 << 30
"""Bytes that reading may take beyond what the imports took."""


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def outcome(tokenizer, path: Path) -> dict:
    from omnitok.errors import InputError

    start = time.perf_counter()
    try:
        tokens = len(tokenizer.encode(tokenizer.read(path)))
        found = {"tokens": tokens, "error": None}
    except InputError as error:
        found = {"tokens": None, "error": str(error)}
    return {"file": path.name, **found, "seconds": time.perf_counter() - start}


def main(module: str, folder: str) -> None:
    (kind,) = importlib.import_module(module).register_tokenizers()
    tokenizer = kind()
    for raw in tokenizer.samples():
        tokenizer.encode(raw)  # everything that is imported lazily is in memory before the limit is set
    limit_memory()
    print(json.dumps([outcome(tokenizer, path) for path in sorted(Path(folder).iterdir())]))


if __name__ == "__main__":
    main(*sys.argv[1:])
