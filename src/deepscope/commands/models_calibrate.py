"""`deepscope models calibrate`: confidences that match the accuracy, by a temperature."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from deepscope.command import Command
from deepscope.errors import UnsupportedError
from deepscope.models import DEFAULT, load_model
from deepscope.models.weights_file import FILE
from deepscope.presenters.models_calibrate import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.transfer.calibration import calibrate


@dataclass(frozen=True)
class ModelsCalibrate(Command):
    """Calibrate a model by a temperature, so that its confidences match its accuracy.

    Half of the images choose the temperature, the others measure the expected calibration error before and after. The
    predictions stay the same. With --out the calibrated model is saved: every command opens that folder.

    Attributes:
        data: a folder of images that the model was not trained on, with a folder per class or with `test/`.
        model: the classifier.
        limit: most images to use, drawn at random; by default all.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "calibrate"
    example: ClassVar[str] = "deepscope models calibrate holiday-photos/ --model my-model --out calibrated"
    makes: ClassVar[tuple[str, ...]] = (FILE, "model.json")

    data: str
    _: KW_ONLY
    model: str = DEFAULT
    limit: Count | None = None

    def run(self, session: Session) -> Result:
        """Choose, measure and save."""
        found = calibrate(load_model(self.model, session), self.data, limit=self.limit, session=session)
        if session.out is None:
            return present(found)
        try:
            return present(found.save_model(session.out))
        except UnsupportedError as error:
            return present(replace(found, unsaved=str(error)))
