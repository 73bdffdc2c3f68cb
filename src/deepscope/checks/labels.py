"""Which labels of the data are probably wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated, Any, ClassVar

from deepscope.batch import Sharding, run
from deepscope.checks.check import Check
from deepscope.checks.given_data import labelled
from deepscope.checks.many_images import folders_of
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget
from deepscope.features.job import FeaturesJob
from deepscope.models import load_model
from deepscope.models.capabilities import RGB, require, require_one_class
from deepscope.names import short
from deepscope.presenters.batch import origin_of
from deepscope.presenters.labels import present, present_in_parts
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides
from deepscope.transfer.heads import Head
from deepscope.transfer.label_errors import label_errors
from deepscope.transfer.label_parts import label_errors_in_parts


@dataclass(frozen=True)
class Labels(Check):
    """Labels that cross-validated classifiers on the model's features contradict, and accuracy within their bounds.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: its features are used; its classes may be others than the data's.
        labels: not used: it compares images with one class each.
        head: linear-svc, logistic-regression, ridge or nearest-neighbours: the classifier on the features.
        limit: most images to use, drawn at random.
        figures: most suspects that the figure shows.
        parts: how a large job is cut into parts, and what computes them.
    """

    chapter: ClassVar[str] = "5 The data"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1, "full": 5}
    listed: ClassVar[Mapping[str, str]] = {"wrong-labels": "of the labels are probably wrong"}
    shares: ClassVar[tuple[str, ...]] = ("wrong-labels", "accuracy", "accuracy/bounds", "planted/auroc")

    _: KW_ONLY
    head: str = "logistic-regression"
    limit: Count | None = None
    figures: int = 24
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any], hash=False)

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
        if self.parts:
            return self._in_parts(session)
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

    def left_out(self, result: Result) -> Mapping[str, str]:
        """The share of wrong labels, where the features do not tell wrong labels from right ones."""
        if "wrong-labels" in result.metrics:
            return {}
        return {"share of wrong labels": "in a trial, these features did not tell wrong labels from right ones"}

    def _in_parts(self, session: Session) -> Result:
        """The same on features in Parquet files, of which memory holds a block at a time."""
        job, folders = FeaturesJob(self.model), folders_of(self.data, session)
        Head.named(self.head)
        found = run(job, folders, session, sharding=Sharding(**self.parts), limit=self.limit)
        errors = label_errors_in_parts(found.folder, name=short(self.data), head=self.head, session=session)
        return replace(present_in_parts(errors), provenance=origin_of(found))
