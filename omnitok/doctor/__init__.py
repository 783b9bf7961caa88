"""The doctor: small examinations of an installation, each finding with its next step.

It starts with the standard library alone, for it may be the other libraries that are ill. A plugin brings an examination by
an entry point of the group `omnitok.doctor`.
"""

from .findings import Complaint, Finding, fine

__all__ = ["Complaint", "Finding", "fine"]
