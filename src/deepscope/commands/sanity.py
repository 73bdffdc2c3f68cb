"""The sanity check of `explain evaluate` and the study of saliency: do maps notice that a network was shuffled?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions import Attribution, per_pixel
from deepscope.attributions.faithfulness import Randomisation
from deepscope.commands.explained import Photos
from deepscope.kept import Arrays, digest, kept
from deepscope.models import VisionModel
from deepscope.registry import plain_value
from deepscope.results import Block, Column, Curves, Series, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, mean

Explain = Callable[[VisionModel], list[Tensor]]


@dataclass(frozen=True)
class Checked:
    """The sanity check of several methods on one network.

    Attributes:
        model: the network that was shuffled.
        methods: in the order of `survived`.
        survived: (methods, depths, N) rank correlations.
        depths: shares of the layers that were shuffled.
    """

    model: VisionModel
    methods: tuple[Attribution, ...]
    survived: NDArray[np.float64]
    depths: tuple[float, ...]

    @property
    def said(self) -> dict[str, Sanity]:
        """What the check says of each method, by name."""
        return {method.name: Sanity.of(survived, self.depths) for method, survived in zip(self.methods, self.survived)}

    def metrics(self, suffix: str = "") -> dict[str, float]:
        """`survival/METHOD`, `unrelated/METHOD` and `sanity-margin/METHOD` with intervals, `sanity/METHOD` 1 or 0."""
        found: dict[str, float] = {}
        for name, said in self.said.items():
            found |= said.upper.metrics(f"survival/{name}{suffix}") | said.unrelated.metrics(
                f"unrelated/{name}{suffix}"
            )
            found |= said.margin.metrics(f"sanity-margin/{name}{suffix}")
            found[f"sanity/{name}{suffix}"] = float(said.verdict == "passes")
        return found

    def blocks(self) -> list[Block]:
        """A table of verdicts, and the curves behind them."""
        columns = tuple(Column(text) for text in ("method", "upper half shuffled", "all shuffled", "margin", "verdict"))
        rows = tuple(
            (name, str(said.upper), str(said.unrelated), str(said.margin), said.verdict)
            for name, said in self.said.items()
        )
        caption = (
            f"Spearman's rank correlation of a map with the trained network's, on {self.survived.shape[-1]} images, "
            "each with a shuffling of its own. Margin: how far the maps stay above the middle between an unrelated "
            "network's map and the same map while the upper half of the layers knows nothing. Below 0 passes, above "
            "fails."
        )
        return [
            Table(columns, rows, title=f"Sanity check, {self.model.name}", caption=caption),
            Curves(
                tuple(self._series(method.name, survived) for method, survived in zip(self.methods, self.survived)),
                x_title="share of the layers shuffled, from the output down",
                y_title="rank correlation",
                title=f"What survives of the maps, {self.model.name}",
                caption="Bands are 95 % intervals over images (Adebayo et al. 2018).",
            ),
        ]

    def _series(self, name: str, survived: NDArray[np.float64]) -> Series:
        estimates = [mean(numbers) for numbers in survived]
        value, low, high = (
            np.array([1.0, *(getattr(one, end) for one in estimates)]) for end in ("value", "low", "high")
        )
        return Series(name, np.array([0.0, *self.depths]), value, low, high)


def check_sanity(methods: Sequence[Attribution], model: VisionModel, photos: Photos, session: Session) -> Checked:
    """Compare the maps with those of ever more shuffled networks. Each image is kept in the cache.

    Every image has a shuffling of its own, so that an interval over images holds the chance of both. A shuffled
    network explains the class that it now predicts: the old one may be out of its reach.
    """
    check = Randomisation()
    survived: list[NDArray[np.float64]] = []
    for index in session.track(range(len(photos.paths)), "sanity check"):
        pixels, predicted = photos.pixels[[index]].to(model.device), photos.predicted[[index]].to(model.device)
        about = {
            "model": model.fingerprint,
            "methods": plain_value(methods),
            "check": plain_value(check.depths),
            "image": digest(pixels, predicted),
            "first": index,
        }

        def explain(network: VisionModel, pixels: Tensor = pixels, target: Tensor = predicted) -> list[Tensor]:
            if network is not model:
                with torch.no_grad():
                    target = network(pixels).argmax(1)
            return [per_pixel(one(network, pixels, target, rng=session.rng("explain", one.name))) for one in methods]

        def compute(pixels: Tensor = pixels, index: int = index, explain: Explain = explain) -> Arrays:
            return {"survived": check(explain, model, pixels, rng=session.rng("randomisation", index))}

        survived.append(kept(session, about, compute)["survived"])
    return Checked(model, tuple(methods), np.concatenate(survived, axis=-1), check.depths)


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
    def of(cls, survived: NDArray[np.float64], depths: Sequence[float]) -> Sanity:
        """From a method's (depths, N) rank correlations; the last depth is 1."""
        upper = survived[np.array(depths) <= 0.5].mean(0)
        unrelated = survived[-1]
        return cls(mean(upper), mean(unrelated), mean(upper - (1 + unrelated) / 2))

    @property
    def verdict(self) -> Literal["passes", "fails", "undecided"]:
        """Whether the maps are nearer to an unrelated network's ("passes") than to the trained one's ("fails")."""
        if self.margin.high < 0:
            return "passes"
        return "fails" if self.margin.low > 0 else "undecided"
