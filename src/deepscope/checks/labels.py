"""Which labels of the data are probably wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.checks.check import Check
from deepscope.checks.given_data import labelled
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget
from deepscope.models import load_model
from deepscope.models.capabilities import RGB, require, require_one_class
from deepscope.presenters.labels import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.transfer.label_errors import label_errors


@dataclass(frozen=True)
class Labels(Check):
    """Labels that cross-validated classifiers on the model's features contradict, and accuracy within their bounds.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: its features are used; its classes may be others than the data's.
        labels: not used: it compares images of one class each.
        head: linear-svc, logistic-regression, ridge or nearest-neighbours: the classifier on the features.
        limit: most images to use, drawn at random.
        figures: most suspects that the figure shows.
    """

    chapter: ClassVar[str] = "5 The data"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1, "full": 5}
    listed: ClassVar[Mapping[str, str]] = {"wrong-labels": "of the labels are probably wrong"}

    _: KW_ONLY
    head: str = "logistic-regression"
    limit: Count | None = None
    figures: int = 24

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Labels:
        """Some hundred images, or all."""
        return cls(data, model=model, limit=1000 if budget == "quick" else None)

    def work(self, known: Pace) -> Work:
        """The features of every image, and cross-validated classifiers on them."""
        total = known.images + known.train
        count = min(self.limit or total, total)
        return Work(passes=count)

    def run(self, session: Session) -> Result:
        """Cross-validate on the model's features, and compare with the labels."""
        model = load_model(self.model, session)
        require_one_class(model, "labels")
        require(model, "labels", RGB)
        return present(
            label_errors(
                labelled(self.data, session),
                model,
                head=self.head,
                limit=self.limit,
                keep=self.figures,
                session=session,
            )
        )
