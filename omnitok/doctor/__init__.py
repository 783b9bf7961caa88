"""The doctor: small examinations of an installation, each finding with its next step. Needs the standard library alone to start."""

from .findings import Complaint, Finding, fine

__all__ = ["Complaint", "Finding", "fine"]
