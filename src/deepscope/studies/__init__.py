"""The studies of the report (Delefosse & Vin), one file each."""

from deepscope.registry import discover
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers

__all__ = ["Answer", "Budget", "Study", "Verdict", "answers"]

discover(__name__)
