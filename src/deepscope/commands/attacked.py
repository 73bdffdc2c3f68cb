"""Which images an attack may be tried on, and what the two attack commands show of the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deepscope import images
from deepscope.attacks.attack import Attack, Shared
from deepscope.attacks.defences import Defence
from deepscope.attacks.evaluation import to_levels, to_pixels
from deepscope.attacks.goals import Goal, Targeted, Untargeted
from deepscope.attacks.judge import Verdict
from deepscope.errors import DeepscopeError
from deepscope.inputs import right_answers
from deepscope.models import VisionModel, load_model
from deepscope.models.prediction import forward, nothing_readable
from deepscope.results import Note, Picture
from deepscope.session import Session


@dataclass(frozen=True)
class Subjects:
    """Images that a model classifies correctly, and those that it does not.

    Attributes:
        paths: files of the N images that it gets right, or whose truth is not known.
        levels: (N, 3, H, W) uint8 as the model sees them.
        labels: (N,) the class that counts as the truth: the prediction, which is right or, where nothing says what
            the image shows, taken as right.
        misclassified: files that the model gets wrong without any attack; there is nothing to attack in them.
        skipped: what could not be read.
    """

    paths: tuple[Path, ...]
    levels: Tensor
    labels: Tensor
    misclassified: tuple[tuple[Path, int], ...]
    skipped: tuple[images.Skipped, ...]

    def __getitem__(self, rows: Sequence[int]) -> Subjects:
        """Some of the correct images."""
        index = torch.tensor(rows, dtype=torch.long)
        return Subjects(tuple(self.paths[row] for row in rows), self.levels[index], self.labels[index], (), ())


def subjects(
    model: VisionModel,
    named: Sequence[str | Path],
    session: Session,
    *,
    batch_size: int,
    limit: int | None = None,
    below: Sequence[str | Path] = (),
) -> Subjects:
    """Read and classify the images below the named files and folders, or at most `limit` of them, drawn at random.

    Args:
        model: a classifier.
        named: image files and folders.
        session: the seed of the draw.
        batch_size: images per forward pass.
        limit: how many, at most.
        below: folders of class folders that named files come from.

    Raises:
        DeepscopeError: the model has no class layer, or nothing could be read.
    """
    model.require_classes()
    found = images.find(named)
    files = session.some(found.paths, limit)
    exact = replace(session, precision="float32")  # as the judge classifies: else an image that is wrong counts as won
    levels, predicted, rows, skipped = [], [], [], list(found.skipped)
    for batch in images.stream(files, model.preprocessing, batch_size=batch_size):
        skipped.extend(batch.skipped)
        if batch.rows:
            rows.extend(batch.rows)
            levels.append(to_levels(batch.pixels))
            predicted.append(forward(model, batch.pixels, exact).argmax(1))
    if not rows:
        raise DeepscopeError(nothing_readable(skipped))
    paths, classes = [files[row] for row in rows], torch.cat(predicted)
    answers = right_answers(model, paths, [*named, *below])
    right = [i for i, answer in enumerate(answers) if not answer or int(classes[i]) in answer]
    wrong = tuple((paths[i], int(classes[i])) for i in range(len(paths)) if i not in set(right))
    kept = torch.tensor(right, dtype=torch.long)
    return Subjects(tuple(paths[i] for i in right), torch.cat(levels)[kept], classes[kept], wrong, tuple(skipped))


def aim(model: VisionModel, found: Subjects, target: str | None, session: Session) -> tuple[Subjects, Goal]:
    """The goal for each image: away from its label, to the named class, or to a random other one ("random").

    Returns:
        the images to attack, without those that already are the named class (they are listed as skipped), and the goal.

    Raises:
        DeepscopeError: no class has that name, or every image already is the target.
    """
    if target is None:
        return found, Untargeted(found.labels)
    if target == "random":
        shift = torch.randint(1, len(model.categories), (len(found.labels),), generator=session.rng("targets"))
        return found, Targeted((found.labels + shift) % len(model.categories))
    wanted = model.category(target)
    reason = f"already is {model.categories[wanted]!r}, the target"
    others = (found.labels != wanted).nonzero().flatten().tolist()
    same = [path for path, label in zip(found.paths, found.labels.tolist()) if label == wanted]
    if same and not others:
        raise DeepscopeError(f"{same[0].name} {reason}: give another --target, or leave it out")
    if same:
        skipped = (*found.skipped, *(images.Skipped(str(path), reason) for path in same))
        found = replace(found[others], misclassified=found.misclassified, skipped=skipped)
    return found, Targeted(torch.full_like(found.labels, wanted))


def division(
    attack: Attack, found: Subjects, goal: Goal, session: Session
) -> tuple[Subjects, Goal, tuple[Tensor, Goal] | None]:
    """The images to judge with their goal, and what a shared attack learns from: a random half that is not judged.

    Raises:
        DeepscopeError: there is one image, and a shared attack needs others to learn from.
    """
    if not isinstance(attack, Shared) or not found.paths:
        return found, goal, None
    count = len(found.paths)
    if count < 2:
        raise DeepscopeError(f"{attack.name} learns from some images and is judged on others: give at least 2")
    order = torch.randperm(count, generator=session.rng("division")).tolist()
    learn, rows = sorted(order[: count // 2]), sorted(order[count // 2 :])
    judged = replace(found[rows], misclassified=found.misclassified, skipped=found.skipped)
    return judged, goal[torch.tensor(rows)], (found.levels[learn], goal[torch.tensor(learn)])


def another(model: VisionModel, name: str, session: Session) -> VisionModel:
    """The network of that name, to show examples to that were made against `model`.

    Raises:
        DeepscopeError: there is no such network, or it knows other classes.
    """
    other = load_model(name, session)
    if other.categories != model.categories:
        raise DeepscopeError(f"{other.name} knows other classes than {model.name}: give a network of the same classes")
    return other


def logits(model: VisionModel, levels: Tensor, session: Session, *, clean: Defence | None = None) -> Tensor:
    """(N, classes) for (N, 3, H, W) uint8 images, cleaned first and brought to the size that the model takes."""
    return torch.cat([forward(model, _prepared(model, part, clean), session) for part in levels.split(32)])


def _prepared(model: VisionModel, levels: Tensor, clean: Defence | None) -> Tensor:
    pixels = to_pixels(levels, model)
    if clean is not None:
        pixels = clean(pixels)
    size = model.preprocessing.size
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def difference(original: Tensor, saved: Tensor) -> tuple[Picture, int]:
    """The change (3, H, W) of uint8 images around grey, magnified as far as its largest element allows."""
    change = saved.int() - original.int()
    factor = max(1, 127 // max(1, int(change.abs().max())))
    shown = (127 + factor * change).clamp(0, 255).byte()
    return Picture(shown.permute(1, 2, 0).contiguous().numpy(), caption=f"difference x {factor}"), factor


def changed_places(original: Tensor, saved: Tensor, *, most: int = 12) -> tuple[tuple[float, float], ...]:
    """(x, y) of the changed pixels, where they are few enough to be marked."""
    y, x = (saved != original).any(0).nonzero(as_tuple=True)
    return tuple(zip(x.tolist(), y.tolist())) if len(x) <= most else ()


def values(verdicts: Sequence[Verdict], field: str, *, of_successes: bool = True) -> list[float]:
    """One field of the verdicts, as a rule of the successes alone: a failed attack has no distance to speak of."""
    return [float(getattr(verdict, field)) for verdict in verdicts if verdict.success or not of_successes]


def vanished_notes(vanished: Tensor, *, gradients: bool = True, method: str = "") -> tuple[Note, ...]:
    """A warning that an attack proves nothing about some of (N,) images; none where it does about all.

    Args:
        vanished: see `Evaluation`.
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


def file_names(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Where to save each image: under its own name, numbered where names repeat."""
    stems = [path.stem for path in paths]
    unique = [stem if stems.count(stem) == 1 else f"{i:03d}-{stem}" for i, stem in enumerate(stems)]
    return [folder / f"{stem}.png" for stem in unique]


def as_picture(levels: Tensor, *, caption: str = "", points: tuple[tuple[float, float], ...] = ()) -> Picture:
    """(3, H, W) uint8 -> a picture."""
    return Picture(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()), caption=caption, points=points)
