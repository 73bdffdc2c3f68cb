"""`deepscope adapt predict`: labels for images of the target."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.classification import classify
from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import load_model
from deepscope.models.capabilities import require_one_class
from deepscope.presenters.adapt_predict import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Share


@dataclass(frozen=True)
class AdaptPredict(Command):
    """Classify images with an adapted model, and count the uncertain predictions.

    Attributes:
        model: the folder that `adapt fit` wrote, or any other classifier.
        paths: image files and folders.
        confidence: probability below which a prediction counts as uncertain.
        batch_size: images per forward pass.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "predict"
    example: ClassVar[str] = "deepscope adapt predict adapted/ sketches/ --out labelled/"

    model: str
    paths: tuple[Path, ...]
    _: KW_ONLY
    confidence: Share = 0.9
    batch_size: Count = 32

    def run(self, session: Session) -> Result:
        """Classify every image that can be read."""
        if not 0 <= self.confidence <= 1:
            raise SettingError("confidence", "must be between 0 and 1", got=self.confidence)
        model = load_model(self.model, session)
        require_one_class(model, "adapt predict", instead="use `classify`")
        found = classify(model, self.paths, top=None, keep=0, batch_size=self.batch_size, session=session)
        return present(found, confidence=self.confidence)
