"""The studies of the source report, one file each."""

from deepscope.registry import discover
from deepscope.studies.study import Study

__all__ = ["Study"]

discover(__name__)
