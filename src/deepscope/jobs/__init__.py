"""What each command does, as a registered `Job`."""

from deepscope.jobs.job import Job, PartFailed, perform
from deepscope.registry import discover

__all__ = ["Job", "PartFailed", "perform"]

discover(__name__)
