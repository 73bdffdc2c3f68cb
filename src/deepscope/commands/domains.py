"""Two domains to adapt between: digits, trained from nothing, or photographs, on a pretrained network's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope import images
from deepscope.adaptation import TARGET, Adaptation, DigitNetwork, DomainNetwork, FeatureNetwork, Labelled, Recipe
from deepscope.data import ClassFolders, DigitSplit, Photographs, load_any
from deepscope.errors import DeepscopeError
from deepscope.features.extraction import backbone_of, extract
from deepscope.features.layers import class_layer_input
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models import digits as digit_model
from deepscope.models.classifier import Classifier, View
from deepscope.models.saved import BackboneOrigin, save
from deepscope.names import Names
from deepscope.session import Session

_TEST_FRACTION = 0.2
_DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True, eq=False)
class Domains(ABC):
    """A labelled source and an unlabelled target, as a network takes them, and test images of both.

    Attributes:
        classes: of the source; what the network tells apart.
        source: to train on.
        target: (N, ...) to train on; its labels, where it has any, are not kept.
        source_test: held-out images of the source.
        target_test: held-out images of the target with labels among the source's classes; None where it has no labels.
        remarks: what a person should know about the data.
    """

    classes: tuple[str, ...]
    source: Labelled
    target: Tensor
    source_test: Labelled
    target_test: Labelled | None
    remarks: tuple[str, ...]

    @abstractmethod
    def network(self, recipe: Recipe, method: Adaptation) -> DomainNetwork:
        """A fresh network for these domains."""

    @abstractmethod
    def views(self, recipe: Recipe) -> tuple[View, ...]:
        """Of an image, over which the adapted network may average."""

    @abstractmethod
    def save(self, folder: Path, network: DomainNetwork, views: Sequence[View], *, about: str) -> VisionModel:
        """Write the network, as it is for target images, as a model that every command takes."""


class DigitDomains(Domains):
    """Digits of 28 x 28 pixels."""

    def network(self, recipe: Recipe, method: Adaptation) -> DomainNetwork:
        """The network of Ganin and Lempitsky (2015)."""
        return recipe.digit_network(method)

    def views(self, recipe: Recipe) -> tuple[View, ...]:
        """What training has taught the network to ignore."""
        return recipe.views

    def save(self, folder: Path, network: DomainNetwork, views: Sequence[View], *, about: str) -> VisionModel:
        """As the paper's plain layers: normalisation goes into their weights."""
        assert isinstance(network, DigitNetwork)
        origin = BackboneOrigin("digits", f"deepscope:{digit_model.NAME}", None)
        preprocessing = Preprocessing((digit_model.SIDE, digit_model.SIDE), None)
        return save(folder, network.classifier(TARGET, views), [origin], preprocessing, self.classes, source=about)


@dataclass(frozen=True, eq=False)
class PhotographDomains(Domains):
    """Features of photographs.

    Attributes:
        model: whose features they are.
        layer: of the model.
    """

    model: VisionModel
    layer: str

    def network(self, recipe: Recipe, method: Adaptation) -> DomainNetwork:
        """A bottleneck and a classifier on the features."""
        return recipe.feature_network(self.source.inputs.shape[1], len(self.classes), method)

    def views(self, recipe: Recipe) -> tuple[View, ...]:
        """The image itself: features were computed once, of nothing else."""
        del recipe
        return (View(),)

    def save(self, folder: Path, network: DomainNetwork, views: Sequence[View], *, about: str) -> VisionModel:
        """The pretrained network with one linear layer on its features."""
        assert isinstance(network, FeatureNetwork)
        normalisation, linear = network.head(TARGET)
        classifier = Classifier([backbone_of(self.model, [(self.layer, "mean")], views)], [normalisation], linear)
        origin = BackboneOrigin(self.model.name, self.model.architecture, len(self.model.categories) or None)
        return save(folder, classifier, [origin], self.model.preprocessing, self.classes, source=about)


def load_domains(source: str, target: str, model: str, session: Session) -> Domains:
    """Two datasets, or two folders of class folders; the target may also be a folder of images without classes.

    Args:
        source, target: names of datasets, or folders.
        model: whose features photographs are described by.
        session: where the data lies, and the seed of a division into training and test images.

    Raises:
        DeepscopeError: the data is not here, is of different kinds, or shares no class.
    """
    first, second = load_any(source, session), load_any(target, session)
    if isinstance(first, DigitSplit) and isinstance(second, DigitSplit):
        return _digits(first, second)
    if isinstance(first, ClassFolders) and isinstance(second, (ClassFolders, Photographs)):
        return _photographs(first, second, load_model(model, session), session)
    raise DeepscopeError(
        f"{source} and {target} cannot be adapted to each other: give two datasets of digits, "
        f"or a folder with a folder of images for each class and any folder of images"
    )


def _digits(source: DigitSplit, target: DigitSplit) -> Domains:
    return DigitDomains(
        classes=_DIGITS,
        source=Labelled(_pixels(source.train.images), torch.tensor(source.train.labels)),
        target=_pixels(target.train.images),
        source_test=Labelled(_pixels(source.test.images), torch.tensor(source.test.labels)),
        target_test=Labelled(_pixels(target.test.images), torch.tensor(target.test.labels)),
        remarks=(),
    )


def _pixels(digits: NDArray[np.uint8]) -> Tensor:
    """(N, 28, 28) or (N, 3, 28, 28) -> (N, 1 or 3, 28, 28)."""
    return torch.tensor(digits if digits.ndim == 4 else digits[:, None])


def _photographs(
    source: ClassFolders, target: ClassFolders | Photographs, model: VisionModel, session: Session
) -> Domains:
    layer = class_layer_input(model)
    classes = source.classes
    if source.test is None:
        source = source.divide(_TEST_FRACTION, rng=session.rng("division", "source"))
    assert source.test is not None
    unlabelled, labelled, remarks = _target(target, classes, session)

    def features(paths: Sequence[Path]) -> tuple[NDArray[np.int64], Tensor]:
        found = extract(model, [(layer, "mean")], paths, session)
        if found.skipped:
            session.note(f"{len(found.skipped)} images cannot be read and are left out")
        return found.rows, torch.from_numpy(found.vectors[0].copy())

    def with_labels(paths: Sequence[Path], labels: NDArray[np.int64]) -> Labelled:
        rows, vectors = features(paths)
        return Labelled(vectors, torch.from_numpy(labels[rows]))

    return PhotographDomains(
        classes=classes,
        source=with_labels(source.train.paths, source.train.labels),
        target=features(unlabelled)[1],
        source_test=with_labels(source.test.paths, source.test.labels),
        target_test=with_labels(*labelled) if labelled else None,
        remarks=remarks,
        model=model,
        layer=layer,
    )


def _target(
    target: ClassFolders | Photographs, classes: Sequence[str], session: Session
) -> tuple[list[Path], tuple[list[Path], NDArray[np.int64]] | None, tuple[str, ...]]:
    """Images to train on, test images with the source's labels for them, and what does not match.

    Training images stand in the order of their contents' digests, and are divided from test images by it: not even
    their order knows of a class.
    """
    if isinstance(target, Photographs):
        remark = "the target's images have no class folders: its accuracy cannot be measured"
        return sorted(target.paths, key=images.digest), None, (remark,)
    found = Names(classes).paired(target.classes)
    label_of = [found[name] for name in target.classes]
    missing = [name for name, label in zip(target.classes, label_of, strict=True) if label is None]
    absent = [name for label, name in enumerate(classes) if label not in label_of]
    if len(missing) == len(target.classes):
        raise DeepscopeError(
            f"the target's classes ({', '.join(missing[:5])}) are none of the source's: name them alike"
        )
    remarks = []
    if missing:
        remarks.append(f"only in the target, so never right and left out of its accuracy: {', '.join(missing)}")
    if absent:
        remarks.append(f"only in the source: {', '.join(absent)}")
    if target.test is not None:
        trained, tested = sorted(target.train.paths, key=images.digest), target.test
    else:
        everything = target.everything
        order = sorted(range(len(everything)), key=lambda row: images.digest(everything.paths[row]))
        shuffled = [order[at] for at in torch.randperm(len(order), generator=session.rng("division", "target"))]
        count = max(round(_TEST_FRACTION * len(order)), 1)
        trained = [everything.paths[row] for row in shuffled[count:]]
        tested = everything.at(np.array(shuffled[:count]))
    pairs = [(path, label_of[label]) for path, label in zip(tested.paths, tested.labels.tolist(), strict=True)]
    shared = [(path, label) for path, label in pairs if label is not None]
    if not shared:
        return trained, None, (*remarks, "no test image of the target is of the source's classes")
    return trained, ([path for path, _ in shared], np.array([label for _, label in shared])), tuple(remarks)
