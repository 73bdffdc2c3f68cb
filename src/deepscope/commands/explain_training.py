"""`deepscope explain training`: which training images made a classifier give its answer."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import load_model
from deepscope.presenters.explain_training import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.transfer.training_images import training_images


@dataclass(frozen=True)
class ExplainTraining(Command):
    """Show the training images that support a classifier's answer, and those that oppose it.

    For a classifier of `transfer fit` each score is an exact sum over the training images. For any other model the
    training images with the nearest features are shown.

    Attributes:
        paths: image files and folders to explain.
        train: the folder or dataset that the classifier was fitted to.
        model: the classifier, such as the folder that `transfer fit` wrote.
        target: explain this class, by name or number; the predicted one by default.
        shown: training images shown per image as helpful, and as harmful.
    """

    name: ClassVar[str] = "training"
    area: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain training cat.jpg --train holiday-photos/ --model my-model --out why/"

    paths: tuple[Path, ...]
    _: KW_ONLY
    train: str
    model: str
    target: str | None = None
    shown: Count = 4

    def run(self, session: Session) -> Result:
        """Explain every image that can be read."""
        if not self.paths:
            raise SettingError("paths", "must name at least one image to explain")
        found = training_images(
            load_model(self.model, session),
            list(self.paths),
            self.train,
            target=self.target,
            shown=self.shown,
            session=session,
        )
        return present(found)
