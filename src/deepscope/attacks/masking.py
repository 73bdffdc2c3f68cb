"""Signs of masked gradients: whether a network is robust, or only hard for attacks that follow gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.attacks.base import Attack
from deepscope.attacks.counting import counted
from deepscope.attacks.levels import to_pixels
from deepscope.attacks.outcome import Outcome, run_attack
from deepscope.attacks.pgd import FGSM, PGD
from deepscope.attacks.scale import Rescaled, spread
from deepscope.attacks.square import Square
from deepscope.attacks.subjects import Subjects, read_subjects, under_attack
from deepscope.inputs import Images
from deepscope.models import VisionModel
from deepscope.models.capabilities import GRADIENTS, require
from deepscope.models.known_gradients import with_known_gradients
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion

_RANDOM = 1e-3
"""By how much the logits of one image may differ from pass to pass, as a share of their spread."""


@dataclass(frozen=True)
class Sign:
    """One sign that gradients are masked.

    Attributes:
        name: as tables and metrics call it.
        share: the share of images that show it, with its 95 % Wilson interval.
        threshold: the sign counts where the whole interval lies above this share.
        meaning: what it says of the network, as a sentence.
    """

    name: str
    share: Estimate
    threshold: float
    meaning: str

    @property
    def found(self) -> bool:
        """Whether more images show it than chance explains."""
        return self.share.low > self.threshold


@dataclass(frozen=True)
class Masking:
    """Whether the robustness that attacks measure is real.

    Attributes:
        signs: what was looked for (Athalye et al. 2018, arXiv:1802.00420; Carlini et al. 2019, arXiv:1902.06705).
        images: how many images were attacked.
        radius: largest change of a channel, pixels in [0, 1].
    """

    signs: tuple[Sign, ...]
    images: int
    radius: float

    @property
    def verdict(self) -> Literal["pass", "warn"]:
        """ "warn" where at least one sign was found. A pass proves nothing: other ways to hide gradients exist."""
        return "warn" if any(sign.found for sign in self.signs) else "pass"


def gradient_masking(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    *,
    radius: float = 4 / 255,
    steps: int = 20,
    queries: int = 200,
    target: str | int | None = None,
    limit: int | None = 32,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Masking:
    """Look for signs that gradients are masked, so that an attack's failure does not show robustness.

    Args:
        model: a network with gradients.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        radius: largest change of a channel, pixels in [0, 1].
        steps: gradient steps of PGD.
        queries: of Square, per image that withstood PGD.
        target: of a model with several labels per image, the label to attack.
        limit: most images to use, drawn at random.
        batch_size: images per batch; the result does not depend on it.
        seed: of all randomness.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        UnsupportedError: the model has no gradients.
        DataError: no image could be read, or the model gets none right.

    Example:
        >>> import deepscope as ds
        >>> cat = ds.data.photographs.bundled("chelsea.png")
        >>> ds.attacks.gradient_masking(ds.load_model("efficientnet_lite0"), cat, steps=5).verdict
        'pass'
    """
    model = with_known_gradients(model)
    require(model, "gradient_masking", GRADIENTS, family=Attack)
    model, _ = under_attack(model, target)
    session = Session.of(session, device=model.device, seed=seed)
    subjects = read_subjects(model, images, session, batch_size=batch_size, limit=limit)
    subjects.require_some(model)
    return signs_of(model, subjects, session, radius=radius, steps=steps, queries=queries, batch_size=batch_size)


def signs_of(
    model: VisionModel,
    subjects: Subjects,
    session: Session,
    *,
    radius: float,
    steps: int,
    queries: int,
    batch_size: int = 16,
) -> Masking:
    """`gradient_masking` of images that the model is known to get right; any other class counts as a success."""

    def run(attack: Attack, among: Subjects, name: str) -> Outcome:
        return run_attack(attack, model, among, session, batch_size=batch_size, rng=session.rng("masking", name))

    count = len(subjects)
    streams = Streams.split(session.rng("masking", "signs"), count)
    local = [_local(model, subjects, rows, radius, streams) for rows in torch.arange(count).split(batch_size)]
    vanished, random, misled = (torch.cat(parts) for parts in zip(*local, strict=True))
    one, many = run(FGSM(radius), subjects, "fgsm"), run(PGD(radius, steps=steps), subjects, "pgd")
    single, several = torch.tensor(one.successes()), torch.tensor(many.successes())
    held = (~several).nonzero().flatten().tolist()
    squares = run(Square(radius, queries=queries), subjects[held], "square").successes() if held else []
    unbounded = run(PGD(1.0, steps=2 * steps), subjects, "unbounded").successes()

    def sign(name: str, shown: int, threshold: float, meaning: str) -> Sign:
        return Sign(name, proportion(shown, count), threshold, meaning)

    return Masking(
        (
            sign("vanishing-gradients", int(vanished.sum()), 0.05, "The gradient of the loss is zero or not finite."),
            sign("random-answers", int(random.sum()), 0.05, "The same image gets other scores when it is asked again."),
            sign(
                "misleading-gradients",
                int(misled.sum()),
                0.2,
                "A step along the sign of the gradient raises the loss no more than a step along random signs.",
            ),
            sign("one-step-beats-many", int((single & ~several).sum()), 0.05, "FGSM succeeds where PGD fails."),
            sign(
                "black-box-beats-white-box",
                sum(squares),
                0.02,
                "Square, which needs no gradients, succeeds where PGD fails.",
            ),
            sign(
                "unbounded-attack-fails",
                count - sum(unbounded),
                0.05,
                "PGD fails although it may change every pixel to any value.",
            ),
        ),
        count,
        radius,
    )


def _local(
    model: VisionModel, subjects: Subjects, rows: Tensor, radius: float, streams: Streams
) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) each, of some rows (n,): whether the gradient vanishes, scores are random, and random signs are as good."""
    pixels, criterion = to_pixels(subjects.levels[rows], model), subjects.criterion[rows].to(model.device)
    places, rescaled = torch.arange(len(pixels), device=pixels.device), Rescaled(pixels)
    watched, cost = counted(model, pixels)
    with torch.enable_grad():
        points = pixels.clone().requires_grad_()
        first = watched(points)
        loss = criterion.cross_entropy(rescaled(first, places))
        (gradient,) = torch.autograd.grad(loss.sum(), points)
    first, vanished = first.detach(), cost.vanished
    with torch.no_grad():
        apart = (model(pixels) - first).abs().amax(1)
        random = apart > _RANDOM * spread(first).clamp_min(torch.finfo(first.dtype).tiny)

        def raised(signs: Tensor) -> Tensor:
            logits = model((pixels + radius * signs).clamp(0, 1))
            return criterion.margin(rescaled(logits, places))

        along = raised(gradient.sign())
        chance = [raised(streams.normal(rows, *pixels.shape[1:]).sign().to(pixels)) for _ in range(3)]
        misled = ~vanished & (along <= torch.stack(chance).amax(0))
    return vanished.cpu(), random.cpu(), misled.cpu()
