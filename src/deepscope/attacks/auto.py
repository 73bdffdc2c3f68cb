"""`worst_case`: the standard sequence of strong attacks, each on the images that withstood those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from deepscope.attacks.adaptive import averaged
from deepscope.attacks.auto_pgd import AutoPGD
from deepscope.attacks.base import RADII_BY_NORM, Attack
from deepscope.attacks.evaluator import Verdict
from deepscope.attacks.fab import FAB
from deepscope.attacks.outcome import run_attack
from deepscope.attacks.square import Square
from deepscope.attacks.subjects import OfSubjects, Subjects, aim, files_in, read_subjects, under_attack
from deepscope.errors import SettingError
from deepscope.inputs import Images
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, SCORES, require, works
from deepscope.models.known_gradients import with_known_gradients
from deepscope.session import Session
from deepscope.settings import LINF_RADIUS, Range
from deepscope.statistics import Estimate, proportion

BallNorm = Literal["linf", "l2", "l1"]


@dataclass(frozen=True)
class Strength:
    """How hard the sequence tries; the defaults are the published protocol's.

    Attributes:
        steps: gradient steps of each start of AutoPGD, and projections per class of FAB.
        targets: classes that the targeted attacks aim at, the most probable first.
        queries: of Square, per image.
    """

    steps: int = 100
    targets: int = 9
    queries: int = 5000


@dataclass(frozen=True)
class Stage:
    """What one attack of the sequence added.

    Attributes:
        name: as tables and metrics call it.
        attack: the method and its settings.
        tried: images that withstood the stages before.
        misled: how many of them it misled.
        queries, gradients: mean per tried image.
        vanished: images that withstood it and whose gradients vanish or whose scores never change.
    """

    name: str
    attack: Attack
    tried: int
    misled: int
    queries: float
    gradients: float
    vanished: int


@dataclass(frozen=True, eq=False)
class WorstCase(OfSubjects):
    """The worst case over a sequence of attacks within one radius.

    Attributes:
        model: the network under attack; of one with several labels per image, the attacked label alone.
        norm, radius: the changes that are allowed, pixels in [0, 1].
        draws: forward passes that were averaged per query.
        stages: what each attack added, in order.
        subjects: the images that were attacked, and those that were left out.
        images: (N, 3, H, W) uint8, as saved: the example that misled the network, or the last one that did not.
        verdicts: one per image, of that example.
        by: for each image, the name of the stage that misled the network; empty where it withstood all.
    """

    model: VisionModel
    norm: BallNorm
    radius: float
    draws: int
    stages: tuple[Stage, ...]
    subjects: Subjects
    images: Tensor
    verdicts: tuple[Verdict, ...]
    by: tuple[str, ...]

    @property
    def success(self) -> Tensor:
        """(N,) bool: whether any attack succeeded, evaluated from the saved image."""
        return torch.tensor([bool(name) for name in self.by], dtype=torch.bool)

    @property
    def clean(self) -> Estimate:
        """Accuracy on all images without an attack."""
        right = len(self) + self.subjects.at_target
        return proportion(right, right + len(self.misclassified))

    @property
    def robust(self) -> Estimate:
        """Accuracy on all images in the worst case over the attacks."""
        total = len(self) + self.subjects.at_target + len(self.misclassified)
        return proportion(total - len(self.misclassified) - int(self.success.sum()), total)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image: classes before and after, the stage that misled the network, and distances."""
        return {
            "image": [str(path) for path in self.paths],
            "before": [self.model.categories[verdict.before] for verdict in self.verdicts],
            "after": [self.model.categories[verdict.after] for verdict in self.verdicts],
            "by": list(self.by),
            **{norm: [verdict.distance(norm) for verdict in self.verdicts] for norm in ("linf", "l2", "l1")},
        }


def worst_case(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    *,
    norm: BallNorm = "linf",
    radius: float | None = None,
    strength: Strength = Strength(),
    draws: int = 1,
    target: str | int | None = None,
    save_to: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> WorstCase:
    """Accuracy in the worst case over strong attacks (the standard protocol of Croce and Hein 2020, arXiv:2003.01690).

    AutoPGD on cross-entropy, AutoPGD on the targeted difference of logits ratio, targeted FAB and Square follow each
    other. Each attacks the images that withstood those before it, so an image counts as misled where any of them
    succeeds. Every example is saved as an 8-bit image, read back and classified before it counts. A model without
    gradients is attacked by Square alone.

    Args:
        model: the network under attack.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        norm: in which the change is bounded: "linf", "l2" or "l1".
        radius: largest length of the change, pixels in [0, 1]; by default 4/255 in Linf, 1 in L2, 12 in L1.
        strength: steps, targets and queries.
        draws: forward passes to average per query, for a model that draws random numbers; see `averaged`.
        target: the class to be predicted, by name or number, or "random"; any but the true one by default. Of a model
            with several labels per image, the label to attack, which must be named.
        save_to: a folder for the examples, one PNG per image; None encodes and decodes in memory.
        limit: most images to use, drawn at random.
        batch_size: images attacked at once; the outcome does not depend on it.
        seed: of all randomness.
        session: device, precision and progress; its own seed counts where it is given.

    Returns:
        what each stage added, and the last example of each image.

    Raises:
        SettingError: a setting is out of range.
        ModelError: the model has no class layer.
        DataError: no image could be read, or the model gets none right.
        FileError: the folder cannot be written to.

    Example:
        >>> import deepscope as ds
        >>> from deepscope.attacks import Strength, worst_case
        >>> cat = ds.data.photographs.bundled("chelsea.png")
        >>> found = worst_case(ds.load_model("efficientnet_lite0"), cat, radius=4 / 255, strength=Strength(steps=5))
        >>> found.by
        ('auto-pgd',)
    """
    if norm not in RADII_BY_NORM:
        raise SettingError("norm", "must be linf, l2 or l1", got=norm)
    radius = RADII_BY_NORM[norm] if radius is None else radius
    (LINF_RADIUS if norm == "linf" else Range(above=True)).check("radius", radius)
    planned = standard(norm, radius, strength)
    require(model, "attack auto", SCORES | RGB)
    model = with_known_gradients(model)
    sequence = {name: attack for name, attack in planned.items() if works(attack, model)}
    session = Session.of(session, device=model.device, seed=seed)
    model, target = under_attack(averaged(model, draws, seed=session.seed), target)
    found = read_subjects(model, images, session, batch_size=batch_size, limit=limit)
    found.require_some(model)
    found = aim(model, found, target, session)
    files = files_in(save_to, found)
    latest, by = found.levels.clone(), [""] * len(found)
    verdicts: dict[int, Verdict] = {}
    stages: list[Stage] = []
    for name, attack in sequence.items():
        rows = [row for row, misled in enumerate(by) if not misled]
        if not rows:
            stages.append(Stage(name, attack, 0, 0, 0.0, 0.0, 0))
            continue
        outcome = run_attack(
            attack,
            model,
            found[rows],
            session,
            radii=(radius,),
            files=None if files is None else [files[row] for row in rows],
            batch_size=batch_size,
            rng=session.rng("attack", name),
        )
        won = outcome.successes(0)
        for place, row in enumerate(rows):
            verdicts[row], latest[row] = outcome.verdicts[0][place], outcome.images[place]
            by[row] = name if won[place] else ""
        cost = (float(outcome.queries.mean()), float(outcome.gradients.mean()))
        stages.append(Stage(name, attack, len(rows), sum(won), *cost, int(outcome.vanished.sum())))
    in_order = tuple(verdicts[row] for row in range(len(found)))
    return WorstCase(model, norm, radius, draws, tuple(stages), found, latest, in_order, tuple(by))


def standard(norm: BallNorm, radius: float, strength: Strength = Strength()) -> dict[str, Attack]:
    """The attacks of the protocol, in order, by the names that tables and metrics use."""
    steps, targets = strength.steps, strength.targets
    ratio = AutoPGD("logit-ratio", radius, steps=steps, norm=norm, targets=targets)
    return {
        "auto-pgd": AutoPGD("cross-entropy", radius, steps=steps, norm=norm),
        "auto-pgd-targeted": ratio,
        "fab": FAB(norm=norm, steps=steps, targets=targets, enough=radius),
        "square": Square(radius, queries=strength.queries, first=0.8, norm=norm),
    }
