"""`deepscope adapt fit`: a classifier for images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from deepscope.adaptation import PAPER, SOURCE, TARGET, Adaptation, Adapted, AdversarialTeacher, Recipe, adapt, run
from deepscope.commands.command import Command, Keeping
from deepscope.commands.domains import Domains, load_domains
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT
from deepscope.models.classifier import View
from deepscope.results import Block, Column, Curves, Note, Provenance, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import Estimate, proportion
from deepscope.training import CHECKPOINT, History


@dataclass(frozen=True)
class AdaptFit(Command):
    """Adapt a classifier: labelled images of one kind (the source), images of another kind without labels (the target).

    Source and target are two datasets of digits, or two folders with a folder of images for each class; the target may
    also be a plain folder of images. Labels that the target has measure the result and are not used for it. The
    model, its checkpoints and its history are written to --out; the same command goes on where it was stopped.

    Attributes:
        source: labelled images.
        target: images of the other kind.
        method: how the target takes part.
        recipe: modern (batch normalisation of each domain, augmentation, Adam) or paper (Ganin and Lempitsky 2015).
        epochs: passes over the larger domain; the recipe's own number where none is given.
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
            raise DeepscopeError("the adapted model needs a folder: name one with --out")
        recipe = PAPER if self.recipe == "paper" else Recipe()
        if self.epochs is not None:
            recipe = replace(recipe, epochs=self.epochs)
        recipe.require_trainable()
        domains = load_domains(self.source, self.target, self.model, session)
        adapted = adapt(
            lambda: domains.network(recipe, self.method),
            domains.source,
            domains.target,
            method=self.method,
            recipe=recipe,
            session=session,
            validator=self.validator,
            folder=session.out,
            tensorboard=self.tensorboard,
        )
        about = f"{self.method.name} from {self.source} to {self.target}"
        views = domains.views(recipe) if self.views else (View(),)
        keeping, saved = Keeping("the adapted model"), []
        with keeping:
            saved = [domains.save(session.out, adapted.network, views, about=about)]
        measured = accuracies(domains, adapted, session, views)
        result = Result(
            title=f"Adapted from {self.source} to {self.target} by {self.method.name}",
            metrics={
                **{key: value for name, estimate in measured.items() for key, value in estimate.metrics(name).items()},
                "epoch": adapted.chosen / (adapted.history.rows[-1]["step"] / recipe.epochs),
            },
            blocks=(
                _table(measured),
                *(Note(f"{remark}.", "Classes", "warning") for remark in domains.remarks),
                *(Note(f"The model is in {session.out}: give it to any command with --model.", "Saved") for _ in saved),
                *curves(adapted.history),
            ),
            provenance=Provenance(
                models={model.name: model.fingerprint for model in saved},
                data=f"{len(domains.source)} labelled images of {self.source}, {len(domains.target)} of {self.target}",
            ),
        )
        return keeping.done(result)


def accuracies(domains: Domains, adapted: Adapted, session: Session, views: Sequence[View]) -> dict[str, Estimate]:
    """Accuracy on held-out images of each domain, each with its own statistics; without the target's where unknown.

    "/one-view" is that of the network alone, where the model averages over several.
    """
    ways = {"": views, "/one-view": views[:1]} if len(views) > 1 else {"": views}
    found = {}
    for name, domain, test in (("source", SOURCE, domains.source_test), ("target", TARGET, domains.target_test)):
        if test is None:
            continue
        for key, seen in ways.items():
            _, logits = run(adapted.network, test.inputs, domain, session, seen)
            found[f"accuracy/{name}{key}"] = proportion(right(logits, test.labels), len(test))
    return found


def right(logits: Tensor, labels: Tensor) -> int:
    """How many of (N, C) logits are highest at their label (N,)."""
    return int((logits.argmax(1) == labels).sum())


def curves(history: History) -> tuple[Block, ...]:
    """Losses, label-free scores, and what the method says, along the training."""
    groups = {
        "loss/": ("Losses", "loss", ""),
        "validator/": ("Label-free scores", "share of the range", "Each score from its lowest to its highest value."),
        "domain/": ("Domain classifier", "accuracy", "0.5 is chance: it cannot tell the domains apart."),
        "pseudo-labels/": ("Pseudo-labels", "share", "Coverage: target images whose label the teacher is sure of."),
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


def _table(measured: dict[str, Estimate]) -> Table:
    rows = tuple((name.removeprefix("accuracy/"), e.value, e.low, e.high) for name, e in measured.items())
    columns = (Column("domain"), Column("accuracy", ".4f"), Column("low", ".4f"), Column("high", ".4f"))
    return Table(columns, rows, title="Accuracy on held-out images", caption="95 % Wilson intervals.")
