"""Certify images against any change within a radius, and attack the same classifier at the same radii."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.attacks.base import distance
from deepscope.attacks.criteria import Untargeted
from deepscope.attacks.pgd import PGDL2
from deepscope.attacks.smoothing import ABSTAINED, Smoothing
from deepscope.errors import DataError
from deepscope.images import Skipped
from deepscope.inputs import Images, nothing_readable, read
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, require, require_one_class, works
from deepscope.models.known_gradients import with_known_gradients
from deepscope.models.prediction import forward
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.settings import Range
from deepscope.statistics import Estimate, proportion

RADII = (0.1, 0.25, 0.5, 0.75, 1.0)
_DRAWS = 8
"""Draws of the noise over which the attack averages gradients."""


@dataclass(frozen=True, eq=False)
class Certificates(Presented):
    """What the smoothed classifier predicts for N images, and the change that it certainly withstands.

    Attributes:
        model: the network that votes.
        smoothing: how.
        answers: the classes that count as right for each image; its own prediction where nothing says it.
        predicted: (N,) classes, -1 where it abstains.
        radii: (N,) certified L2 radii, pixels in [0, 1]; NaN where it abstains.
        attacked: L2 radius -> (N,) bool, whether the classifier is still right after the attack; empty without one.
        paths: the images' files, or names.
        digests: SHA-256 of each.
        skipped: what could not be read.
    """

    model: VisionModel
    smoothing: Smoothing
    answers: tuple[frozenset[int], ...]
    predicted: Tensor
    radii: Tensor
    attacked: Mapping[float, Tensor]
    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def correct(self) -> Tensor:
        """(N,) bool: the smoothed classifier is right, and does not abstain."""
        return torch.tensor([label in right for label, right in zip(self.predicted.tolist(), self.answers)])

    def certified(self, radius: float) -> Estimate:
        """The share of images that are classified correctly after any change of at most that L2 norm."""
        return proportion(int((self.correct & (self.radii >= radius)).sum()), len(self))

    def empirical(self, radius: float) -> Estimate:
        """The share of images that are still classified correctly after the attack at that radius."""
        return proportion(int(self.attacked[radius].sum()), len(self))

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image."""
        classes = self.model.categories
        return {
            "image": [str(path) for path in self.paths],
            "predicted": ["" if label == ABSTAINED else classes[label] for label in self.predicted.tolist()],
            "correct": self.correct.tolist(),
            "radius": self.radii.tolist(),
            **{f"withstands {radius:g}": held.tolist() for radius, held in self.attacked.items()},
        }


def certify(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    smoothing: Smoothing = Smoothing(),
    *,
    radii: Sequence[float] = RADII,
    steps: int = 20,
    limit: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    session: Session | None = None,
) -> Certificates:
    """Certify images by randomised smoothing, and attack the smoothed classifier at several radii.

    The attack is PGD in the Euclidean ball on mean probabilities under noise. An image counts as lost to it only where
    the smoothed classifier is certain of another class, so certified accuracy exceeds attacked accuracy only where a
    certificate is wrong, which happens to an image with a probability of `alpha` at most.

    Args:
        model: the network that votes; best one that was trained with noise.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        smoothing: noise, votes and error probability.
        radii: L2 radii of the attack; none where empty, or where the model gives no gradients.
        steps: of the attack.
        limit: images to use, at most, drawn at random.
        batch_size: noisy images per forward pass; the votes do not depend on it.
        seed: of all randomness.
        session: device and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        UnsupportedError: the model has several labels per image, or does not take RGB.
        DataError: no image could be read.

    Example:
        >>> import deepscope as ds
        >>> cat = ds.data.photographs.bundled("chelsea.png")
        >>> smoothing = ds.attacks.Smoothing(0.05, samples=32, first=8)
        >>> found = ds.attacks.certify(ds.load_model("efficientnet_lite0"), cat, smoothing, radii=())
        >>> len(found), found.smoothing.sigma
        (1, 0.05)
    """
    for radius in radii:
        Range(above=True).check("radii", radius)
    model.require_classes()
    require_one_class(model, "certify")
    require(model, "certify", RGB)
    model = with_known_gradients(model) if radii else model
    session = Session.of(session, device=model.device, seed=seed)
    attack = _Attack(model, smoothing, tuple(sorted(set(radii))), steps, session) if works(PGDL2(), model) else None
    found: list[tuple[frozenset[int], int, float, dict[float, bool], Path, bytes]] = []
    skipped: list[Skipped] = []
    for answer, pixels, path, digest in _images(model, images, session, skipped, limit):
        rng = session.rng("smoothing", digest.hex())
        first = smoothing.votes(model, pixels, smoothing.first, rng, session=session, batch_size=batch_size)
        votes = smoothing.votes(model, pixels, smoothing.samples, rng, session=session, batch_size=batch_size)
        choice = int(first.argmax())
        radius = smoothing.certify(votes, choice)
        predicted = choice if radius == radius else ABSTAINED
        held = attack(pixels, answer, predicted, digest, batch_size) if attack else {}
        found.append((answer, predicted, radius, held, path, digest))
    if not found:
        raise DataError(nothing_readable(skipped))
    answers, predicted, certain, held, paths, digests = zip(*found, strict=True)
    attacked = {radius: torch.tensor([one[radius] for one in held]) for radius in held[0]}
    return Certificates(
        model,
        smoothing,
        answers,
        torch.tensor(predicted),
        torch.tensor(certain, dtype=torch.float64),
        attacked,
        paths,
        digests,
        tuple(skipped),
    )


def _images(
    model: VisionModel, images: Images, session: Session, skipped: list[Skipped], limit: int | None
) -> Iterator[tuple[frozenset[int], Tensor, Path, bytes]]:
    """What is right for each image, its pixels as an 8-bit file holds them, its path and digest."""
    for batch in read(model, images, session, batch_size=16, limit=limit, text="certifying"):
        skipped += batch.skipped
        if not batch.rows:
            continue
        pixels = (batch.pixels * 255).round() / 255
        own = forward(model, pixels, session).argmax(1).tolist()
        for answer, label, image, path, digest in zip(batch.answers, own, pixels, batch.paths, batch.digests):
            yield answer or frozenset({label}), image, path, digest


@dataclass(frozen=True)
class _Attack:
    """PGD on the smoothed classifier, from the smallest radius to the largest."""

    model: VisionModel
    smoothing: Smoothing
    radii: tuple[float, ...]
    steps: int
    session: Session

    def __call__(
        self, pixels: Tensor, answer: frozenset[int], predicted: int, digest: bytes, batch_size: int
    ) -> dict[float, bool]:
        """Whether the classifier is still right at each radius; once lost, always lost."""
        right = predicted in answer
        held: dict[float, bool] = {}
        for radius in self.radii:
            right = right and self._withstands(pixels, predicted, radius, digest, batch_size)
            held[radius] = right
        return held

    def _withstands(self, pixels: Tensor, label: int, radius: float, digest: bytes, batch_size: int) -> bool:
        rng = self.session.rng("smoothing-attack", digest.hex(), str(radius))
        target = self.smoothing.averaged(self.model, _DRAWS, rng)
        image = pixels[None].to(self.model.device)
        method = PGDL2(radius=radius, steps=self.steps, step_size=2.5 / self.steps, stop_early=False)
        changed = method(target, image, Untargeted(torch.tensor([label], device=image.device)), rng=rng).clamp(0, 1)
        if distance(changed, image, "l2").item() > radius * (1 + 1e-4):
            return True  # rounding to grey levels left the ball: no valid example
        count, session = self.smoothing.samples, self.session
        votes = self.smoothing.votes(self.model, changed[0], count, rng, session=session, batch_size=batch_size)
        return self.smoothing.decide(votes) in (label, ABSTAINED)
