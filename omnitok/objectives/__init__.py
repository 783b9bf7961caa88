"""Objectives: each owns its whole question, from what is asked to the score and the decoded answer."""

from .base import At, Objective
from .label import Classify, Regress
from .masked import Masked
from .next import Next
from .transcribe import Ctc

BUILT_IN: tuple[type[Objective], ...] = (Next, Masked, Classify, Regress, Ctc)

__all__ = ["BUILT_IN", "At", "Classify", "Ctc", "Masked", "Next", "Objective", "Regress"]
