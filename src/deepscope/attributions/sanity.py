"""The sanity check: do maps change when the network's weights are shuffled?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions.attribution import Attribution, per_pixel
from deepscope.attributions.faithfulness import Randomisation
from deepscope.attributions.measuring import identity_of
from deepscope.attributions.naming import labels
from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.inputs import Photos
from deepscope.kept import Arrays, digest, kept
from deepscope.models import VisionModel
from deepscope.registry import plain_value
from deepscope.session import Session
from deepscope.statistics import Estimate, mean


@dataclass(frozen=True)
class Sanity:
    """What the sanity check says of a method.

    Attributes:
        upper: rank correlation with the trained network's maps while at most half of the layers are shuffled.
        unrelated: the same once every layer is shuffled: what the image alone gives.
        margin: `upper` minus the middle between `unrelated` and 1, image by image.
    """

    upper: Estimate
    unrelated: Estimate
    margin: Estimate

    @classmethod
    def of(cls, survived: NDArray[np.float64], depths: Sequence[float], *, confidence: float = 0.95) -> Sanity:
        """From a method's (depths, N) rank correlations; the last depth is 1.

        Args:
            survived, depths: the correlations, and the share of layers that is shuffled at each depth.
            confidence: of the margin's interval, from which the verdict follows.
        """
        upper = survived[np.array(depths) <= 0.5].mean(0)
        unrelated = survived[-1]
        return cls(mean(upper), mean(unrelated), mean(upper - (1 + unrelated) / 2, confidence=confidence))

    @property
    def verdict(self) -> Literal["passes", "fails", "undecided"]:
        """Whether the maps are nearer to an unrelated network's ("passes") than to the trained one's ("fails")."""
        if self.margin.high < 0:
            return "passes"
        return "fails" if self.margin.low > 0 else "undecided"


@dataclass(frozen=True, eq=False)
class SanityCheck:
    """The sanity check of several methods on one network.

    Attributes:
        model: the network that was shuffled.
        survived: method's label -> (depths, N) rank correlations with the trained network's maps.
        depths: shares of the layers that were shuffled.
        refused: method's label -> why it gives no map of one of these networks or images; it is left out.
    """

    model: VisionModel
    survived: Mapping[str, NDArray[np.float64]]
    depths: tuple[float, ...]
    refused: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def images(self) -> int:
        """How many images were used."""
        return next(iter(self.survived.values())).shape[-1]

    @property
    def found(self) -> dict[str, Sanity]:
        """What the check says of each method, by label."""
        return {name: Sanity.of(survived, self.depths) for name, survived in self.survived.items()}


def check_sanity(
    methods: Mapping[str, Attribution] | Sequence[Attribution], photos: Photos, session: Session
) -> SanityCheck:
    """Compare the maps with those of ever more shuffled networks. Each image is kept in the cache.

    Every image has a shuffling of its own, so that an interval over images covers the randomness of both. A shuffled
    network explains the class that it now predicts: the old one may be out of its reach. Methods may come with labels.
    A method that gives no map, of a shuffled network say, is left out: the others are checked without it.

    Raises:
        UnsupportedError: no method is left, or the network's layers cannot be shuffled.
    """
    named = dict(methods) if isinstance(methods, Mapping) else dict(zip(labels(methods), methods))
    refused: dict[str, str] = {}
    while named:
        try:
            found = _checked(list(named.values()), photos, session)
        except _RefusedError as error:
            name = list(named)[error.place]
            refused[name] = str(error)
            session.note(f"the sanity check leaves out {name}: {error}")
            del named[name]
        else:
            return SanityCheck(photos.model, dict(zip(named, found)), Randomisation().depths, refused)
    reasons = "; ".join(dict.fromkeys(refused.values()))
    raise UnsupportedError(f"no method applies to shuffled copies of {photos.model.name}; {reasons}", what="sanity")


class _RefusedError(Exception):
    """A method gives no map.

    Args:
        place: of the method among those that are checked.
        reason: in words.
    """

    def __init__(self, place: int, reason: DeepscopeError) -> None:
        super().__init__(str(reason))
        self.place = place


def _checked(methods: Sequence[Attribution], photos: Photos, session: Session) -> NDArray[np.float64]:
    """(methods, depths, N) rank correlations with the trained network's maps."""
    check = Randomisation()
    survived: list[NDArray[np.float64]] = []
    for index in session.track(range(len(photos)), "sanity check"):
        one = photos[[index]]
        about = {
            "model": photos.model.identity,
            "methods": [identity_of(method) for method in methods],
            "check": plain_value(check.depths),
            "image": digest(one.pixels, one.predicted),
            "first": index,
        }

        def compute(one: Photos = one, index: int = index) -> Arrays:
            return {"survived": _survived(check, methods, one, index, session)}

        survived.append(kept(session, about, compute)["survived"])
    return np.concatenate(survived, axis=-1)


def _survived(
    check: Randomisation, methods: Sequence[Attribution], photo: Photos, index: int, session: Session
) -> NDArray[np.float64]:
    """(methods, depths, 1) rank correlations of one image's maps."""
    model = photo.model
    pixels, predicted = photo.pixels.to(model.device), photo.predicted.to(model.device)

    trained = iter([predicted])  # comes first; a shuffled network explains what it predicts

    def explain(network: VisionModel) -> list[Tensor]:
        target = next(trained, None)
        if target is None:
            with torch.no_grad():
                target = network(pixels).argmax(1)
        own = [one.bounded() for one in methods]  # of the trained network too: they are compared
        return [map_of(place, one, network, target) for place, one in enumerate(own)]

    def map_of(place: int, method: Attribution, network: VisionModel, target: Tensor) -> Tensor:
        try:
            return per_pixel(method(network, pixels, target, rng=session.rng("explain", method.name)))
        except DeepscopeError as error:
            raise _RefusedError(place, error) from None

    return check(explain, model, pixels, rng=session.rng("randomisation", index))
