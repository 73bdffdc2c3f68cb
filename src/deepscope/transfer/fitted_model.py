"""The networks and the fitted head of a classifier: fine-tuned together, as one model, and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope import images
from deepscope.devices import computed_once
from deepscope.errors import DataError
from deepscope.inputs.examples import Source
from deepscope.models import Origin, VisionModel
from deepscope.models.classifier import Classifier
from deepscope.models.saved import BackboneOrigin, require_architectures, save
from deepscope.session import Session
from deepscope.training import History
from deepscope.transfer.fine_tuning import FineTuning, fine_tune, held_out
from deepscope.transfer.fitting import FittedFeatures, fit_features
from deepscope.transfer.heads import Head
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.recipe_features import extract_recipes


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning gives: the new networks by their models' names, the head on them, and the losses."""

    models: dict[str, VisionModel]
    fitted: FittedFeatures
    history: History


@dataclass(frozen=True)
class OpenedFeatures:
    """A recipe with every layer named, and the models that it takes features of, by name."""

    recipe: Recipe
    models: dict[str, VisionModel]

    def extract(self, sources: Sequence[Source], session: Session) -> list[Tensor]:
        """(N, D) features of each layer. Raises DataError where an image cannot be read."""
        found = extract_recipes([self.recipe], self.models, sources, session)
        require_all(found.skipped)
        return found.blocks(self.recipe)

    def tune(
        self,
        sources: Sequence[Source],
        blocks: Sequence[Tensor],
        labels: Tensor,
        head: Head,
        settings: FineTuning,
        session: Session,
        *,
        folder: Path | None = None,
    ) -> Tuned:
        """Fine-tune the networks with a head, a tenth of each class's images held out; see `ImageClassifier.tune`."""
        kept, kind = ~held_out(labels, seed=session.seed), self.recipe.normalisation
        known = [block[kept] for block in blocks]
        fitted = computed_once(lambda: fit_features(known, labels[kept], head, kind, seed=session.seed))
        tuned, history = fine_tune(
            fitted.classifier(self.recipe, self.models).to(session.device),
            self.recipe.shared_pixels(self.models),
            [sources[row] for row in kept.nonzero().flatten().tolist()],
            labels[kept],
            settings,
            session,
            folder=folder,
        )
        networks = dict(zip([name for name, _ in self.recipe.by_model()], tuned.backbones, strict=True))
        models = {
            name: replace(model, network=networks[name].network, origin=Origin(f"{model.name}, fine-tuned"))
            for name, model in self.models.items()
        }
        fitted = fitted.tuned(tuned.head.cpu(), settings.epochs)  # features are kept on the CPU
        if held := (~kept).nonzero().flatten().tolist():
            features = OpenedFeatures(self.recipe, models).extract([sources[row] for row in held], session)
            fitted = fitted.calibrated(fitted.scores(features), labels[~kept])
        return Tuned(models, fitted, history)

    def require_savable(self) -> None:
        """Whether a classifier on these features could be saved.

        Raises:
            ModelError: a network cannot be rebuilt by name.
            SettingError: the networks take images of different sizes.
        """
        require_architectures(self.origins())
        self.recipe.shared_pixels(self.models)

    def origins(self) -> list[BackboneOrigin]:
        """What each network is rebuilt from, in the order of the recipe."""
        used = [self.models[name] for name, _ in self.recipe.by_model()]
        return [BackboneOrigin(model.name, model.architecture, len(model.categories) or None) for model in used]


@dataclass(frozen=True)
class FittedModel:
    """A head that was fitted to features, as a model.

    Attributes:
        features: networks and recipe.
        fitted: the head.
        classes: names.
        digests: SHA-256 of the training images.
        head: its name.
    """

    features: OpenedFeatures
    fitted: FittedFeatures
    classes: tuple[str, ...]
    digests: tuple[bytes, ...]
    head: str

    def opened(self, device: torch.device) -> VisionModel:
        """The classifier as a model that every method takes.

        Raises:
            UnsupportedError: the head is not linear.
            SettingError: the networks take images of different sizes.
        """
        recipe, models = self.features.recipe, self.features.models
        return VisionModel(
            f"classifier on {recipe}",
            self._network().to(device),
            recipe.shared_pixels(models),
            self.classes,
            aliases=recipe.aliases(models),
            origin=Origin(self._about()),
        )

    def save(self, folder: Path) -> VisionModel:
        """Write the classifier as a folder and open it.

        Raises:
            UnsupportedError: the head is not linear.
            ModelError: a network cannot be rebuilt by name.
            SettingError: the networks take images of different sizes.
        """
        network, origins = self._network(), self.features.origins()
        pixels = self.features.recipe.shared_pixels(self.features.models)
        return save(folder, network, origins, pixels, list(self.classes), source=self._about())

    def _network(self) -> Classifier:
        return self.fitted.classifier(self.features.recipe, self.features.models, images=self.digests)

    def _about(self) -> str:
        recipe = self.features.recipe
        return f"{self.head} on {recipe}, {recipe.normalisation}, {self.fitted.head.setting}"


def require_all(skipped: Sequence[images.Skipped]) -> None:
    """Raises DataError for the first image that was skipped."""
    for first in skipped:
        raise DataError(f"{first.path} cannot be used: {first.reason}")
