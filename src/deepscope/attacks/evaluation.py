"""Evaluate attacks: success, distortion and cost over radii, behind simple defences, and on other networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from deepscope.attacks.base import Attack
from deepscope.attacks.conditions import Conditions, require_same_classes
from deepscope.attacks.defences import Defence
from deepscope.attacks.levels import logits
from deepscope.attacks.outcome import Outcome, run_attack
from deepscope.attacks.subjects import (
    Misclassified,
    Subjects,
    aim,
    divide,
    file_names,
    files_in,
    read_subjects,
    under_attack,
)
from deepscope.errors import SettingError
from deepscope.images import Skipped
from deepscope.inputs import Images
from deepscope.models import VisionModel
from deepscope.models.known_gradients import with_known_gradients
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion

METHODS = ("fgsm", "pgd", "deepfool", "ddn")

UNDEFENDED = "none"
"""The name of the network without a defence, beside the defences."""


@dataclass(frozen=True)
class Transfer:
    """How many examples that fool the attacked network also fool another one.

    Attributes:
        fooled: examples that meet the criterion there.
        usable: examples that meet it on the attacked network, and whose original the other network gets right.
    """

    fooled: int
    usable: int

    @property
    def share(self) -> Estimate:
        """The proportion, with its 95 % Wilson interval."""
        return proportion(self.fooled, self.usable)


@dataclass(frozen=True, eq=False)
class MethodEvaluation:
    """What one attack did.

    Attributes:
        attack: the method.
        examples: the first images that it was evaluated on, as many as were kept.
        outcome: what succeeded and what it cost; its `images` are the examples' adversarial images.
        right: for each defence, how many adversarial images are classified correctly behind it.
        transferred: for each other network, by name, how many examples transfer to it.
        files: the saved images, in the folder that was named.
    """

    attack: Attack
    examples: Subjects
    outcome: Outcome
    right: Mapping[str, int]
    transferred: Mapping[str, Transfer]
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.outcome)


@dataclass(frozen=True, eq=False)
class AttackEvaluation(Presented):
    """The robustness of a network to several attacks.

    Attributes:
        model: the network under attack.
        others: networks that the examples were transferred to.
        methods: what each attack did.
        right: for each defence, how many of the clean images are classified correctly behind it.
        paths: the files, or names, of the images that the network gets right.
        digests: SHA-256 of each.
        misclassified: images that it misclassifies without an attack.
        skipped: what could not be read, or already shows the target.
        at_target: how many images the network gets right and are not attacked, because they already show the target.
    """

    model: VisionModel
    others: tuple[VisionModel, ...]
    methods: tuple[MethodEvaluation, ...]
    right: Mapping[str, int]
    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]
    misclassified: tuple[Misclassified, ...]
    skipped: tuple[Skipped, ...]
    at_target: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def clean(self) -> Estimate:
        """Accuracy on all images without an attack."""
        right = len(self) + self.at_target
        return proportion(right, right + len(self.misclassified))

    def success(self, method: MethodEvaluation, place: int) -> Estimate:
        """The share of attacked images on which an attack succeeds, at a radius by its place: all that it gets right.

        With a target, these are the images of other classes.
        """
        return proportion(sum(method.outcome.successes(place)), len(method))

    def accuracy(self, method: MethodEvaluation, place: int) -> Estimate:
        """Accuracy under attack on all images, at a radius by its place.

        An image is wrong where this or a smaller radius led to any other class than the true one. Images that already
        show the target are not attacked, and are right.
        """
        # a shared attack is evaluated on a part of the images, and so is the same share of those not attacked
        wrong, kept = (round(count / len(self) * len(method)) for count in (len(self.misclassified), self.at_target))
        right = kept + len(method) - sum(method.outcome.misled(place))
        return proportion(right, kept + len(method) + wrong)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per attack and radius: success and accuracy with their intervals, median distances of successes."""
        rows = [self._row(method, place) for method in self.methods for place in range(len(method.outcome.radii))]
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}

    def _row(self, method: MethodEvaluation, place: int) -> dict[str, Any]:
        success, accuracy = self.success(method, place), self.accuracy(method, place)
        found = {field: method.outcome.values(field, place=place) for field in ("l0", "l2", "linf", "ssim")}
        return {
            "method": method.attack.name,
            "norm": method.attack.norm,
            "radius": method.outcome.radii[place],
            "images": len(method),
            "success": success.value,
            "success_low": success.low,
            "success_high": success.high,
            "accuracy": accuracy.value,
            "accuracy_low": accuracy.low,
            "accuracy_high": accuracy.high,
            **{field: median(values) if values else math.nan for field, values in found.items()},
            "queries": float(method.outcome.queries.mean()),
            "gradients": float(method.outcome.gradients.mean()),
        }


def evaluate_attacks(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    methods: Sequence[Attack | str] | Attack | str = METHODS,
    conditions: Conditions = Conditions(),
    *,
    target: str | int | None = None,
    save_to: str | Path | None = None,
    keep: int = 4,
    limit: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> AttackEvaluation:
    """Measure attacks: success, distortion and cost over radii, behind simple defences, and on other networks.

    Every example is evaluated as `attack` does. An image on which an attack succeeds at one radius is not attacked
    again at larger ones. Shared attacks (patch, universal) learn from a random half of the images and are evaluated on
    the other half.

    Args:
        model: the network under attack.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        methods: attacks, or names of attacks with their default settings; no two of the same name.
        conditions: radii, defences, and other networks.
        target: the class to be predicted, by name or number, or "random" for a random one per image; any but the true
            one by default. Of a model with several labels per image, the label to attack, which must be named.
        save_to: a folder for the examples, one PNG per image in a folder per method; None saves none.
        keep: most originals and examples that are returned per method, the first ones.
        limit: most images to use, drawn at random.
        batch_size: images per batch; the result does not depend on it.
        seed: of all randomness.
        session: device, precision and progress; its own seed counts where it is given.

    Returns:
        what each attack did, as counts, measurements of each image, and the first examples.

    Raises:
        SettingError: a setting is out of range, or a network has other classes.
        ModelError: the model has no class layer.
        UnsupportedError: a method needs gradients, and the model gives none.
        DataError: no image could be read, the model gets none right, or there are too few for a shared attack.
        FileError: the folder cannot be written to.

    Example:
        >>> import deepscope as ds
        >>> from deepscope.attacks import Conditions, evaluate_attacks
        >>> cat = ds.data.photographs.bundled("chelsea.png")
        >>> found = evaluate_attacks(ds.load_model("efficientnet_lite0"), cat, "fgsm", Conditions([1 / 255, 4 / 255]))
        >>> [len(one) for one in found.methods], found.methods[0].outcome.radii == (1 / 255, 4 / 255)
        ([1], True)
    """
    attacks = as_attacks(methods)
    model = with_known_gradients(model, attacks)
    by_norm, transfer_to = conditions.by_norm(), conditions.transfer_to
    require_same_classes(model, transfer_to)
    transfer_to = [under_attack(other, target)[0] for other in transfer_to]
    model, target = under_attack(model, target)
    session = Session.of(session, device=model.device, seed=seed)
    found = read_subjects(model, images, session, batch_size=batch_size, limit=limit)
    found.require_some(model)
    found = aim(model, found, target, session)
    defended = {UNDEFENDED: None, **conditions.defences} if conditions.defences else {}
    right_there = {other.name: _right(other, found, session) for other in transfer_to}

    def run(attack: Attack) -> MethodEvaluation:
        subjects = divide(attack, found, session)
        folder = None if save_to is None else Path(save_to) / attack.name
        files = files_in(folder, subjects)
        outcome = run_attack(
            attack, model, subjects, session, radii=by_norm[attack.norm], files=files, batch_size=batch_size
        )
        transferred = {}
        for other in transfer_to:
            known = right_there[other.name] if subjects is found else _right(other, subjects, session)
            transferred[other.name] = _transfer(other, subjects, outcome, known, session)
        return MethodEvaluation(
            attack,
            replace(subjects[range(min(keep, len(subjects)))], learn_from=None),
            outcome.keeping(keep),
            _behind(model, outcome.images, subjects.labels, defended, session),
            transferred,
            tuple(Path(attack.name, name) for name in file_names(subjects.paths)) if files else (),
        )

    return AttackEvaluation(
        model,
        tuple(transfer_to),
        tuple(run(attack) for attack in attacks),
        _behind(model, found.levels, found.labels, defended, session),
        found.paths,
        found.digests,
        found.misclassified,
        found.skipped,
        found.at_target,
    )


def as_attacks(methods: Sequence[Attack | str] | Attack | str) -> list[Attack]:
    """The attacks that were named, each once. Raises SettingError where there is none, or two have one name."""
    given = [methods] if isinstance(methods, (Attack, str)) else methods
    attacks = list(dict.fromkeys(map(Attack.of, given)))
    if not attacks:
        raise SettingError("methods", "must name at least one attack")
    names = [attack.name for attack in attacks]
    if twice := [name for row, name in enumerate(names) if name in names[:row]]:
        raise SettingError("methods", f"must not name {twice[0]} twice, with different settings")
    return attacks


def _right(model: VisionModel, subjects: Subjects, session: Session) -> Tensor:
    """(N,) whether a network classifies the original images correctly."""
    return logits(model, subjects.levels, session).argmax(1) == subjects.labels


def _behind(
    model: VisionModel, levels: Tensor, labels: Tensor, defences: Mapping[str, Defence | None], session: Session
) -> dict[str, int]:
    """For each defence, how many images the defended network classifies correctly."""
    return {
        name: int((logits(model, levels, session, defence=defence).argmax(1) == labels).sum())
        for name, defence in defences.items()
    }


def _transfer(other: VisionModel, subjects: Subjects, outcome: Outcome, right: Tensor, session: Session) -> Transfer:
    usable = torch.tensor(outcome.successes()) & right
    fooled = subjects.criterion.met(logits(other, outcome.images, session)) & usable
    return Transfer(int(fooled.sum()), int(usable.sum()))
