"""What each command does, as a registered `Job`."""

from deepscope.jobs.job import Job, Keeping, NotKept, PartFailed, perform
from deepscope.registry import discover

__all__ = ["Job", "Keeping", "NotKept", "PartFailed", "perform"]

discover(__name__)
