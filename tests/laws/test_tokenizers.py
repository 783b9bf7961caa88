"""Every check of the contract over every installed tokenizer: what plugin authors are held to, we are held to."""

from pathlib import Path

import omnitok as ot
from omnitok.testing import parametrize_with_checks

PULSE = Path(__file__).parents[1] / "pulse.py"


@parametrize_with_checks([PULSE, *ot.load_plugins().names()])
def test_tokenizer_keeps_the_promise(tokenizer, check):
    check(tokenizer)


def test_all_five_are_checked() -> None:
    assert {"text", "image", "audio", "trajectory", "graph"} <= set(ot.load_plugins().names())
