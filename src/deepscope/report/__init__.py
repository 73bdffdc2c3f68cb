"""The report: every study of the source, run or taken from an earlier run, on one page."""

from deepscope.report.report import Report

__all__ = ["Report"]
