"""The random logit test: a map that explains a class must change when another class is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import image_seeds
from deepscope.attributions.faithfulness.measure import Explanation, Measure
from deepscope.attributions.faithfulness.randomisation import rank_correlation
from deepscope.errors import UnsupportedError
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class RandomLogit(Measure):
    """Rank correlation of the absolute map with that of another class, drawn at random; small is specific to the class.

    Both maps are at the method's bounded cost (`Explanation.comparable`). Random maps are those of no class, so that
    theirs is 1.

    Sixt, Granz and Landgraf 2020, "When Explanations Lie: Why Many Modified BP Attributions Fail".
    """

    higher_is_better: ClassVar[bool] = False

    def require(self, model: VisionModel) -> None:
        """Raises UnsupportedError where there is no other class."""
        if len(model.categories) < 2:
            raise UnsupportedError(
                f"{self.name} compares maps of two classes, and {model.name} has one: choose other measures",
                what=self.name,
            )

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) values in [-1, 1]; NaN where a map is constant, that of the other class too.

        Raises:
            UnsupportedError: the model has one class.
        """
        self.require(given.model)
        classes = len(given.model.categories)
        steps = [
            int(torch.randint(1, classes, (1,), generator=torch.Generator().manual_seed(seed)))
            for seed in image_seeds(len(given.target), 1, given.rng)[:, 0].tolist()
        ]
        other = (given.target + torch.tensor(steps).to(given.target)) % classes
        return torch.from_numpy(rank_correlation(given.comparable, given.explain_class(other))).to(given.maps)
