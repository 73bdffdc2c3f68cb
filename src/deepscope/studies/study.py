"""`Study`: an experiment of the source report, repeated and finished."""

from __future__ import annotations

from abc import abstractmethod

from deepscope.registry import Registered
from deepscope.results import Result
from deepscope.session import Session


class Study(Registered):
    """An experiment: a frozen dataclass whose fields are its settings; `run` gives the answer with its numbers.

    A study of the source answers its questions with a verdict each: reproduced, differs, or not
    measured here and why.
    """

    @abstractmethod
    def run(self, session: Session) -> Result:
        """Do the experiment. Parts that cannot be done here appear as not measured, with the reason."""
