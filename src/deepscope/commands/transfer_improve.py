"""`deepscope transfer improve`: what makes transferred features better, one idea at a time."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.command import Command
from deepscope.models import DEFAULT
from deepscope.presenters.transfer_improve import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Positive, ProperShare
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.improve import improve
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True)
class TransferImprove(Command):
    """Test improvements of transferred features one at a time, each with its reasoning and its effect.

    The baseline is the model's last layer, each vector divided by its norm, below a linear SVM. Every idea changes
    one thing; its effect is compared with the baseline on the same test images. Which one to use is decided by
    cross-validation on the training images: the marked row.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        model: whose features are improved.
        others: models that are joined to it; those whose weights are missing are left out.
        fine_tune: epochs of fine-tuning, measured on the first split alone; 0 leaves that idea out. An epoch over a
            thousand images takes minutes on a CPU.
        learning_rate: of fine-tuning.
        splits: 1 uses the data's own split; more draw that many stratified ones.
        test_fraction: share of test images where the data has no split of its own.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "improve"
    example: ClassVar[str] = "deepscope transfer improve 15scene --precision bfloat16"

    data: str
    _: KW_ONLY
    model: str = DEFAULT
    others: tuple[str, ...] = ("efficientnet_lite2", "vgg16")
    fine_tune: int = FineTuning.epochs
    learning_rate: Positive = FineTuning.rate
    splits: Count = 1
    test_fraction: ProperShare = 0.3

    def run(self, session: Session) -> Result:
        """Measure the baseline and every idea."""
        return present(
            improve(
                self.data,
                self.model,
                others=self.others,
                fine_tuning=FineTuning(self.fine_tune, self.learning_rate) if self.fine_tune else None,
                holdout=Holdout(self.splits, self.test_fraction),
                folder=session.out / "training" if session.out else None,
                session=session,
            )
        )
