"""`deepscope adapt fit`: a classifier for images without labels."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal

from deepscope.adaptation import PAPER, Adaptation, AdversarialTeacher, Recipe, adapt
from deepscope.command import Command, Keeping
from deepscope.errors import SettingError
from deepscope.models import DEFAULT
from deepscope.presenters.adapt_fit import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.training import CHECKPOINT


@dataclass(frozen=True)
class AdaptFit(Command):
    """Adapt a classifier: labelled images of one kind (the source), images of another kind without labels (the target).

    Source and target are two datasets of digits, or two folders with a folder of images per class; the target may
    also be a plain folder of images. Labels that the target has measure the result and are not used for it. The
    model, its checkpoints and its history are written to --out; the same command resumes where it was stopped.

    Attributes:
        source: labelled images.
        target: images of the other kind.
        method: how the target takes part.
        recipe: modern (batch normalisation of each domain, augmentation, Adam) or paper (Ganin and Lempitsky 2015).
        epochs: passes over the larger domain; by default the recipe's own.
        model: whose features photographs are described by; digits are learnt from their pixels.
        validator: label-free score by which the epoch is chosen: info-max, entropy, bnm, class-discrepancy,
            source-accuracy, or last.
        views: the model averages over what training has taught it to ignore: ten views of a digit, moved by a pixel
            and negative; --no-views keeps the network alone.
        tensorboard: also write TensorBoard's events.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "fit"
    example: ClassVar[str] = "deepscope adapt fit --source mnist --target mnist-m --precision bfloat16 --out adapted/"
    makes: ClassVar[tuple[str, ...]] = ("model.json", CHECKPOINT)

    _: KW_ONLY
    source: str
    target: str
    method: Adaptation = AdversarialTeacher()
    recipe: Literal["modern", "paper"] = "modern"
    epochs: Count | None = None
    model: str = DEFAULT
    validator: str = "info-max"
    views: bool = True
    tensorboard: bool = False

    def run(self, session: Session) -> Result:
        """Train, choose the epoch, save, and measure on held-out images."""
        if session.out is None:
            raise SettingError("out", "must name a folder for the adapted model")
        recipe = PAPER if self.recipe == "paper" else Recipe()
        adapted = adapt(
            self.source,
            self.target,
            method=self.method,
            recipe=recipe if self.epochs is None else replace(recipe, epochs=self.epochs),
            model=self.model,
            validator=self.validator,
            views=self.views,
            folder=session.out,
            tensorboard=self.tensorboard,
            session=session,
        )
        keeping = Keeping("the adapted model")
        with keeping:
            adapted = adapted.save_model(session.out)
        return keeping.done(present(adapted))
