"""The page of all studies, each run now or taken from an earlier run."""

from deepscope.report.report import Report

__all__ = ["Report"]
