"""`deepscope adapt fit`: adapt a classifier to images without labels."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal

from deepscope.adaptation import PAPER, Adaptation, Recipe, adapt
from deepscope.command import Command, Keeping
from deepscope.models import DEFAULT
from deepscope.presenters.adapt_fit import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.training import CHECKPOINT


@dataclass(frozen=True)
class AdaptFit(Command):
    """Adapt a classifier from labelled images (the source domain) to unlabelled images of another kind (the target).

    Source and target are two datasets of digits, or two folders with one folder of images per class; the target may
    also be a plain folder of images. Target labels, if any, are used only to measure the result. The
    model, its checkpoints and its history are written to --out; the same command resumes an interrupted training.

    Attributes:
        source: labelled images of the source domain.
        target: images of the target domain; labels are not needed.
        method: adaptation method; by default adversarial-teacher for digits, minimum-class-confusion for photographs.
        recipe: modern (batch normalisation of each domain, augmentation, Adam) or paper (Ganin and Lempitsky 2015).
        partial: the target may lack classes of the source: images of the source count by how often the target's
            predictions name their class.
        epochs: passes over the larger domain; by default those of the recipe.
        model: network that extracts features of photographs; digits are learnt from their pixels.
        validator: label-free score that chooses the epoch: info-max, entropy, bnm, class-discrepancy,
            source-accuracy, or last.
        views: average predictions over the augmentations of training: ten views of a digit, shifted by a pixel
            and inverted; --no-views uses the image only.
        tensorboard: also write TensorBoard's events.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "fit"
    example: ClassVar[str] = "deepscope adapt fit --source mnist --target mnist-m --out adapted/"
    makes: ClassVar[tuple[str, ...]] = ("model.json", CHECKPOINT)

    _: KW_ONLY
    source: str
    target: str
    method: Adaptation | None = None
    recipe: Literal["modern", "paper"] = "modern"
    partial: bool = False
    epochs: Count | None = None
    model: str = DEFAULT
    validator: str = "info-max"
    views: bool = True
    tensorboard: bool = False

    def run(self, session: Session) -> Result:
        """Train, choose the epoch, save, and measure on held-out images."""
        out = session.require_out("the adapted model")
        recipe = replace(PAPER if self.recipe == "paper" else Recipe(), partial=self.partial)
        adapted = adapt(
            self.source,
            self.target,
            method=self.method,
            recipe=recipe if self.epochs is None else replace(recipe, epochs=self.epochs),
            model=self.model,
            validator=self.validator,
            views=self.views,
            folder=out,
            tensorboard=self.tensorboard,
            session=session,
        )
        keeping = Keeping("the adapted model")
        with keeping:
            adapted = adapted.save_model(out)
        return keeping.done(present(adapted))
