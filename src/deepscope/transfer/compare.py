"""Compare layers and networks as features for a linear classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepscope.errors import DeepscopeError, ModelError, SettingError
from deepscope.features.layers import require
from deepscope.inputs.examples import Data, Examples
from deepscope.models import VisionModel, held_device, load_model
from deepscope.session import Session
from deepscope.transfer.greyscale import Grey, fold_greyscale
from deepscope.transfer.heads import Head
from deepscope.transfer.measuring import Measurable, chosen, measure, p_values
from deepscope.transfer.on_splits import OnSplits
from deepscope.transfer.recipe import Feature, Recipe, given_models, recipe_of
from deepscope.transfer.splits import Holdout

DEFAULT_FEATURES = (
    "vgg16@relu6",
    "vgg16@relu7",
    "vgg16@relu8",
    "vgg16@pool5",
    "vgg16@pool5:flatten",
    "squeezenet1_0",
    "efficientnet_lite0",
)
"""The layers of Table 1.1 of the report (Delefosse and Vin), and the last layers of the available networks."""


@dataclass(frozen=True, eq=False)
class FeatureComparison(OnSplits):
    """Recipes and heads, measured on the same splits of labelled images.

    Attributes:
        p_values: of each row against the best one on the same test images, adjusted for all of them together (Holm);
            None for the best itself.
        compared: every requested recipe and head, including those that could not be measured, in order.
        absent: recipes of the default list whose weights are missing, and why.
    """

    p_values: tuple[float | None, ...]
    compared: tuple[tuple[Recipe, Head], ...]
    absent: Mapping[Recipe, str]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per recipe and head that was measured."""
        return {
            "features": [str(row.recipe) for row in self.rows],
            "normalisation": [row.recipe.normalisation for row in self.rows],
            "head": [row.head.name for row in self.rows],
            **self.accuracies(),
            "accuracy_without_copies": [row.without_copies.value for row in self.rows],
            "p": list(self.p_values),
            "seconds": [row.seconds for row in self.rows],
        }


def compare_features(
    data: Data,
    features: Sequence[Feature] | None = None,
    *,
    heads: Sequence[str | Head] = ("linear-svc",),
    grey: Grey = "replicate",
    holdout: Holdout = Holdout(),
    seed: int = 0,
    session: Session | None = None,
) -> FeatureComparison:
    """Compare layers and networks as features for a classifier on the data's classes.

    The regularisation of each row is chosen by cross-validation on the training images. Accuracy is measured on the
    test images, and also without those that are copies of training images.

    Args:
        data: labelled images, see `Data`.
        features: names, models or recipes; None compares the layers of the report's Table 1.1 and
            the available networks, raw and L2-normalised. Of names on that list, those whose weights are missing
            are listed as not measured.
        heads: classifiers on the features, by name or as objects.
        grey: how grey images are fed to a colour network: replicated, or through a first convolution of one channel
            with the sum (fold) or mean (average) of the weights.
        holdout: how test images are set aside.
        seed: of splits and folds.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: nothing to compare, or a setting is out of range.
        ModelError: there is no such model or layer.
        DataError: the data does not exist, or has too few classes or images.

    Example:
        >>> import numpy as np
        >>> from deepscope.transfer import compare_features
        >>> grey = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 240, 20)]
        >>> pairs = [(image, "night" if row < 6 else "day") for row, image in enumerate(grey)]
        >>> found = compare_features(pairs, ["efficientnet_lite0@blocks.1", "efficientnet_lite0@blocks.2"])
        >>> found.columns()["dimension"]
        [24, 40]
    """
    session = Session.of(session, device=held_device(*(features or ())), seed=seed)
    fitted = [Head.of(head) for head in heads]
    recipes = _recipes(features)
    if not recipes or not fitted:
        raise SettingError("features", "leaves nothing to compare: give at least one feature, normalisation and head")
    examples = Examples.of(data, session)
    models, absent = _open(recipes, given_models(features or ()), session)
    models = {name: fold_greyscale(model, grey) for name, model in models.items()}
    named = [recipe if recipe in absent else recipe.named(models) for recipe in recipes]
    wanted = [recipe for recipe in named if recipe not in absent]
    if not wanted:
        raise ModelError(next(iter(absent.values())))
    on = Measurable.extracted(examples, wanted, models, holdout, session)
    cases = [(recipe, head) for recipe in wanted for head in fitted]
    rows = [measure(recipe, head, on, session) for recipe, head in session.track(cases, "fitting")]
    best = chosen(rows)
    return FeatureComparison(
        examples,
        models,
        tuple(rows),
        best,
        on.splits,
        on.features.digests,
        (*examples.skipped, *on.features.skipped),
        p_values(rows, best),
        tuple((recipe, head) for recipe in named for head in fitted),
        absent,
    )


def _recipes(features: Sequence[Feature] | None) -> list[Recipe]:
    if features is None:
        return [recipe_of(name, normalisation=kind) for name in DEFAULT_FEATURES for kind in ("raw", "l2")]
    return [recipe_of(feature) for feature in features]


def _open(
    recipes: Sequence[Recipe], given: Mapping[str, VisionModel], session: Session
) -> tuple[dict[str, VisionModel], dict[Recipe, str]]:
    """The models; and the recipes of the default list whose weights are missing, with the reason."""
    models: dict[str, VisionModel] = dict(given)
    absent: dict[Recipe, str] = {}
    for recipe in recipes:
        try:
            for block in recipe.blocks:
                if block.model not in models:
                    models[block.model] = load_model(block.model, session)
                if block.layer:
                    require(models[block.model], block.layer)
        except DeepscopeError as error:
            if str(recipe) not in DEFAULT_FEATURES:
                raise
            absent[recipe] = str(error)
    return models, absent
