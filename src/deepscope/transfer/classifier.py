"""From images and labels to a classifier, with scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import Self

from deepscope.devices import computed_once
from deepscope.errors import DataError
from deepscope.inputs import Images
from deepscope.inputs.examples import Examples, Source, items_of
from deepscope.models import DEFAULT, VisionModel, held_device
from deepscope.models.classifier import NormalisationKind
from deepscope.session import Session
from deepscope.training import History
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fitted_model import FittedModel, OpenedFeatures, require_all
from deepscope.transfer.fitting import FittedFeatures, fit_features
from deepscope.transfer.heads import Head
from deepscope.transfer.recipe import Feature, Recipe, given_models, open_models, recipe_of
from deepscope.transfer.recipe_features import extract_recipes

_OF_RECIPE = ("normalisation", "size", "flip", "scales")
"""Settings that a recipe holds too."""


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of images in the user's own classes, on features of pretrained networks.

    It follows scikit-learn: `clone`, `cross_val_score` and pipelines work. After `fit`: `classes_`, the labels in
    order; `model`, the classifier as a `VisionModel`; `fitted_`, the head with its cross-validation; `skipped_`,
    training images that could not be read.

    Args:
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING, several joined by `+`; or a `VisionModel`.
        normalisation: of the features: raw, l2, power, standard or whiten.
        head: name of a registered `Head`: linear-svc, logistic-regression, ridge or nearest-neighbours.
        size: side of the networks' input; None uses the first model's own.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        fine_tuning: how the networks are fine-tuned, with a tenth of the images held out; None does not fine-tune.
        seed: of everything random; a given session's own seed counts instead.
        session: device, precision and cache; a default session where None.

    Example:
        >>> import numpy as np
        >>> from deepscope.transfer import ImageClassifier
        >>> grey = [np.full((32, 32, 3), level, np.uint8) for level in (10, 20, 30, 220, 230, 240)]
        >>> mine = ImageClassifier("efficientnet_lite0", size=32).fit(grey, ["night"] * 3 + ["day"] * 3)
        >>> mine.predict(grey[1:5]).tolist()
        ['night', 'night', 'day', 'day']
        >>> mine.model.categories
        ('day', 'night')
    """

    def __init__(  # noqa: PLR0913 - its settings are keywords
        self,
        features: str | VisionModel = DEFAULT,
        *,
        normalisation: NormalisationKind = "l2",
        head: str = "linear-svc",
        size: int | None = None,
        flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
        fine_tuning: FineTuning | None = None,
        seed: int = 0,
        session: Session | None = None,
    ) -> None:
        self.features = features
        self.normalisation = normalisation
        self.head = head
        self.size = size
        self.flip = flip
        self.scales = scales
        self.fine_tuning = fine_tuning
        self.seed = seed
        self.session = session

    @classmethod
    def of(cls, feature: Feature, **settings: Any) -> Self:
        """A classifier on a feature in any form; a recipe also sets normalisation, size and views."""
        if not isinstance(feature, Recipe):
            return cls(feature, **settings)
        return cls(str(feature), **{name: getattr(feature, name) for name in _OF_RECIPE}, **settings)

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Extract features and fit.

        Args:
            X: training images: a folder with a folder of images per class (of one with `train/` and `test/`, the
                training images); images in any form with their labels in `y`; or (image, label) pairs. Images that
                cannot be read are skipped.
            y: (N,) their classes: numbers or names.

        Raises:
            DataError: fewer than two classes, a class without readable image, or images without labels.
            ModelError: there is no such model or layer.
        """
        data = Examples.of_images(X, y) if y is not None else Examples.of(X, self._session).training
        if len(data.classes) < 2:
            raise DataError("a classifier needs images of at least two classes")
        recipe, models = self.open()
        found = extract_recipes([recipe], models, data.sources, self._session)
        kept = torch.from_numpy(data.labels)[found.rows]
        if lost := set(range(len(data.classes))) - set(kept.tolist()):
            raise DataError(f"class {data.classes[min(lost)]!r} has no readable image to train on: add some images")
        self.skipped_ = (*data.skipped, *found.skipped)
        self.fit_blocks(found.blocks(recipe), kept, data.names, [found.digests[row] for row in found.rows])
        if self.fine_tuning:
            self.tune([data.sources[row] for row in found.rows], found.blocks(recipe), kept)
        return self

    def open(self, models: Mapping[str, VisionModel] | None = None) -> tuple[Recipe, dict[str, VisionModel]]:
        """Open the models. Returns the recipe with every layer named, and the models.

        Args:
            models: that are open already, by name.

        Raises:
            ModelError: there is no such model or layer.
        """
        recipe = recipe_of(self.features, **{name: getattr(self, name) for name in _OF_RECIPE})
        self._forget()
        self.models_ = open_models([recipe], {**given_models([self.features]), **(models or {})}, self._session)
        self.recipe_ = recipe.named(self.models_)
        return self.recipe_, self.models_

    def fit_blocks(
        self, blocks: Sequence[Tensor], labels: Tensor, classes: ArrayLike, digests: Sequence[bytes] = ()
    ) -> Self:
        """Fit to features that were extracted before, after `open`.

        Args:
            blocks: (N, D) training features of each layer of the recipe, model by model.
            labels: (N,) int64 places in `classes`, each of which occurs.
            classes: names.
            digests: (N,) SHA-256 of the training images, by which `explain training` finds them again.
        """
        head, kind = Head.named(self.head), self.recipe_.normalisation
        fitted = computed_once(lambda: fit_features(blocks, labels, head, kind, seed=self._session.seed))
        return self.take(fitted, classes, digests)

    def take(self, fitted: FittedFeatures, classes: ArrayLike, digests: Sequence[bytes] = ()) -> Self:
        """Use a head that was fitted elsewhere, after `open`.

        Args:
            fitted: to features of the recipe.
            classes, digests: as `fit_blocks`.
        """
        self._forget()
        self.fitted_ = fitted
        self.classes_: NDArray[Any] = np.asarray(classes)
        self.digests_ = tuple(digests)
        return self

    def tune(
        self, sources: Sequence[Source], blocks: Sequence[Tensor], labels: Tensor, *, folder: Path | None = None
    ) -> History:
        """Fine-tune networks and head, after `open`; features are then those of the new networks.

        A tenth of each class's images is held out to calibrate and measure the classifier (`fitted_.validation`).

        Args:
            sources: training images, all readable.
            blocks: their features, as for `fit_blocks`.
            labels: (N,) int64.
            folder: for checkpoints, from which a killed training resumes.

        Raises:
            SettingError: the networks take images of different sizes.
            UnsupportedError: the head is not linear.
            Diverged: a loss is no longer finite.
        """
        settings = self.fine_tuning or FineTuning()
        head, features = Head.named(self.head), OpenedFeatures(self.recipe_, self.models_)
        tuned = features.tune(sources, blocks, labels, head, settings, self._session, folder=folder)
        self._forget()
        self.models_, self.fitted_ = tuned.models, tuned.fitted
        return tuned.history

    def predict(self, X: Images) -> NDArray[Any]:
        """(N,) the class of each image. Raises DataError where an image cannot be read."""
        return self.classes_[self._scores(X).argmax(1).numpy()]

    def predict_proba(self, X: Images) -> NDArray[np.float32]:
        """(N, C) calibrated probabilities. Raises DataError where an image cannot be read."""
        return (self._scores(X) / self.fitted_.temperature).softmax(1).numpy()

    def decision_function(self, X: Images) -> NDArray[np.float32]:
        """(N, C) the head's own scores. Raises DataError where an image cannot be read."""
        return self._scores(X).numpy()

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy on images and their labels, given as in `fit`; of a divided folder, on its test images.

        Raises DataError where an image cannot be read, or has no label.
        """
        if y is None:
            data = Examples.of(X, self._session).held_out
            X, y = list(data.sources), data.names[data.labels]
        return super().score(X, y, sample_weight)

    @cached_property
    def model(self) -> VisionModel:
        """The classifier as a model: explain it, attack it, save it.

        Raises:
            UnsupportedError: the head is not linear.
            SettingError: the networks take images of different sizes.
        """
        check_is_fitted(self)
        return self._fitted_model.opened(self._session.device)

    def save(self, folder: str | Path) -> VisionModel:
        """Write the classifier as a folder, which is a model like any other, and open it.

        Raises:
            UnsupportedError: the head is not linear.
            ModelError: a network cannot be rebuilt by name.
            SettingError: the networks take images of different sizes.
        """
        check_is_fitted(self)
        return self._fitted_model.save(Path(folder))

    def require_savable(self) -> None:
        """After `open`: whether `save` could write the networks.

        Raises:
            ModelError: a network cannot be rebuilt by name.
            SettingError: the networks take images of different sizes.
        """
        OpenedFeatures(self.recipe_, self.models_).require_savable()

    @property
    def _fitted_model(self) -> FittedModel:
        features, names = OpenedFeatures(self.recipe_, self.models_), tuple(str(name) for name in self.classes_)
        return FittedModel(features, self.fitted_, names, self.digests_, self.head)

    @property
    def _session(self) -> Session:
        return Session.of(self.session, device=held_device(self.features), seed=self.seed)

    def _forget(self) -> None:
        self.__dict__.pop("model", None)  # that of an earlier fit

    def _scores(self, X: Images) -> Tensor:
        """(N, C) the head's own scores. Raises DataError where an image cannot be read."""
        check_is_fitted(self)
        given = items_of(X)
        require_all(given.skipped)
        return self.fitted_.scores(self._extracted([item.source for item in given.items]))

    def _extracted(self, sources: Sequence[Source]) -> list[Tensor]:
        return OpenedFeatures(self.recipe_, self.models_).extract(sources, self._session)
