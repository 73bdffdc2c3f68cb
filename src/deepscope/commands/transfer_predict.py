"""`deepscope transfer predict`: the classes of new images by a fitted classifier."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.classification import classify
from deepscope.command import Command
from deepscope.models import load_model
from deepscope.models.capabilities import require_one_class
from deepscope.presenters.transfer_predict import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class TransferPredict(Command):
    """Classify images with a classifier that `transfer fit` saved.

    Every image gets a category and its calibrated probability; none where the model abstains (`models abstain`).

    Attributes:
        model: the folder that `transfer fit` wrote.
        paths: image files and folders.
        batch_size: images per forward pass.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "predict"
    example: ClassVar[str] = "deepscope transfer predict my-model new-photos/"

    model: Path
    paths: tuple[Path, ...]
    _: KW_ONLY
    batch_size: Count = 32

    def run(self, session: Session) -> Result:
        """Classify every image that can be read."""
        model = load_model(self.model, session)
        require_one_class(model, "transfer predict", instead="use `classify`")
        return present(classify(model, self.paths, top=None, keep=0, batch_size=self.batch_size, session=session))
