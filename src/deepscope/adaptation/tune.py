"""Tune a classifier to images without labels, and without any image of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepscope.adaptation.auto import Auto
from deepscope.adaptation.collapse import Signs, signs
from deepscope.adaptation.evaluate import evaluate
from deepscope.adaptation.keeping_source import keeping_source
from deepscope.adaptation.loading import DomainData, called, opened
from deepscope.adaptation.tuning import Proposal, Target, Tuning, require_untuned
from deepscope.adaptation.validators import Validator
from deepscope.data import DigitSplit
from deepscope.errors import DataError, ModelError, SettingError, UnsupportedError
from deepscope.images import Skipped
from deepscope.inputs import nothing_readable, read
from deepscope.inputs.examples import Examples
from deepscope.inputs.given import digest_of
from deepscope.models import VisionModel, load_model, save_model
from deepscope.models.capabilities import GRADIENTS_OF_LAYERS, require, require_one_class
from deepscope.models.classifier import Backbone, Classifier
from deepscope.models.saved import require_architectures
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.training import Diverged

_FEW = 64


@dataclass(frozen=True)
class Scored:
    """A model that could be taken.

    Attributes:
        name: what was done: "source", "statistics, mix 0.3".
        score: of the label-free validator; higher is better. None where training diverged.
        signs: its predictions beside those of the source model.
    """

    name: str
    score: float | None
    signs: Signs


@dataclass(frozen=True, eq=False)
class TunedModel(Presented):
    """A classifier that was tuned to a target, or the source model where tuning failed.

    Attributes:
        source: the model that was tuned.
        model: the model to use.
        target: name of the target.
        method: how it was tuned.
        validator: name of the label-free score.
        choices: the models that were tried, the source model first.
        chosen: the name of the one that `model` is.
        images: number of images that the model was tuned to.
        accuracies: "accuracy/source-model" and "accuracy/tuned" on labelled images of the target, where it has any.
        remarks: what the user should know, one sentence each.
        skipped: images that could not be read.
        keeps_source: whether `model` computes as the source model for images that do not look like the target's.
        saved: whether `model` was saved.
    """

    source: VisionModel
    model: VisionModel
    target: str
    method: Tuning
    validator: str
    choices: tuple[Scored, ...]
    chosen: str
    images: int
    accuracies: Mapping[str, Estimate]
    remarks: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    keeps_source: bool = False
    saved: bool = False

    @property
    def fell_back(self) -> bool:
        """Whether the source model was taken because every tuned one collapsed."""
        return self.chosen == SOURCE_MODEL and all(choice.signs.alarm for choice in self.choices[1:])

    def save_model(self, folder: str | Path) -> TunedModel:
        """Write the model to a folder, which `load_model` opens. Returns the same with the model as it was saved.

        Raises:
            UnsupportedError: the network cannot be rebuilt by name.
            FileError: the folder cannot be written to.
        """
        save_model(self.model, folder)
        return replace(self, model=load_model(folder), saved=True)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per model that was tried."""
        return {
            "model": [choice.name for choice in self.choices],
            self.validator: [choice.score for choice in self.choices],
            "agreement": [choice.signs.agreement for choice in self.choices],
            "largest class": [choice.signs.largest for choice in self.choices],
            "alarm": [choice.signs.alarm for choice in self.choices],
            "chosen": [choice.name == self.chosen for choice in self.choices],
        }


SOURCE_MODEL = "source"
"""The name of the model as it was given."""


def tune(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: DomainData,
    *,
    method: str | Tuning = Auto(),
    validator: str = "info-max",
    keep_source: bool = True,
    limit: int | None = 2000,
    batch_size: int = 32,
    seed: int = 0,
    session: Session | None = None,
) -> TunedModel:
    """Tune a classifier's own layers to images of another kind, without labels and without images of its source.

    Labels of the images, where they have any, are used only to measure the result. Where the images are divided into
    training and test images, the model is tuned to the first and measured on the second.

    A model whose predictions collapse (one class for most images, or no more agreement with the source model than by
    chance) is not taken: the result then holds the source model and says why.

    Args:
        model: a classifier; it stays as it is.
        images: of the target: a folder, a dataset's name, or images in any form.
        method: how to tune, by name or as an object.
        validator: the label-free score by which "auto" chooses: "info-max", "entropy" or "bnm".
        keep_source: let the model compute as the source model for images that do not look like the target's. They are
            told apart, one by one, by statistics of the first layer. Where a network or a method does not allow it, the
            tuned model is for the target alone.
        limit: most images to tune to, drawn at random; None takes all.
        batch_size: images per step, whose statistics batch normalisation uses.
        seed: of the order of the images.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        DataError: there are fewer than two images.
        UnsupportedError: the model lacks the layers, or has several labels per image.

    Example:
        >>> import numpy as np, deepscope as ds
        >>> from deepscope.adaptation import tune
        >>> dark = [np.full((224, 224, 3), level, np.uint8) for level in range(0, 80, 10)]
        >>> tuned = tune(ds.load_model("efficientnet_lite0"), dark, method="statistics")
        >>> tuned.images, len(tuned.choices)
        (8, 2)
    """
    method, scoring = Tuning.of(method), Validator.named(validator)
    if scoring.uses_source:
        raise SettingError("validator", "needs images of the source: choose info-max, entropy or bnm", got=validator)
    if not isinstance(batch_size, int) or batch_size < 2:
        raise SettingError("batch_size", "must be a whole number, and at least 2", got=batch_size)
    require_tunable(model, method)
    session = Session.of(session, device=model.device, seed=seed)
    found = opened(images, session)
    pixels, skipped = _pixels(model, _unlabelled(found), limit, session)
    target = Target(pixels, batch_size, scoring, session)
    source = target.proposal(SOURCE_MODEL, model)
    taken, choices = _choose(method, source, target)
    name = f"{model.name} tuned to {called(images)}"
    both = keeping_source(model, taken.model, target) if keep_source and taken is not source else None
    tuned = model if taken is source else _named(both or taken.model, name)
    remarks = []
    if keep_source and taken is not source and both is None:
        remarks.append("The tuned model is for the target alone: it cannot tell images of its source apart.")
    if len(pixels) < _FEW:
        remarks.append(f"Only {len(pixels)} images: statistics of fewer than {_FEW} are uncertain.")
    accuracies: dict[str, Estimate] = {}
    if isinstance(found, (Examples, DigitSplit)):
        try:
            accuracies, left_out = _accuracies(model, tuned, found, session)
        except DataError as error:
            remarks.append(f"Accuracy cannot be measured: {error}.")
        else:
            remarks += left_out
        if isinstance(found, Examples) and found.test is None and accuracies:
            remarks.append("Accuracy is that on the images that the model was tuned to; their labels were not used.")
    return TunedModel(
        model, tuned, called(images), method, validator, choices, taken.name, len(pixels), accuracies, tuple(remarks),
        skipped, both is not None,
    )  # fmt: skip


def require_tunable(model: VisionModel, method: Tuning) -> None:
    """Raises UnsupportedError where the model cannot be tuned so, ModelError where it has features only."""
    require(model, "adapt tune", GRADIENTS_OF_LAYERS)
    model.require_classes()
    require_one_class(model, "adapt tune")
    method.require(model)
    require_untuned(model)


def require_saveable(model: VisionModel) -> None:
    """Raises UnsupportedError where `save_model` would refuse the model once it is tuned."""
    if isinstance(model.network, Classifier):
        origins = (part.origin for part in model.network.backbones if isinstance(part, Backbone))
        require_architectures([origin for origin in origins if origin is not None])
    elif not model.architecture:
        raise UnsupportedError(
            f"{model.name} cannot be saved once it is tuned: its network has no architecture by name; "
            "use deepscope.adaptation.tune from Python, which returns the model",
            what="adapt tune",
        )


def _choose(method: Tuning, source: Proposal, target: Target) -> tuple[Proposal, tuple[Scored, ...]]:
    """The best of what the method proposes, and what was tried. No more than two tuned networks are held at a time."""
    best = source if method.choose else None
    tried = [Scored(source.name, source.score, signs(source.probabilities, source.probabilities))]
    try:
        for proposal in method.propose(source, target):
            found = Scored(proposal.name, proposal.score, signs(source.probabilities, proposal.probabilities))
            tried.append(found)
            if not found.signs.alarm and (best is None or proposal.score > best.score):
                best = proposal
    except (Diverged, ModelError):  # a model whose scores are not finite raises ModelError
        nothing = torch.full_like(source.probabilities, torch.nan)
        tried.append(Scored(f"{method.name}, diverged", None, signs(source.probabilities, nothing)))
    return best or source, tuple(tried)


def _unlabelled(found: DigitSplit | Examples | list[Any]) -> list[Any]:
    """The images to tune to."""
    if isinstance(found, DigitSplit):
        digits = found.train.images
        return list(np.moveaxis(digits if digits.ndim == 4 else digits[:, None].repeat(3, axis=1), 1, 3))
    return list(found.training.sources) if isinstance(found, Examples) else found


def _pixels(
    model: VisionModel, sources: list[Any], limit: int | None, session: Session
) -> tuple[Tensor, tuple[Skipped, ...]]:
    """(N, C, H, W) pixels in the order of the images' digests: neither their order nor their choice depends on a class.

    Raises:
        DataError: fewer than two images can be read.
    """
    if isinstance(limit, int) and 0 < limit < len(sources):  # drawn from that order too: folders are sorted by class
        found = {row: digest_of(source) for row, source in enumerate(session.track(sources, "comparing"))}
        sources = session.some([sources[row] for row in sorted(found, key=found.__getitem__)], limit)
    parts: list[Tensor] = []
    digests: list[bytes] = []
    skipped: list[Skipped] = []
    for batch in read(model, sources, session, limit=limit, text="reading"):
        skipped += batch.skipped
        if batch.rows:
            digests += batch.digests
            parts.append((batch.pixels * 255).round().byte() if model.planes == 3 else batch.pixels)
    if not parts:
        raise DataError(nothing_readable(skipped))
    pixels = torch.cat(parts)
    if len(pixels) < 2:
        raise DataError("one image is too few to tune to: give at least two, better hundreds")
    return pixels[torch.tensor(sorted(range(len(digests)), key=digests.__getitem__))], tuple(skipped)


def _named(model: VisionModel, name: str) -> VisionModel:
    made = replace(model, name=name, origin=replace(model.origin, source=name))
    made.outputs.kind = model.outputs.kind
    return made


def _accuracies(
    model: VisionModel, tuned: VisionModel, found: Examples | DigitSplit, session: Session
) -> tuple[dict[str, Estimate], list[str]]:
    """Of both models, and a remark where images of some classes are left out."""
    (before,) = evaluate(model, target=found, session=session).domains
    after = before if tuned is model else evaluate(tuned, target=found, session=session).domains[0]
    left_out = [f"Accuracy leaves out what the model has no class for: {', '.join(before.strangers)}."]
    accuracies = {"accuracy/source-model": before.accuracy, "accuracy/tuned": after.accuracy}
    return accuracies, left_out if before.strangers else []
