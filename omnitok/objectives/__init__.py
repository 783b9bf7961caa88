"""Objectives: each owns its whole question, from what is asked to the score and the decoded answer."""

from .base import At, Objective
from .contrast import Contrast
from .corrupt import Corrupt
from .label import Classify, Regress
from .link import Link
from .masked import Masked
from .next import Next
from .seq2seq import Seq2Seq
from .transcribe import Ctc

BUILT_IN: tuple[type[Objective], ...] = (Next, Masked, Classify, Regress, Ctc, Seq2Seq, Corrupt, Contrast, Link)

__all__ = [
    "BUILT_IN",
    "At",
    "Classify",
    "Contrast",
    "Corrupt",
    "Ctc",
    "Link",
    "Masked",
    "Next",
    "Objective",
    "Regress",
    "Seq2Seq",
]
