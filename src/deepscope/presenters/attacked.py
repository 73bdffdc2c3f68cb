"""Parts shared by the presenters of attacks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from deepscope.attacks import AdversarialExamples, Attack, AttackEvaluation, Subjects
from deepscope.attacks.evaluator import Ranked
from deepscope.models import VisionModel
from deepscope.models.capabilities import works
from deepscope.presenters.shown import origin
from deepscope.results import Bars, Note, Picture, Provenance


def difference(original: Tensor, saved: Tensor) -> tuple[Picture, int]:
    """The change (3, H, W) of uint8 images around grey, and the factor by which it is magnified, the largest one."""
    change = saved.int() - original.int()
    factor = max(1, 127 // max(1, int(change.abs().max())))
    shown = (127 + factor * change).clamp(0, 255).byte()
    return Picture(shown.permute(1, 2, 0).contiguous().numpy(), caption=f"difference x {factor}"), factor


def changed_places(original: Tensor, saved: Tensor, *, most: int = 12) -> tuple[tuple[float, float], ...]:
    """(x, y) of the changed pixels, where they are few enough to be marked."""
    y, x = (saved != original).any(0).nonzero(as_tuple=True)
    return tuple(zip(x.tolist(), y.tolist())) if len(x) <= most else ()


def as_picture(levels: Tensor, *, caption: str = "", points: tuple[tuple[float, float], ...] = ()) -> Picture:
    """(3, H, W) uint8 -> a picture."""
    return Picture(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()), caption=caption, points=points)


def as_bars(model: VisionModel, ranked: Ranked, label: int) -> Bars:
    """The most probable classes, the true one highlighted."""
    classes, probabilities = zip(*ranked)
    return Bars(
        labels=tuple(model.categories[index] for index in classes),
        values=probabilities,
        mark=classes.index(label) if label in classes else None,
    )


def vanished_notes(vanished: Tensor, *, gradients: bool = True, method: str = "") -> tuple[Note, ...]:
    """A warning that an attack is not informative for some of (N,) images; none where it is for all.

    Args:
        vanished: see `Outcome`.
        gradients: whether the attack takes gradients, or else compares scores.
        method: the attack's name, where a page holds several.
    """
    count, total = int(vanished.sum()), len(vanished)
    if not count:
        return ()
    bound = "fails there whether or not the network is robust: the accuracy under attack is an upper bound."
    if gradients:
        title = "Gradients vanish"
        said = (
            f"The gradients of {count} of {total} images vanish (they are zero or not finite). An attack that follows "
        )
        said += f"them {bound} Try a black-box attack, which needs no gradients: square, boundary or one-pixel."
    else:
        title = "Scores do not change"
        said = f"For {count} of {total} images the network returns the same scores in every query. An attack that "
        said += f"compares them {bound} Attack the network without its last softmax or sigmoid."
    return (Note(said, f"{title}{f' under {method}' if method else ''}", "warning"),)


def instead_of_gradients(model: VisionModel, used: str) -> tuple[Note, ...]:
    """What took the place of attacks that follow gradients, and what else could; nothing for a model that has them.

    Args:
        model: the network under attack.
        used: the name of the attack, which compares scores.
    """
    if model.capabilities.gradients:
        return ()
    others = [name for name, attack in Attack.members().items() if works(attack, model) and name != used]
    because = f" ({model.capabilities.reason})" if model.capabilities.reason else ""
    text = (
        f"{model.name} gives no gradients{because}: it was attacked with {used}, which only compares scores, and signs "
        f"of masked gradients cannot be looked for. Other attacks that need scores or decisions alone: "
        f"{', '.join(others)}."
    )
    return (Note(text, "No gradients"),)


def origin_of(models: Iterable[VisionModel], found: AdversarialExamples | AttackEvaluation | Subjects) -> Provenance:
    """The models, and all images that were used: those attacked, those learnt from, those misclassified."""
    paths, digests = [*found.paths], [*found.digests]
    subjects = found.subjects if isinstance(found, AdversarialExamples) else found
    if isinstance(subjects, Subjects) and subjects.learn_from is not None:
        paths += subjects.learn_from.paths
        digests += subjects.learn_from.digests
    paths += [image.path for image in found.misclassified]
    digests += [image.digest for image in found.misclassified]
    return origin(models, paths, digests)
