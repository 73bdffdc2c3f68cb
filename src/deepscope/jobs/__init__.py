"""What each command does, as a registered `Job`."""

from deepscope.jobs.job import Job, perform
from deepscope.registry import discover

__all__ = ["Job", "perform"]

discover(__name__)
