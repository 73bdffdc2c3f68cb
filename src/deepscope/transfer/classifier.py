"""From images and labels to a classifier, with scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from deepscope import images
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, Origin, Preprocessing, VisionModel, load_model
from deepscope.models.classifier import NormalisationKind
from deepscope.models.saved import BackboneOrigin, require_architectures, save
from deepscope.session import Session
from deepscope.training import History
from deepscope.transfer.features import gather
from deepscope.transfer.fine_tuning import FineTuning, fine_tune
from deepscope.transfer.fitting import FittedFeatures, fit_features, temperature
from deepscope.transfer.heads import Fitted, Head, folds_of
from deepscope.transfer.recipe import Recipe


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of images in the user's own classes, on features of pretrained networks.

    Images are paths, bytes, PIL images or (H, W, 3) uint8 arrays. After `fit`: `classes_`, the labels in order;
    `fitted_`, the head with its cross-validation; `skipped_`, training images that could not be read.

    Args:
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING, several joined by `+`.
        normalisation: raw, l2, power, standard or whiten.
        head: name of a registered `Head`.
        size: side of the networks' input; None takes the first model's own.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        fine_tuning: how the networks are trained further, a tenth of the images held out; None keeps them as they are.
        session: device, precision, seed and cache; a default session where None.
    """

    def __init__(
        self,
        features: str = DEFAULT,
        *,
        normalisation: NormalisationKind = "l2",
        head: str = "linear-svc",
        size: int | None = None,
        flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
        fine_tuning: FineTuning | None = None,
        session: Session | None = None,
    ) -> None:
        self.features = features
        self.normalisation = normalisation
        self.head = head
        self.size = size
        self.flip = flip
        self.scales = scales
        self.fine_tuning = fine_tuning
        self.session = session

    def fit(self, X: Sequence[images.Source], y: ArrayLike) -> ImageClassifier:
        """Extract features and fit.

        Args:
            X: training images; those that cannot be read are skipped.
            y: (N,) their classes: numbers or names.

        Raises:
            DeepscopeError: fewer than two classes, a class without readable image, or no such model or layer.
        """
        names, labels = np.unique(np.asarray(y), return_inverse=True)
        if len(names) < 2:
            raise DeepscopeError("a classifier needs images of at least two classes")
        recipe, models = self.open()
        found = gather([recipe], models, X, self._session)
        kept = torch.from_numpy(labels)[found.rows]
        if lost := set(range(len(names))) - set(kept.tolist()):
            raise DeepscopeError(f"class {str(names[min(lost)])!r} has no readable image to train on: add some images")
        self.skipped_ = found.skipped
        self.fit_blocks(found.blocks(recipe), kept, list(names))
        if self.fine_tuning:
            self.tune([X[row] for row in found.rows], found.blocks(recipe), kept)
        return self

    def open(self) -> tuple[Recipe, dict[str, VisionModel]]:
        """Open the models. Returns the recipe with every layer named, and the models.

        Raises:
            DeepscopeError: no such model or layer.
        """
        settings = {key: getattr(self, key) for key in ("normalisation", "size", "flip", "scales")}
        recipe = Recipe.parse(self.features, **settings)
        self.models_ = {name: load_model(name, self._session) for name, _ in recipe.by_model()}
        self.recipe_ = recipe.named(self.models_)
        return self.recipe_, self.models_

    def fit_blocks(self, blocks: Sequence[Tensor], labels: Tensor, classes: Sequence[Any]) -> ImageClassifier:
        """Fit to features that were extracted before, after `open`.

        Args:
            blocks: (N, D) training features of each layer of the recipe, model by model.
            labels: (N,) int64 places in `classes`, each of which occurs.
            classes: names.
        """
        head = Head.named(self.head)
        self.fitted_ = fit_features(blocks, labels, head, self.recipe_.normalisation, seed=self._session.seed)
        self.classes_: NDArray[Any] = np.asarray(classes)
        return self

    def tune(
        self, X: Sequence[images.Source], blocks: Sequence[Tensor], labels: Tensor, *, folder: Path | None = None
    ) -> History:
        """Train networks and head further, after `fit_blocks`; from then on features are those of the new networks.

        A tenth of the images of every class is held out: it calibrates the probabilities and says
        how good the classifier is, in `fitted_.validation`.

        Args:
            X: training images, all readable.
            blocks: their features, as for `fit_blocks`.
            labels: (N,) int64.
            folder: for checkpoints: a killed training goes on from there.

        Raises:
            DeepscopeError: the networks see images at different sizes, the head is not linear, or training diverged.
        """
        folds = folds_of(labels, seed=self._session.seed, most=10)
        kept = torch.ones(len(labels), dtype=torch.bool) if folds is None else folds > 0
        settings, known = self.fine_tuning or FineTuning(), [block[kept] for block in blocks]
        fitted = fit_features(
            known, labels[kept], Head.named(self.head), self.recipe_.normalisation, seed=self._session.seed
        )
        tuned, history = fine_tune(
            fitted.classifier(self.recipe_, self.models_).to(self._session.device),
            self._pixels(),
            [X[row] for row in kept.nonzero().flatten().tolist()],
            labels[kept],
            settings,
            self._session,
            folder=folder,
        )
        networks = dict(zip([name for name, _ in self.recipe_.by_model()], tuned.backbones, strict=True))
        self.models_ = {
            name: replace(model, network=networks[name].network, origin=Origin(f"{model.name}, fine-tuned"))
            for name, model in self.models_.items()
        }
        # features are kept on the CPU
        head = Fitted(tuned.head.cpu(), f"{fitted.head.setting}, then {settings.epochs} epochs", None)
        self.fitted_ = FittedFeatures(fitted.normalisations, head, 1.0, float("nan"))
        if held := (~kept).nonzero().flatten().tolist():
            scores = self.fitted_.scores(self._blocks([X[row] for row in held]))
            self.fitted_ = replace(
                self.fitted_,
                temperature=temperature(scores, labels[~kept]),
                validation=(scores.argmax(1) == labels[~kept]).float().mean().item(),
            )
        return history

    def predict(self, X: Sequence[images.Source]) -> NDArray[Any]:
        """(N,) the class of each image.

        Raises:
            DeepscopeError: an image cannot be read.
        """
        return self.classes_[self.fitted_.scores(self._blocks(X)).argmax(1).numpy()]

    def predict_proba(self, X: Sequence[images.Source]) -> NDArray[np.float32]:
        """(N, C) calibrated probabilities. Raises DeepscopeError where an image cannot be read."""
        return self.fitted_.probabilities(self._blocks(X)).numpy()

    def decision_function(self, X: Sequence[images.Source]) -> NDArray[np.float32]:
        """(N, C) the head's own scores. Raises DeepscopeError where an image cannot be read."""
        return self.fitted_.scores(self._blocks(X)).numpy()

    def save(self, folder: str | Path) -> VisionModel:
        """Write the classifier as a folder that every command opens with `--model`, and open it.

        Raises:
            DeepscopeError: the head is not linear, a network cannot be rebuilt by name, or the networks' sizes differ.
        """
        check_is_fitted(self)
        return save(
            Path(folder),
            self.fitted_.classifier(self.recipe_, self.models_),
            self._origins(),
            self._pixels(),
            [str(name) for name in self.classes_],
            source=f"{self.head} on {self.recipe_}, {self.recipe_.normalisation}, {self.fitted_.head.setting}",
        )

    def require_savable(self) -> None:
        """After `open`: whether `save` could write the networks.

        Raises:
            DeepscopeError: a network cannot be rebuilt by name, or the networks' sizes differ.
        """
        require_architectures(self._origins())
        self._pixels()

    def _origins(self) -> list[BackboneOrigin]:
        used = [self.models_[name] for name, _ in self.recipe_.by_model()]
        return [BackboneOrigin(model.name, model.architecture, len(model.categories) or None) for model in used]

    @property
    def _session(self) -> Session:
        return self.session or Session.open()

    def _pixels(self) -> Preprocessing:
        """What makes the pixels that all the networks see."""
        names = [name for name, _ in self.recipe_.by_model()]
        pixels = {self.recipe_.pixels(self.models_, name) for name in names}
        if len(pixels) > 1:
            raise DeepscopeError(
                f"{' and '.join(names)} see images at different sizes: give one size for all (--size 224)"
            )
        return pixels.pop()

    def _blocks(self, pictures: Sequence[images.Source]) -> list[Tensor]:
        check_is_fitted(self)
        found = gather([self.recipe_], self.models_, pictures, self._session)
        if found.skipped:
            raise DeepscopeError(f"{found.skipped[0].path} cannot be used: {found.skipped[0].reason}")
        return found.blocks(self.recipe_)
