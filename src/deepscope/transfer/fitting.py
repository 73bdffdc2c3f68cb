"""Fitting a classifier to features: normalise, fit the head, calibrate; all on the training images."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.errors import DataError, UnsupportedError
from deepscope.features.extraction import backbone_of
from deepscope.models import VisionModel
from deepscope.models.classifier import Classifier, HeadFit, Normalisation, NormalisationKind, join
from deepscope.transfer.heads import Fitted, Head, folds_of
from deepscope.transfer.recipe import Recipe

REMEMBERED = 200_000
"""Training images whose digests a classifier remembers, at most: 4 MB of its description."""


@dataclass(frozen=True, eq=False)
class FittedFeatures:
    """A head on normalised features.

    Attributes:
        normalisations: of each block.
        head: what was fitted, with its out-of-fold scores.
        temperature: softmax(scores / temperature) is calibrated.
        validation: the cross-validated accuracy on the training images.
        name: of the head; empty where it was trained further.
    """

    normalisations: tuple[Normalisation, ...]
    head: Fitted
    temperature: float
    validation: float
    name: str = ""

    def scores(self, blocks: Sequence[Tensor]) -> Tensor:
        """(N, C) the head's own scores."""
        with torch.no_grad():
            return self.head.scores(join(self.normalisations, blocks))

    def probabilities(self, blocks: Sequence[Tensor]) -> Tensor:
        """(N, C)."""
        return (self.scores(blocks) / self.temperature).softmax(1)

    def tuned(self, head: nn.Linear, epochs: int) -> FittedFeatures:
        """The same with a fine-tuned head; it is neither calibrated nor validated."""
        fitted = Fitted(head, f"{self.head.setting}, then {epochs} epochs", None)
        return FittedFeatures(self.normalisations, fitted, 1.0, float("nan"))

    def calibrated(self, scores: Tensor, labels: Tensor) -> FittedFeatures:
        """The same, calibrated and validated on (N, C) scores of images that were held out, and their labels."""
        accuracy = (scores.argmax(1) == labels).float().mean().item()
        return replace(self, temperature=temperature(scores, labels), validation=accuracy)

    def classifier(self, recipe: Recipe, models: dict[str, VisionModel], *, images: Sequence[bytes] = ()) -> Classifier:
        """The same from pixels, as one network whose logits' softmax gives the probabilities.

        Args:
            recipe, models: what the features are of.
            images: SHA-256 of each training image, which the classifier remembers.

        Raises:
            UnsupportedError: the head is not linear.
        """
        if not isinstance(self.head.scores, nn.Linear):
            raise UnsupportedError(
                "this head is not linear, so it cannot become the last layer of a network: choose another", what="head"
            )
        layer = self.head.scores
        head = nn.Linear(layer.in_features, layer.out_features)
        head.load_state_dict({key: value / self.temperature for key, value in layer.state_dict().items()})
        backbones = [backbone_of(models[name], layers, recipe.views) for name, layers in recipe.by_model()]
        fit = None
        if self.name and math.isfinite(self.head.regularisation):
            known = tuple(digest.hex()[:16] for digest in images) if len(images) <= REMEMBERED else ()
            fit = HeadFit(self.name, self.head.regularisation, self.temperature, known)
        return Classifier(backbones, copy.deepcopy(self.normalisations), head, fit)  # which may move to another device


def fit_features(
    blocks: Sequence[Tensor], labels: Tensor, head: Head, normalisation: NormalisationKind, *, seed: int
) -> FittedFeatures:
    """Fit to (N, D) training features.

    Args:
        blocks: one tensor for each layer.
        labels: (N,) int64.
        head: is told to choose its regularisation by cross-validation.
        normalisation: of each block.
        seed: of the folds.
    """
    normalisations = tuple(Normalisation.fit(normalisation, block) for block in blocks)
    fitted = head.fit(join(normalisations, blocks), labels, folds_of(labels, seed=seed))
    return FittedFeatures(
        normalisations, fitted, temperature(fitted.out_of_fold, labels), fitted.accuracy_out_of_fold(labels), head.name
    )


def temperature(scores: Tensor | None, labels: Tensor) -> float:
    """The temperature that calibrates the softmax of the scores (Guo et al. 2017); 1 where there are no scores.

    Where the N scores make few errors or none, the likelihood alone wants a temperature near 0 and a confidence of 1,
    which N images cannot support. The targets are smoothed as by Platt ("Probabilistic outputs for support vector
    machines", 1999, section 2.2): (N + 1) / (N + 2) for the true class, as in the rule of succession, and equal shares
    of the rest for the others. The mean confidence on these images is then never above (N + 1) / (N + 2).

    Args:
        scores: (N, C), from fits that did not see the images, or confidence is overestimated; at least two classes.
        labels: (N,) int64.

    Raises:
        DataError: a score is not finite.
    """
    from scipy.optimize import minimize_scalar

    if scores is None or not len(scores):
        return 1.0
    if not scores.isfinite().all():
        raise DataError("some scores in cross-validation are not finite: look for extreme or missing feature values")
    centred = scores.double() - scores.double().mean(1, keepdim=True)
    scale = centred.abs().max().item()
    if scale == 0:
        return 1.0
    classes = scores.shape[1]
    smoothing = classes / ((classes - 1) * (len(scores) + 2))

    def loss(logarithm: float) -> float:
        logits = centred / scale / math.exp(logarithm)
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing).item()

    found: Any = minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-6})
    return scale * math.exp(float(found.x))
