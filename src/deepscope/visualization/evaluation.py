"""Evaluation of class images by networks, each on the classes that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.session import Session
from deepscope.visualization.objectives import ClassObjective, Objective
from deepscope.visualization.quality import Recognition, recognise, translate

_USUAL = (DEFAULT, "squeezenet1_0")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A network's evaluation of the images of the classes that it knows.

    Attributes:
        recognition: of the images in `rows`.
        rows: their places among all images.
    """

    recognition: Recognition
    rows: tuple[int, ...]

    @property
    def evaluator(self) -> str:
        """The network's name."""
        return self.recognition.evaluator

    def probability(self, row: int) -> float | None:
        """The class's probability in one of all images; None where the network does not know the class."""
        return float(self.recognition.probabilities[self.rows.index(row)]) if row in self.rows else None

    def rank(self, row: int) -> int | None:
        """The class's rank in one of all images, from 1; None where the network does not know the class."""
        return int(self.recognition.ranks[self.rows.index(row)]) + 1 if row in self.rows else None


def evaluate(pixels: Tensor, objective: Objective, evaluators: Sequence[VisionModel]) -> tuple[Evaluation, ...]:
    """The evaluation by the network that made the images, then by the others that know a class; empty for layers.

    Args:
        pixels: (N, 3, H, W), the first images of the objective.
        objective: what they were made for.
        evaluators: the other networks.
    """
    if not isinstance(objective, ClassObjective):
        return ()
    model, targets = objective.model, objective.targets[: len(pixels)]
    found = [Evaluation(recognise(model, pixels, targets), tuple(range(len(targets))))]
    for evaluator in evaluators:
        theirs = [_known(target, model, evaluator) for target in targets.tolist()]
        rows = tuple(row for row, label in enumerate(theirs) if label is not None)
        if rows:
            labels = torch.tensor([label for label in theirs if label is not None])
            found.append(Evaluation(recognise(evaluator, pixels[list(rows)], labels), rows))
    return tuple(found)


def require_evaluators(objective: Objective, evaluators: Sequence[VisionModel]) -> None:
    """Raises SettingError or UnsupportedError where a network cannot evaluate one of the classes."""
    if not evaluators:
        return
    if not isinstance(objective, ClassObjective):
        raise SettingError("evaluators", "recognise classes, and a layer has none: leave them out")
    for evaluator in evaluators:
        for target in objective.targets.unique().tolist():
            translate(target, objective.model, evaluator)


def usual_evaluator(objective: ClassObjective, session: Session) -> VisionModel:
    """The bundled network, or squeezenet1_0 for images of the bundled one.

    Raises:
        DeepscopeError: it is not available here, or knows none of the classes.
    """
    model, targets = objective.model, objective.targets.unique().tolist()
    evaluator = load_model(next(name for name in _USUAL if name != model.name), session)
    if all(_known(target, model, evaluator) is None for target in targets):
        translate(targets[0], model, evaluator)
    return evaluator


def _known(target: int, model: VisionModel, evaluator: VisionModel) -> int | None:
    try:
        return translate(target, model, evaluator)
    except DeepscopeError:
        return None
