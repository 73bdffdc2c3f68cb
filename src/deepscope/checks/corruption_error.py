"""Mean corruption error: a classifier's errors on corrupted images, relative to those of a reference network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepscope.data.corruptions import Corruption
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.models.imagenet import categories
from deepscope.session import Session
from deepscope.statistics import Estimate

NONE = "none"
PUBLISHED = "alexnet-published"
"""The name of AlexNet's published errors, in the place of a network's."""

_ALEXNET: Mapping[str, float] = {
    "gaussian-noise": 0.886,
    "shot-noise": 0.894,
    "impulse-noise": 0.923,
    "defocus-blur": 0.820,
    "glass-blur": 0.826,
    "motion-blur": 0.786,
    "zoom-blur": 0.798,
    "snow": 0.867,
    "frost": 0.827,
    "fog": 0.819,
    "brightness": 0.565,
    "contrast": 0.853,
    "elastic-transform": 0.646,
    "pixelate": 0.718,
    "jpeg-compression": 0.607,
}
"""Mean errors over the five severities, of Hendrycks and Dietterich 2019: github.com/hendrycks/robustness."""


@dataclass(frozen=True)
class CorruptionError:
    """Errors relative to a reference, in per cent: 100 where both are equal.

    Attributes:
        reference: its name.
        kinds: by corruption; NaN where the reference makes no error.
        mean: over the kinds, with its bootstrap interval over images.
    """

    reference: str
    kinds: Mapping[str, float]
    mean: Estimate


def reference_of(name: str, model: VisionModel, severities: list[int], session: Session) -> VisionModel | None:
    """The reference network; None where none is wanted, and for the published errors.

    The default reference is left out for models of other classes, and for itself.

    Raises:
        SettingError: the reference that was named has other classes, or published errors do not apply.
        ModelError: there is no such network.
    """
    if name == NONE or (name == DEFAULT and (model.categories != categories() or model.name == DEFAULT)):
        return None
    if name == PUBLISHED:
        if model.categories != categories() or severities != [1, 2, 3, 4, 5]:
            raise SettingError(
                "reference", "published errors are for the 1000 classes of ImageNet and all five severities", got=name
            )
        return None
    found = load_model(name, session)
    if found.categories != model.categories:
        raise SettingError("reference", f"must have the same classes as {model.name}", got=name)
    return found


def corruption_error(
    wrong: Mapping[str, NDArray[np.bool_]], reference: str, theirs: Mapping[str, NDArray[np.bool_]] | None = None
) -> CorruptionError:
    """Mean corruption error over the corruptions of ImageNet-C.

    Args:
        wrong: corruption's name -> (severities, N) whether each image is misclassified.
        reference: its name.
        theirs: the same of the reference network; None takes AlexNet's published errors.
    """
    names = [name for name, kind in Corruption.members().items() if kind.benchmark and name in wrong]
    own = np.stack([wrong[name].mean(0) for name in names])  # (kinds, N)
    if theirs is None:
        other = np.repeat([[_ALEXNET[name]] for name in names], own.shape[1], axis=1)
    else:
        other = np.stack([theirs[name].mean(0) for name in names])
    count = own.shape[1]
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=2000).T
    with np.errstate(divide="ignore", invalid="ignore"):
        kinds = 100 * own.sum(1) / other.sum(1)
        means = (100 * (own @ drawn) / (other @ drawn)).mean(0)
    means = means[np.isfinite(means)]
    low, high = np.quantile(means, [0.025, 0.975]) if len(means) else (np.nan, np.nan)
    kinds = np.where(np.isfinite(kinds), kinds, np.nan)
    return CorruptionError(
        reference, dict(zip(names, kinds.tolist())), Estimate(float(kinds.mean()), float(low), float(high))
    )
