"""`deepscope adapt fit`: adapt a classifier to images without labels."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal

from deepscope.adaptation import PAPER, Adaptation, AdaptedModel, AdversarialTeacher, Recipe, adapt
from deepscope.commands.command import Command, Keeping
from deepscope.commands.shown import skipped_blocks
from deepscope.errors import SettingError
from deepscope.models import DEFAULT
from deepscope.render import presents
from deepscope.results import Block, Column, Curves, Note, Provenance, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.training import CHECKPOINT, History


@dataclass(frozen=True)
class AdaptFit(Command):
    """Adapt a classifier from labelled images (the source domain) to unlabelled images of another kind (the target).

    Source and target are two datasets of digits, or two folders with one folder of images per class; the target may
    also be a plain folder of images. Target labels, if any, are used only to measure the result. The
    model, its checkpoints and its history are written to --out; the same command resumes an interrupted training.

    Attributes:
        source: labelled images.
        target: images of the target domain; labels are not needed.
        method: adaptation method.
        recipe: modern (batch normalisation of each domain, augmentation, Adam) or paper (Ganin and Lempitsky 2015).
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


@presents(AdaptedModel)
def present(adapted: AdaptedModel) -> Result:
    """Accuracies on both domains, and the course of the training."""
    domains, saved = adapted.domains, [adapted.saved] if adapted.saved else []
    source, target = f"{len(domains.source)} labelled images of {adapted.source}", f"{len(domains.target)}"
    return Result(
        title=f"Adapted from {adapted.source} to {adapted.target} by {adapted.method.name}",
        metrics={
            **{key: value for name, found in adapted.accuracies.items() for key, value in found.metrics(name).items()},
            "epoch": adapted.epoch,
        },
        blocks=(
            _table(adapted),
            *(Note(f"{remark}.", "Classes", "warning") for remark in domains.remarks),
            *(Note(f"{m.name} is a model: `deepscope classify IMAGES --model {m.name}`.", "Saved") for m in saved),
            *curves(adapted.history),
            *skipped_blocks(domains.skipped),
        ),
        provenance=Provenance(
            models={model.name: model.fingerprint for model in saved}, data=f"{source}, {target} of {adapted.target}"
        ),
    )


def curves(history: History) -> tuple[Block, ...]:
    """Losses, label-free scores, and the method's own figures, during training."""
    groups = {
        "loss/": ("Losses", "loss", ""),
        "validator/": ("Label-free scores", "share of the range", "Each score from its lowest to its highest value."),
        "domain/": ("Domain classifier", "accuracy", "0.5 is chance: it cannot tell the domains apart."),
        "pseudo-labels/": (
            "Pseudo-labels",
            "share",
            "Coverage: share of target images whose pseudo-label is confident.",
        ),
    }
    names = sorted({name for row in history.rows for name in row})
    blocks = []
    for prefix, (title, y_title, caption) in groups.items():
        series = []
        for name in (name for name in names if name.startswith(prefix)):
            steps, values = history.column(name)
            if prefix == "validator/":
                values = (values - values.min()) / max(float(values.max() - values.min()), 1e-12)
            series.append(Series(name.removeprefix(prefix), steps, values))
        if series:
            blocks.append(Curves(tuple(series), "step", y_title, title, caption))
    return tuple(blocks)


def _table(adapted: AdaptedModel) -> Table:
    found = adapted.accuracies.items()
    rows = tuple((name.removeprefix("accuracy/"), e.value, e.low, e.high) for name, e in found)
    columns = (Column("domain"), Column("accuracy", ".4f"), Column("low", ".4f"), Column("high", ".4f"))
    return Table(columns, rows, title="Accuracy on held-out images", caption="95 % Wilson intervals.")
