"""`deepscope adapt evaluate`: an adapted model on test images of both domains."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.adaptation import evaluate
from deepscope.command import Command
from deepscope.models import load_model
from deepscope.presenters.adapt_evaluate import present
from deepscope.results import Result
from deepscope.session import Session


@dataclass(frozen=True)
class AdaptEvaluate(Command):
    """Measure an adapted model on labelled test images of its source domain, its target domain, or both.

    The model uses the target's normalisation, on source images as well.

    Attributes:
        model: the folder that `adapt fit` wrote, or any other classifier.
        source: labelled images of the source domain.
        target: labelled images of the target domain.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "evaluate"
    example: ClassVar[str] = "deepscope adapt evaluate adapted/ --source mnist --target mnist-m"

    model: str
    _: KW_ONLY
    source: str | None = None
    target: str | None = None

    def run(self, session: Session) -> Result:
        """Classify the test images of each domain that was named."""
        model = load_model(self.model, session)
        return present(evaluate(model, source=self.source, target=self.target, session=session))
