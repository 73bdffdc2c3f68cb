"""`deepscope transfer improve`: improve transferred features, one change at a time."""

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
    """Test improvements of transferred features one at a time, each with its rationale and its effect.

    The baseline is a linear SVM on the L2-normalised features of the model's last layer. Every idea changes one
    thing and is compared with the baseline on the same test images. The marked row is the one that cross-validation
    on the training images prefers.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        model: network whose features are improved.
        others: models whose features are concatenated to it; those whose weights are missing are left out.
        fine_tune: epochs of fine-tuning, measured on the first split only; 0 skips that idea. An epoch over a
            thousand images takes minutes on a CPU.
        learning_rate: learning rate of fine-tuning.
        splits: 1 uses the split of the data; more draw that many stratified splits.
        test_fraction: share of test images where the data has no split.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "improve"
    example: ClassVar[str] = "deepscope transfer improve 15scene"

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
