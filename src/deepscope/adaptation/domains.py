"""Two domains to adapt between: digits, trained from scratch, or photographs, on a pretrained network's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation
from deepscope.adaptation.adversarial_teacher import AdversarialTeacher
from deepscope.adaptation.class_confusion import MinimumClassConfusion
from deepscope.adaptation.domain_norm import TARGET
from deepscope.adaptation.networks import DigitNetwork, DomainNetwork, FeatureNetwork
from deepscope.adaptation.recipe import Recipe
from deepscope.adaptation.step import Labelled
from deepscope.features import backbone_of
from deepscope.images import Skipped
from deepscope.models import Origin, Preprocessing, VisionModel
from deepscope.models import digits as digit_model
from deepscope.models.classifier import Classifier, View
from deepscope.models.saved import BackboneOrigin, save


@dataclass(frozen=True, eq=False)
class Domains(ABC):
    """A labelled source and an unlabelled target, as a network takes them, and test images of both.

    Attributes:
        classes: of the source, which the network predicts.
        source: to train on.
        target: (N, ...) to train on; its labels, where it has any, are not kept.
        source_test: held-out images of the source.
        target_test: held-out images of the target with labels among the source's classes; None where it has no labels.
        remarks: notes on the data for the user.
        skipped: images that could not be read.
    """

    classes: tuple[str, ...]
    source: Labelled
    target: Tensor
    source_test: Labelled
    target_test: Labelled | None
    remarks: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    @property
    @abstractmethod
    def method(self) -> Adaptation:
        """The strongest method for such images in our measurements."""

    @abstractmethod
    def network(self, recipe: Recipe, method: Adaptation) -> DomainNetwork:
        """A fresh network for these domains."""

    @abstractmethod
    def views(self, recipe: Recipe) -> tuple[View, ...]:
        """Of an image, over which the adapted network may average."""

    @abstractmethod
    def classifier(self, network: DomainNetwork, views: Sequence[View]) -> Classifier:
        """The network, as it is for target images, from pixels to logits."""

    @property
    @abstractmethod
    def backbone(self) -> BackboneOrigin:
        """What rebuilds the network below the head."""

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """Makes pixels from images."""

    def model(self, network: DomainNetwork, views: Sequence[View], *, about: str) -> VisionModel:
        """The network, as it is for target images, as a model like any other."""
        classifier = self.classifier(network, views)
        pixels = replace(self.preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)  # each backbone normalises them itself
        return VisionModel(about, classifier, pixels, self.classes, origin=Origin(about))

    def save(self, folder: Path, network: DomainNetwork, views: Sequence[View], *, about: str) -> VisionModel:
        """Write the network, as it is for target images, as a model that every command takes.

        Raises:
            UnsupportedError: the network cannot be rebuilt by name.
            FileError: the folder cannot be written to.
        """
        classifier = self.classifier(network, views)
        return save(folder, classifier, [self.backbone], self.preprocessing, self.classes, source=about)


class DigitDomains(Domains):
    """Digits of 28 x 28 pixels."""

    @property
    def method(self) -> Adaptation:
        """Chosen on MNIST to MNIST-M."""
        return AdversarialTeacher()

    def network(self, recipe: Recipe, method: Adaptation) -> DomainNetwork:
        """The network of Ganin and Lempitsky (2015)."""
        return recipe.digit_network(method)

    def views(self, recipe: Recipe) -> tuple[View, ...]:
        """The augmentations of training."""
        return recipe.views

    def classifier(self, network: DomainNetwork, views: Sequence[View]) -> Classifier:
        """The paper's plain layers: normalisation goes into their weights."""
        assert isinstance(network, DigitNetwork)
        return network.classifier(TARGET, views)

    @property
    def backbone(self) -> BackboneOrigin:
        """The network for digits."""
        return BackboneOrigin("digits", f"deepscope:{digit_model.NAME}", None)

    @property
    def preprocessing(self) -> Preprocessing:
        """Images of 28 x 28 pixels."""
        return Preprocessing((digit_model.SIDE, digit_model.SIDE), None)


@dataclass(frozen=True, eq=False)
class PhotographDomains(Domains):
    """Features of photographs.

    Attributes:
        pretrained: the model that extracts them.
        layer: of the pretrained model.
    """

    pretrained: VisionModel
    layer: str

    @property
    def method(self) -> Adaptation:
        """Chosen on training images of 15-Scene, with corruptions that no reported figure is about."""
        return MinimumClassConfusion()

    def network(self, recipe: Recipe, method: Adaptation) -> DomainNetwork:
        """A bottleneck and a classifier on the features."""
        return recipe.feature_network(self.source.inputs.shape[1], len(self.classes), method)

    def views(self, recipe: Recipe) -> tuple[View, ...]:
        """The image only: no other features were computed."""
        del recipe
        return (View(),)

    def classifier(self, network: DomainNetwork, views: Sequence[View]) -> Classifier:
        """The pretrained network with one linear layer on its features."""
        assert isinstance(network, FeatureNetwork)
        normalisation, linear = network.head(TARGET)
        backbone = backbone_of(self.pretrained, [(self.layer, "mean")], views)
        made: nn.Module = Classifier([backbone], [normalisation], linear).to(self.pretrained.device)
        assert isinstance(made, Classifier)
        return made

    @property
    def backbone(self) -> BackboneOrigin:
        """The pretrained network."""
        model = self.pretrained
        return BackboneOrigin(model.name, model.architecture, len(model.categories) or None)

    @property
    def preprocessing(self) -> Preprocessing:
        """The pretrained network's own."""
        return self.pretrained.preprocessing
