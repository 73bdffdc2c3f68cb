"""Whether a model gives what its owner measured, and if not, which way of preparing images explains the difference."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from deepscope import images
from deepscope.classification.expected import Expected, read_expected
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.capabilities import RGB, require
from deepscope.models.prediction import forward
from deepscope.models.preprocessing import Interpolation, from_levels
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.settings import check_values

CLOSE = 2e-3
"""Mean difference of probabilities up to which they agree, beyond rounding: decoders differ in a level or two."""
_PAIRS = 8
"""Images that pairs of mistakes are tried on."""
_HALF, _NONE = ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_NORMALISATIONS = {
    "mean and deviation of ImageNet": _IMAGENET,
    "mean and deviation 0.5": _HALF,
    "mean and deviation of CLIP": _CLIP,
    "pixels from 0 to 1, not normalised": _NONE,
    "pixels from 0 to 255, not normalised": (_NONE[0], (1 / 255,) * 3),
    "pixels from 0 to 255 with the mean and deviation of ImageNet": tuple(
        tuple(value / 255 for value in values) for values in _IMAGENET
    ),
}
_CROP = 0.875


@dataclass(frozen=True)
class Way:
    """One way to prepare images.

    Attributes:
        name: what differs from the model's own way, in words.
        preprocessing: size, filter, mean and deviation.
        bgr: whether the channels are swapped.
        antialias: whether the resize smooths first, as Pillow does.
        difference: of the probabilities, see `Expected.difference`; of classes alone, the share that differs.
        unexplained: what is left of it beyond the rounding of the file.
    """

    name: str
    preprocessing: Preprocessing
    bgr: bool = False
    antialias: bool = True
    difference: float = 0.0
    unexplained: float = 0.0


@dataclass(frozen=True, eq=False)
class Agreement(Presented):
    """A model beside its owner's predictions.

    Attributes:
        model: the model.
        images: how many were compared.
        of_classes: whether classes alone were given, and no probabilities.
        ways: the model's own way first, then all others that were tried, the closest first.
    """

    model: VisionModel
    images: int
    of_classes: bool
    ways: tuple[Way, ...]

    @property
    def own(self) -> Way:
        """The way that the model prepares images."""
        return self.ways[0]

    @property
    def best(self) -> Way:
        """The way that comes closest; the model's own where none is closer."""
        return min(self.ways, key=lambda way: way.difference)

    @property
    def agrees(self) -> bool:
        """Whether the model gives what is expected as it is."""
        return self.own.unexplained <= self.allowed

    @property
    def explained(self) -> bool:
        """Whether one of the ways gives what is expected."""
        return self.best.unexplained <= self.allowed

    @property
    def allowed(self) -> float:
        """The largest difference beyond rounding that counts as agreement."""
        return 0.0 if self.of_classes else CLOSE

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per way."""
        return {"way": [way.name for way in self.ways], "difference": [way.difference for way in self.ways]}


def check_predictions(
    model: VisionModel,
    photos: str | Path,
    expected: str | Path,
    *,
    limit: int = 16,
    session: Session | None = None,
) -> Agreement:
    """Compare a model with predictions of its owner, and try common mistakes of preprocessing where they differ.

    Swapped channels, pixels from 0 to 255, other means and deviations, squashing instead of cropping, another filter
    and no antialiasing are tried one at a time, and in pairs where none of them explains the difference.

    Args:
        model: a classifier.
        photos: a folder of images, or one image.
        expected: a CSV file with a column "file" and either a column of probabilities per class or a column "class"; a
            model with several labels per image has them there, separated by semicolons.
        limit: images to compare, at most: the first of the file.
        session: device and progress.

    Raises:
        FileError: the CSV file cannot be read, or says something else.
        DataError: none of its images is in the folder.

    Example:
        >>> check_predictions(model, "photos/", "predictions.csv").best.name  # doctest: +SKIP
        'channels in the order BGR'
    """
    check_values(_Settings, {"limit": limit})
    model.require_classes()
    require(model, "comparing predictions", RGB)
    session = Session.of(session, device=model.device)
    wanted = read_expected(Path(expected), Path(photos), model, limit)
    run = _Runner(model, wanted, session)
    own = run(Way("the model's own", model.preprocessing))
    tried = [run(way) for way in session.track(_single(model), "other ways")] if own.difference else []
    found = Agreement(model, len(wanted.paths), wanted.of_classes, (own, *tried))
    if not found.explained:
        few = _Runner(model, wanted.first(_PAIRS), session)
        tried += [few(way) for way in session.track(_pairs(_single(model)), "pairs of other ways")]
    ways = (own, *sorted(tried, key=lambda way: way.difference))
    return Agreement(model, len(wanted.paths), wanted.of_classes, ways)


@dataclass(frozen=True)
class _Settings:
    limit: int


def _single(model: VisionModel) -> list[Way]:
    """Every way that differs from the model's own in one respect."""
    own = model.preprocessing
    height, width = own.size
    ways = [Way("channels in the order BGR", own, bgr=True), Way("no antialiasing", own, antialias=False)]
    if len(own.mean) == 3:
        ways += [Way(name, replace(own, mean=mean, std=std)) for name, (mean, std) in _NORMALISATIONS.items()]
    else:
        ways = ways[1:]
    filters = cast("tuple[Interpolation, ...]", get_args(Interpolation))
    ways += [Way(f"{name} filter", replace(own, interpolation=name)) for name in filters]
    ways += [
        Way("squashed to the input's size", replace(own, resize=(height, width), crop=None)),
        Way("resized to the input's size, then cropped", replace(own, resize=min(height, width), crop=(height, width))),
        Way(
            f"cropped to {100 * _CROP:.1f} % of the resized image",
            replace(own, resize=round(min(height, width) / _CROP), crop=(height, width)),
        ),
    ]
    return [way for way in ways if way.preprocessing != own or way.bgr or not way.antialias]


def _pairs(ways: Sequence[Way]) -> list[Way]:
    """Both differences of every two ways that do not concern the same respect."""
    found: list[Way] = []
    for first, second in itertools.combinations(ways, 2):
        changes = [_changes(way) for way in (first, second)]
        if changes[0].keys() & changes[1].keys():
            continue
        fields = {**changes[0], **changes[1]}
        bgr, antialias = fields.pop("bgr", False), fields.pop("antialias", True)
        taken = {key: value for change in fields.values() for key, value in change.items()}
        made = replace(first.preprocessing, **taken)
        found.append(Way(f"{first.name}, and {second.name}", made, bgr, antialias))
    return found


def _changes(way: Way) -> dict[str, Any]:
    """The respect that a single way concerns, with its values."""
    if way.bgr:
        return {"bgr": True}
    if not way.antialias:
        return {"antialias": False}
    taken = way.preprocessing
    if way.name in _NORMALISATIONS:
        return {"normalisation": {"mean": taken.mean, "std": taken.std}}
    if way.name.endswith("filter"):
        return {"filter": {"interpolation": taken.interpolation}}
    return {"geometry": {"resize": taken.resize, "crop": taken.crop}}


class _Runner:
    """Runs the model on the images, prepared in different ways; what was read in one way is kept."""

    def __init__(self, model: VisionModel, expected: Expected, session: Session) -> None:
        self.model, self.expected, self.session = model, expected, session
        self._read: dict[tuple[Any, ...], list[Tensor]] = {}

    def __call__(self, way: Way) -> Way:
        taken = way.preprocessing
        key = (taken.resize, taken.crop, taken.interpolation, way.antialias)
        if key not in self._read:
            self._read[key] = [_pixels(path, taken, way.antialias) for path in self.expected.paths]
        pictures = [one.flip(0) for one in self._read[key]] if way.bgr else self._read[key]
        model = replace(self.model, preprocessing=taken)
        model.outputs.kind = self.model.outputs.kind
        alike = len({picture.shape for picture in pictures}) == 1  # without a crop, each may have a shape of its own
        batches = [torch.stack(pictures)] if alike else [picture[None] for picture in pictures]
        logits = torch.cat([forward(model, pixels, self.session) for pixels in batches])
        predictions = model.head.predictions(logits)
        answers = model.probabilities(logits), predictions
        difference, unexplained = self.expected.difference(*answers), self.expected.unexplained(*answers)
        return replace(way, difference=difference, unexplained=unexplained)


def _pixels(path: Path, taken: Preprocessing, antialias: bool) -> Tensor:
    if antialias or taken.interpolation == "lanczos":  # which always smooths
        return taken(path)
    from torchvision.transforms import InterpolationMode  # slow to load, and needed for these alone
    from torchvision.transforms.v2 import functional

    levels = functional.pil_to_tensor(images.decode(path))
    sides = [taken.resize] if isinstance(taken.resize, int) else list(taken.resize)
    levels = functional.resize(levels, sides, InterpolationMode(taken.interpolation), antialias=False)
    return from_levels(functional.center_crop(levels, list(taken.size)) if taken.crop is not None else levels)
