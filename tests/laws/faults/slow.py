"""A plugin that is slow and loud when it is imported."""

import time

from .good import GoodTokenizer

print("loading the slow plugin")
_end = time.process_time() + 0.4
while time.process_time() < _end:
    pass


class SlowTokenizer(GoodTokenizer, frozen=True):
    """A tokenizer of a module that takes its time."""
