"""Reading a file that anybody may have written: whole, within a limit, and refused by its name."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError


def read_bytes(path: str | Path, max_bytes: int) -> bytes:
    """The whole file. Raises InputError naming it where it cannot be read or is longer than `max_bytes`, before it is read."""
    try:
        size = Path(path).stat().st_size
        if size > max_bytes:
            raise InputError(f"{path}: {size} bytes, more than max_bytes = {max_bytes}")
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)  # a device has size 0 and no end
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(data) > max_bytes:
        raise InputError(f"{path}: more than max_bytes = {max_bytes}")
    return data
