"""Features for recipes: every model runs once for all the recipes that read the same pixels."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope import images
from deepscope.features import Features, Layer, extract
from deepscope.inputs.examples import Source
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.classifier import View
from deepscope.session import Session
from deepscope.transfer.recipe import Recipe


@dataclass(frozen=True, eq=False)
class RecipeFeatures:
    """Features of a list of images for several recipes.

    Attributes:
        rows: (n,) places in the list of the images that could be read.
        skipped: the others, and why.
        digests: SHA-256 of every image in the list.
    """

    rows: NDArray[np.int64]
    skipped: tuple[images.Skipped, ...]
    digests: tuple[bytes, ...]
    _vectors: Mapping[tuple[str, Preprocessing, tuple[View, ...], Layer], NDArray[np.float32]]
    _models: Mapping[str, VisionModel]

    def blocks(self, recipe: Recipe) -> list[Tensor]:
        """(n, D) features for each of the recipe's layers, model by model."""
        return [
            torch.from_numpy(self._vectors[name, recipe.pixels(self._models, name), recipe.views, layer])
            for name, layers in recipe.by_model()
            for layer in layers
        ]


def extract_recipes(
    recipes: Sequence[Recipe], models: Mapping[str, VisionModel], sources: Sequence[Source], session: Session
) -> RecipeFeatures:
    """Extract what the recipes need.

    Args:
        recipes: with all layers named.
        models: every model of the recipes, by the name it has there.
        sources: images.
        session: device, precision and cache.

    Raises:
        ModelError, DataError: as `extract`.
    """
    passes: dict[tuple[str, Preprocessing, tuple[View, ...]], dict[Layer, None]] = {}
    for recipe in recipes:
        for name, layers in recipe.by_model():
            passes.setdefault((name, recipe.pixels(models, name), recipe.views), {}).update(dict.fromkeys(layers))
    found: list[Features] = []
    for (name, pixels, views), layers in passes.items():
        digests = found[-1].digests if found else None
        found.append(
            extract(models[name], list(layers), sources, session, views=views, preprocessing=pixels, digests=digests)
        )
    rows = functools.reduce(np.intersect1d, [each.rows for each in found])  # a file may vanish between two networks
    vectors = {
        (*seen, layer): block if len(block) == len(rows) else block[np.isin(each.rows, rows)]
        for (seen, layers), each in zip(passes.items(), found, strict=True)
        for layer, block in zip(layers, each.vectors, strict=True)
    }
    skipped = max((each.skipped for each in found), key=len)
    return RecipeFeatures(rows, skipped, found[-1].digests, vectors, models)
