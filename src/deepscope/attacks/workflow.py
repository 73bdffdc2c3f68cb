"""Attack images: adversarial examples of any images, each evaluated as the 8-bit image that it is saved as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.attacks.base import Attack, Shared
from deepscope.attacks.evaluator import Verdict, write
from deepscope.attacks.levels import to_pixels
from deepscope.attacks.outcome import Outcome, run_attack
from deepscope.attacks.subjects import (
    OfSubjects,
    Subjects,
    aim,
    divide,
    files_in,
    read_subjects,
    under_attack,
)
from deepscope.attacks.watch import Trace, watch
from deepscope.errors import FileError
from deepscope.inputs import Images
from deepscope.models import VisionModel
from deepscope.models.known_gradients import with_known_gradients
from deepscope.render import drafts
from deepscope.session import Session
from deepscope.settings import FigureFormat

FOLDER = "adversarial"
"""The folder of the images, in the folder of a result."""


@dataclass(frozen=True, eq=False)
class AdversarialExamples(OfSubjects):
    """The adversarial examples that an attack made of N images.

    Attributes:
        model: the network under attack; of one with several labels per image, the attacked label alone.
        method: the attack.
        target: the class that was aimed at, as it was given; None for any but the true one.
        subjects: the images that were attacked, and those that were left out.
        outcome: the examples, what succeeded and what it cost.
        trace: the attack on the first image, query by query, where that was asked for.
    """

    model: VisionModel
    method: Attack
    target: str | int | None
    subjects: Subjects
    outcome: Outcome
    trace: Trace | None = None

    @property
    def images(self) -> Tensor:
        """(N, 3, H, W) uint8, as saved."""
        return self.outcome.images

    @property
    def pixels(self) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1], as read back from the saved images."""
        return self.images.float().div(255)

    @property
    def success(self) -> Tensor:
        """(N,) bool: whether the saved image meets the criterion, within the attack's radius."""
        return torch.tensor(self.outcome.successes(), dtype=torch.bool)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was measured of each image: classes, probabilities and distances."""
        return self.outcome.verdicts[-1]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image: classes and probabilities before and after, success, distances and cost."""
        fields = ("true_before", "true_after", "target_before", "target_after", "l0", "l2", "linf", "ssim")
        return {
            "image": [str(path) for path in self.paths],
            "before": [self.model.categories[verdict.before] for verdict in self.verdicts],
            "after": [self.model.categories[verdict.after] for verdict in self.verdicts],
            "success": self.success.tolist(),
            **{field: self.outcome.values(field, of_successes=False) for field in fields},
            "queries": self.outcome.queries.tolist(),
            "gradients": self.outcome.gradients.tolist(),
            "vanished": self.outcome.vanished.tolist(),
        }

    def save(self, folder: str | Path, *, figure_format: FigureFormat = "png") -> Path:
        """Write result.json, arrays and figures into a folder, and the images as PNG into `adversarial/` below it.

        Args:
            folder: made where it does not exist.
            figure_format: "svg" or "pdf" writes each figure in this format too, beside the PNG.

        Returns:
            the folder.

        Raises:
            FileError: the folder cannot be written to.
        """
        folder = Path(folder)
        try:
            with drafts(folder) as scratch:
                for levels, name in zip(self.images, self.names, strict=True):
                    write(levels, scratch / FOLDER / name)
        except OSError as error:
            reason = error.strerror or str(error)
            raise FileError(f"cannot write to {folder} ({reason}): name another folder", path=folder) from None
        return super().save(folder, figure_format=figure_format)


def attack(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    method: Attack | str = "pgd",
    *,
    target: str | int | None = None,
    save_to: str | Path | None = None,
    trace: bool = False,
    limit: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> AdversarialExamples:
    """Change images until a model classifies them as something else.

    Every example is clipped, rounded to 8 bits, encoded as PNG, decoded and classified; only then it counts. An image
    that the model gets wrong without any attack is listed and not attacked; where nothing says what an image shows,
    the model's prediction counts as the truth. A shared attack (patch, universal) learns from a random half of the
    images and is evaluated on the other half.

    Args:
        model: the network under attack.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        method: an attack, or the name of one with its default settings.
        target: the class to be predicted, by name or number, or "random" for a random one per image; any but the true
            one by default. Of a model with several labels per image it is the label that is taken from images that
            show it and added to the others, and must be named.
        save_to: a folder for the examples, one PNG per image; they are then read back from these files. None encodes
            and decodes in memory, with the same outcome.
        trace: also record what the model is asked during the attack on the first image.
        limit: images to use, at most, drawn at random.
        batch_size: images attacked at once; the outcome does not depend on it.
        seed: of all randomness.
        session: device, precision and progress; its own seed counts where it is given.

    Returns:
        the examples, with what was measured of each.

    Raises:
        SettingError: a setting is out of range.
        ModelError: the model has no class layer.
        UnsupportedError: the method needs gradients, and the model gives none.
        DataError: no image could be read, or too few for a shared attack.
        FileError: the folder cannot be written to.

    Example:
        >>> import deepscope as ds
        >>> from deepscope.attacks import PGD, attack
        >>> cat = ds.data.photographs.bundled("chelsea.png")
        >>> fooled = attack(ds.load_model("efficientnet_lite0"), cat, PGD(radius=4 / 255), target="toaster")
        >>> fooled.images.shape, fooled.success.tolist()
        (torch.Size([1, 3, 224, 224]), [True])
    """
    method = Attack.of(method)
    model = with_known_gradients(model, [method])
    model, aimed = under_attack(model, target)
    session = Session.of(session, device=model.device, seed=seed)
    found = read_subjects(model, images, session, batch_size=batch_size, limit=limit)
    subjects = divide(method, aim(model, found, aimed, session), session)
    files = files_in(save_to, subjects)
    outcome = run_attack(method, model, subjects, session, files=files, batch_size=batch_size)
    seen = _trace(method, model, subjects, session) if trace and len(subjects) else None
    return AdversarialExamples(model, method, target, subjects, outcome, seen)


def _trace(method: Attack, model: VisionModel, subjects: Subjects, session: Session) -> Trace | None:
    """The attack on the first image; None for one that is learnt from many images."""
    if isinstance(method, Shared):
        return None
    criterion = subjects.criterion[torch.zeros(1, dtype=torch.long)].to(model.device)
    pixels = to_pixels(subjects.levels[:1], model)
    return watch(method, model, pixels, criterion, rng=session.rng("attack", method.name))
