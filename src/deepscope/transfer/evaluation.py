"""Accuracy and calibration of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.inputs.examples import Source, thumbnail_of
from deepscope.models.classifier import NormalisationKind
from deepscope.transfer.fitting import fit_features
from deepscope.transfer.heads import Head

Blocks: TypeAlias = "tuple[Sequence[Tensor], Tensor]"
"""Blocks of features, and (N,) labels."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier predicts for labelled test images.

    Attributes:
        classes: names.
        labels: (N,) the true classes.
        probabilities: (N, C).
        paths: of the images.
        pictures: (3, H, W) pixels of the most confident mistakes, by row; None where the file cannot be read any more.
    """

    classes: tuple[str, ...]
    labels: Tensor
    probabilities: Tensor
    paths: tuple[Path, ...]
    pictures: Mapping[int, Tensor | None] = field(default_factory=dict[int, "Tensor | None"])

    @property
    def predicted(self) -> Tensor:
        """(N,) most probable classes."""
        return self.probabilities.argmax(1)

    def mistakes(self, count: int = 12) -> list[int]:
        """The rows of the most confident mistakes, the most confident first."""
        confidence = self.probabilities.max(1).values.masked_fill(self.predicted == self.labels, -1)
        return [row for row in confidence.argsort(descending=True)[:count].tolist() if confidence[row] >= 0]

    def pictured(self, sources: Sequence[Source] | None = None) -> Answers:
        """The same, with images of the most confident mistakes.

        These few files are opened again: features may come from the cache, in which case no image was read at all.

        Args:
            sources: (N,) the images; None reads the files.
        """
        taken: Sequence[Source] = self.paths if sources is None else sources
        return replace(self, pictures={row: thumbnail_of(taken[row]) for row in self.mistakes()})


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

    Attributes:
        confidence, accuracy: (bins,) means over the predictions of each bin that holds any.
        count: (bins,) predictions.
        error: expected calibration error: the mean distance between the two, weighted by count.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float


def reliability(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> Reliability:
    """Bins of equal width over the confidence of (N, C) probabilities, bounds included above."""
    top, answer = probabilities.double().max(1)
    right = (answer == labels).double()
    bin_ = (top * bins).ceil().long().clamp(1, bins) - 1
    count = bin_.bincount(minlength=bins)
    held = count > 0
    confidence = (bin_.bincount(top, minlength=bins) / count)[held]
    accuracy = (bin_.bincount(right, minlength=bins) / count)[held]
    error = ((confidence - accuracy).abs() * count[held]).sum() / len(labels)
    return Reliability(confidence.numpy(), accuracy.numpy(), count[held].numpy(), error.item())


def few_shot(
    train: Blocks,
    test: Blocks,
    head: Head,
    normalisation: NormalisationKind,
    *,
    shots: Sequence[int],
    draws: int,
    rng: torch.Generator,
) -> dict[int, list[float]]:
    """Test accuracy after training on few images of each class, for several draws of them.

    Numbers above the size of the smallest class are left out.

    Args:
        train, test: blocks of features, and labels.
        head: fitted anew each time, its setting chosen on the few images alone.
        normalisation: of each block.
        shots: images of each class.
        draws: how often they are drawn; once where all images of every class are taken.
        rng: draws them.
    """
    (blocks, labels), (test_blocks, test_labels) = train, test
    counts = labels.bincount()
    found: dict[int, list[float]] = {}
    for shot in (s for s in shots if s <= int(counts.min())):
        everything = bool((counts == shot).all())
        for _ in range(1 if everything else draws):
            order = torch.randperm(len(labels), generator=rng)
            rows = torch.cat([order[labels[order] == label][:shot] for label in range(len(counts))])
            fitted = fit_features([block[rows] for block in blocks], labels[rows], head, normalisation, seed=0)
            right = fitted.scores(test_blocks).argmax(1) == test_labels
            found.setdefault(shot, []).append(right.double().mean().item())
    return found


def plane(features: Tensor, *, seed: int, tsne: bool) -> NDArray[np.float64]:
    """(N, D) features -> (N, 2): principal components, or t-SNE on the first fifty (van der Maaten and Hinton 2008)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = min(50 if tsne else 2, *features.shape)
    components = PCA(parts, svd_solver="randomized", random_state=seed).fit_transform(features.numpy())
    if not tsne:
        return np.pad(components, ((0, 0), (0, 2 - parts)))
    perplexity = min(30, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(components)
