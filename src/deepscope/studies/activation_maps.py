"""Chapter 1.1, question 4 (Figures 1.2 and 5.1 to 5.5): the output of the first layer and its interpretation."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope.classification import activations
from deepscope.command import Headline
from deepscope.data.photographs import bundled, bundled_photographs
from deepscope.errors import DataError
from deepscope.images import find
from deepscope.inputs import nothing_readable
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.activations import square
from deepscope.presenters.shown import picture, skipped_blocks
from deepscope.render.text import share
from deepscope.results import ImageGrid, Result
from deepscope.session import Session
from deepscope.statistics import Estimate, mean
from deepscope.studies.networks import installed
from deepscope.studies.photographs import readable
from deepscope.studies.study import Answer, Budget, Study, answers

_FIGURES = {"1.2": "tabby", "5.1": "Shih-Tzu", "5.2": "komondor", "5.3": "swab", "5.4": "wombat", "5.5": "Cardigan"}
"""The report's figures, and the images of the sample that replace its own."""
_SHOWN = 64
"""Maps per figure, at most."""
_FEWEST = 5
"""Images below which an interval over images says nothing."""
_PUBLISHED = "vgg16"
"""The network of the report that is reproduced."""


@dataclass(frozen=True)
class ActivationMaps(Study):
    """Draw the maps of the first convolution, and measure what the report (Delefosse & Vin) observed visually.

    A map that follows edges correlates with the size of the image's gradient; one that follows brightness or colour
    correlates with the channels themselves. Each map is assigned to what it correlates with most. The map of a dead
    filter, which is the same everywhere, is assigned to none.

    Attributes:
        model: network whose first convolution is examined; the bundled one where VGG16's weights are missing.
        images: files and folders to use instead of those of the figures.
    """

    chapter: ClassVar[str] = "1.1 VGG16 architecture"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.04, "full": 0.5}

    images: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = _PUBLISHED

    def inputs(self, home: Path) -> Sequence[Path]:
        """The sample of ImageNet, or the named files, and the weights."""
        return [*(self.images or [home / "data" / "imagenet-sample"]), home / "weights"]

    def run(self, session: Session) -> Result:
        """Draw and correlate, image by image."""
        missing = self.model == _PUBLISHED and self.model not in installed(session)
        model = load_model(DEFAULT if missing else self.model, session)
        grids: list[ImageGrid] = []
        shares: dict[str, list[float]] = {"edges": [], "brightness": [], "colour": []}
        given = find(self.images)
        titles = {path: path.name for path in given.paths} if self.images else self._figures(session)
        paths, unread = readable(titles, model.preprocessing)
        skipped = (*given.skipped, *unread)
        if not paths:
            raise DataError(nothing_readable(skipped))
        for path in paths:
            found = activations(model, path, session=session)
            (layer,) = found.outputs
            if title := titles[path]:
                title = f"{title}: the first convolution of {model.name} on {path.stem}"
                grids.append(replace(square(found, layer, 0, maps=_SHOWN), title=title))
            counted = explained(found[layer][0].numpy(), picture(found.pixels[0]).pixels)
            for name, values in shares.items():
                values.append(counted[name])
        estimates = {name: _over(values) for name, values in shares.items()}
        return Result(
            title=f"Output of the first convolution of {model.name}",
            metrics={k: v for name, estimate in estimates.items() for k, v in estimate.metrics(f"maps/{name}").items()},
            blocks=(
                *grids,
                answers(_answers(estimates, model.name, len(paths), missing=missing)),
                *skipped_blocks(skipped),
            ),
        )

    def _figures(self, session: Session) -> dict[Path, str]:
        """The images of the report's figures with their titles; one without a title is measured only."""
        folder = session.home / "data" / "imagenet-sample"
        found = {f"Figure {number}": sorted(folder.glob(f"n*_{name}.*")) for number, name in _FIGURES.items()}
        if any(found.values()):
            return {paths[0]: title for title, paths in found.items() if paths}
        drawn = {bundled(name): title for title, name in (("Figure 1.2", "chelsea.png"), ("Figure 5.1", "coffee.png"))}
        return drawn | dict.fromkeys(_others(drawn), "")

    def headline(self, result: Result) -> Headline:
        """What most maps follow."""
        shares = {name: Estimate.of(result.metrics, f"maps/{name}") for name in ("edges", "brightness", "colour")}
        first, second, third = sorted(shares, key=lambda name: -shares[name].value)
        return Headline(
            f"Of the output maps of the first convolution, {share(shares[first])} follow {first} most, "
            f"{share(shares[second])} {second} and {share(shares[third])} {third}. The report assessed them by eye; "
            "here each map is assigned to what it correlates with most.",
            f"of the maps follow {first} most",
            shares[first],
            published="some, by eye",
            verdict="measured",
            picture=result.figure(),
        )


def _others(drawn: Collection[Path]) -> list[Path]:
    return [path for path in bundled_photographs().paths if path not in drawn]


def _over(values: Sequence[float]) -> Estimate:
    """The mean over images; a few of them have no interval, because a bootstrap of two values is narrow by chance."""
    found = mean(values)
    return found if len(values) >= _FEWEST else Estimate(found.value, -math.inf, math.inf)


def explained(maps: NDArray[np.float32], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """The shares of maps that follow edges, brightness and colour most; a map that is the same everywhere follows none.

    Args:
        maps: (C, H, W) activations.
        pixels: (H', W', 3), what the network saw; resized to the maps' size.
    """
    rgb = np.asarray(Image.fromarray(pixels).resize((maps.shape[2], maps.shape[1])), dtype=np.float64) / 255
    brightness = rgb.mean(2)
    down, right = np.gradient(brightness)
    candidates = {
        "edges": [np.hypot(down, right), down, right, np.gradient(down, axis=0) + np.gradient(right, axis=1)],
        "brightness": [brightness],
        "colour": [rgb[..., 0] - rgb[..., 1], rgb[..., 2] - rgb[..., :2].mean(2)],
    }
    names = [name for name, planes in candidates.items() for _ in planes]
    planes = _standard(np.stack([plane for group in candidates.values() for plane in group]))
    correlation = np.abs(_standard(maps.astype(np.float64)) @ planes.T) / planes.shape[1]
    best = [names[index] if most > 0 else "" for index, most in zip(correlation.argmax(1), correlation.max(1))]
    return {name: best.count(name) / len(best) for name in candidates}


def _standard(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flat planes of mean 0 and deviation 1; those that are the same everywhere are 0."""
    flat = planes.reshape(len(planes), -1)
    varies = flat.max(1, keepdims=True) > flat.min(1, keepdims=True)
    return np.where(varies, flat - flat.mean(1, keepdims=True), 0) / np.maximum(flat.std(1, keepdims=True), 1e-12)


def _answers(estimates: dict[str, Estimate], model: str, count: int, *, missing: bool) -> Sequence[Answer]:
    instead = f"; {_PUBLISHED}'s weights are missing, {model} is used instead" if missing else ""
    return [
        Answer(
            f"4. maps that follow {name} most",
            "some, by eye",
            share(estimate, interval=True),
            "answered",
            f"largest absolute correlation, over {count} images{', bootstrap interval' * estimate.known}{instead}",
        )
        for name, estimate in estimates.items()
    ]
