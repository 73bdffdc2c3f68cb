"""`deepscope models abstain`: the confidence below which a model should not answer."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from deepscope.command import Command
from deepscope.errors import ModelError, SettingError, UnsupportedError
from deepscope.models import DEFAULT, load_model
from deepscope.models.weights_file import FILE
from deepscope.presenters.models_abstain import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, ProperShare
from deepscope.transfer.abstention import abstain


@dataclass(frozen=True)
class ModelsAbstain(Command):
    """Find the confidence below which a model should abstain, for a wanted accuracy on the images it answers.

    Half of the images choose the threshold, with a guarantee that holds for new images of the same kind with
    probability 1 - ERROR (Geifman and El-Yaniv 2017). The others measure how many images are answered, and how well.
    With --out the model is saved with its threshold: `classify` then gives no answer below it.

    Attributes:
        data: a folder of images that the model was not trained on, with a folder per class or with `test/`.
        model: the classifier.
        accuracy: wanted on the images that are answered.
        error: largest probability that the guarantee is wrong.
        limit: most images to use, drawn at random; by default all.
    """

    area: ClassVar[str] = "models"
    name: ClassVar[str] = "abstain"
    example: ClassVar[str] = "deepscope models abstain holiday-photos/ --model my-model --accuracy 0.9 --out cautious"
    makes: ClassVar[tuple[str, ...]] = (FILE, "model.json")

    data: str
    _: KW_ONLY
    model: str = DEFAULT
    accuracy: ProperShare = 0.95
    error: ProperShare = 0.05
    limit: Count | None = None

    def run(self, session: Session) -> Result:
        """Choose on one half, measure on the other, and save."""
        model = load_model(self.model, session)
        found = abstain(model, self.data, self.accuracy, error=self.error, limit=self.limit, session=session)
        if session.out is None or not found.threshold.found:
            return present(found)
        try:
            return present(found.save_model(session.out))
        except (ModelError, SettingError, UnsupportedError) as error:
            return present(replace(found, unsaved=str(error)))
