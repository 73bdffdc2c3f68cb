"""The images that are attacked, the criterion of each, and where the results are saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope.attacks.base import Attack, Shared
from deepscope.attacks.criteria import Criterion, Targeted, Untargeted
from deepscope.attacks.levels import to_levels
from deepscope.errors import DataError, FileError, SettingError
from deepscope.images import Skipped
from deepscope.inputs import Images, nothing_readable, read
from deepscope.models import VisionModel
from deepscope.models.prediction import forward
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True)
class Misclassified:
    """An image that the model misclassifies without an attack.

    Attributes:
        path: its file, or name.
        predicted: the class that the model gives it.
        digest: SHA-256 of the file or image.
    """

    path: Path
    predicted: int
    digest: bytes


@dataclass(frozen=True, eq=False)
class Subjects:
    """N images that a model classifies correctly, and what counts as a success for each.

    Attributes:
        levels: (N, 3, H, W) uint8, as the model sees them.
        labels: (N,) the true classes: the predictions, which are right or, where nothing says what an image shows,
            taken as right.
        criterion: what counts as a success, one row per image.
        paths: the images' files, or names.
        digests: SHA-256 of each file or image.
        misclassified: images that the model gets wrong without any attack: there is nothing to attack in them.
        skipped: what was not attacked, and why: it could not be read, or already shows the target.
        learn_from: other images, which a shared attack learns from.
        at_target: how many images the model gets right and are not attacked, because they already show the target.
    """

    levels: Tensor
    labels: Tensor
    criterion: Criterion
    paths: tuple[Path, ...] = ()
    digests: tuple[bytes, ...] = ()
    misclassified: tuple[Misclassified, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    learn_from: Subjects | None = None
    at_target: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Sequence[int]) -> Subjects:
        """Some of the images, with what is known of all of them."""
        at = torch.tensor(rows, dtype=torch.long)
        return replace(
            self,
            levels=self.levels[at],
            labels=self.labels[at],
            criterion=self.criterion[at],
            paths=tuple(self.paths[row] for row in rows if self.paths),
            digests=tuple(self.digests[row] for row in rows if self.digests),
        )

    def require_some(self, model: VisionModel) -> None:
        """Raises DataError where there is no image."""
        if not len(self):
            raise DataError(f"{model.name} gets none of these images right: there is nothing to attack")


def read_subjects(
    model: VisionModel, given: Images, session: Session, *, batch_size: int = 16, limit: int | None = None
) -> Subjects:
    """Read and classify images. Any other class than the true one counts as a success.

    Args:
        model: a classifier.
        given: the images, in any form.
        session: progress, and the seed of the draw.
        batch_size: images per forward pass.
        limit: how many, at most, drawn at random.

    Raises:
        ModelError: the model has no class layer.
        DataError: no image could be read.
        SettingError: a setting is out of range.
    """
    model.require_classes()
    exact = replace(session, precision="float32")  # as the evaluator: or an image that is wrong counts as a success
    levels: list[Tensor] = []
    labels: list[Tensor] = []
    paths: list[Path] = []
    digests: list[bytes] = []
    wrong: list[Misclassified] = []
    skipped: list[Skipped] = []
    for batch in read(model, given, session, batch_size=batch_size, limit=limit):
        skipped += batch.skipped
        if not batch.rows:
            continue
        predicted = forward(model, batch.pixels, exact).argmax(1)
        right = [not answer or label in answer for label, answer in zip(predicted.tolist(), batch.answers, strict=True)]
        for path, label, digest, correct in zip(batch.paths, predicted.tolist(), batch.digests, right, strict=True):
            if correct:
                paths.append(path)
                digests.append(digest)
            else:
                wrong.append(Misclassified(path, label, digest))
        kept = torch.tensor(right)
        levels.append(to_levels(batch.pixels[kept]))
        labels.append(predicted[kept])
    if not levels:
        raise DataError(nothing_readable(skipped))
    classes = torch.cat(labels)
    return Subjects(
        torch.cat(levels), classes, Untargeted(classes), tuple(paths), tuple(digests), tuple(wrong), tuple(skipped)
    )


def under_attack(model: VisionModel, target: str | int | None) -> tuple[VisionModel, str | int | None]:
    """The classifier that is attacked, and its target: of a network with several labels per image one label alone.

    The label is then taken from images that show it, and added to the others: its probability crosses its threshold.

    Raises:
        SettingError: the network has several labels per image, and none of them is named.
    """
    if model.head.kind != "multilabel":
        return model, target
    if target is None or target == "random":
        raise SettingError("target", f"must name a label: {model.name} has several per image, attacked one by one")
    return model.for_label(model.category(target)), None


def aim(model: VisionModel, subjects: Subjects, target: str | int | None, session: Session) -> Subjects:
    """The images to attack, and what counts as a success: another class, the named one, or a random one ("random").

    Images that already show the named class are listed as skipped.

    Raises:
        UnknownNameError: no class has that name.
        SettingError: every image already shows the target.
    """
    if target is None:
        return subjects
    if target == "random":
        if len(model.categories) < 2:
            raise SettingError("target", f"cannot be random: {model.name} has a single class")
        shift = torch.randint(1, len(model.categories), (len(subjects),), generator=session.rng("targets"))
        return replace(subjects, criterion=Targeted((subjects.labels + shift) % len(model.categories)))
    wanted = model.category(target)
    reason = f"already is {model.categories[wanted]!r}, the target"
    aimed = replace(subjects, criterion=Targeted(torch.full_like(subjects.labels, wanted)))
    others = (subjects.labels != wanted).nonzero().flatten().tolist()
    same = [path for path, label in zip(subjects.paths, subjects.labels.tolist()) if label == wanted]
    if same and not others:
        raise SettingError("target", f"must be another class, or none: {same[0].name} {reason}")
    skipped = (*subjects.skipped, *(Skipped(str(path), reason) for path in same))
    return replace(aimed[others], skipped=skipped, at_target=len(same))


def divide(attack: Attack, subjects: Subjects, session: Session) -> Subjects:
    """The images to evaluate an attack on: all, or the random half that a shared attack does not learn from.

    Raises:
        DataError: there is one image, and a shared attack needs others to learn from.
    """
    if not isinstance(attack, Shared) or not len(subjects):
        return subjects
    count = len(subjects)
    if count < 2:
        raise DataError(f"{attack.name} learns from some images and is evaluated on others: give at least 2")
    order = torch.randperm(count, generator=session.rng("division")).tolist()
    learn, rows = sorted(order[: count // 2]), sorted(order[count // 2 :])
    return replace(subjects[rows], learn_from=subjects[learn])


def file_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A PNG file's name for each image: the image's own, numbered where names repeat."""
    stems = [path.stem for path in paths]
    counts = Counter(stems)
    names: dict[str, None] = {}
    for row, stem in enumerate(stems):
        unique = stem if counts[stem] == 1 else f"{row:03d}-{stem}"
        while unique in names or (unique != stem and counts[unique]):
            unique = f"{row:03d}-{unique}"
        names[unique] = None
    return tuple(f"{stem}.png" for stem in names)


class OfSubjects(Presented):
    """A result on the images that were attacked, one row for each."""

    subjects: Subjects

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, or names, of the images that were attacked."""
        return self.subjects.paths

    @property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each of these files or images."""
        return self.subjects.digests

    @property
    def misclassified(self) -> tuple[Misclassified, ...]:
        """Images that the model gets wrong without any attack."""
        return self.subjects.misclassified

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What could not be read, or already shows the target."""
        return self.subjects.skipped

    @property
    def names(self) -> tuple[str, ...]:
        """The file name of each saved image."""
        return file_names(self.paths)


def files_in(folder: str | Path | None, subjects: Subjects) -> tuple[Path, ...] | None:
    """Where in the folder to save each image; None without a folder, which is made where it does not exist.

    Raises:
        SettingError: an image that was given would be overwritten.
        FileError: the folder cannot be made.
    """
    if folder is None:
        return None
    folder = Path(folder)
    paths = tuple(folder / name for name in file_names(subjects.paths))
    given = {path.absolute() for path in subjects.paths} | {wrong.path.absolute() for wrong in subjects.misclassified}
    if subjects.learn_from is not None:
        given |= {path.absolute() for path in subjects.learn_from.paths}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = {path.resolve() for path in given} & {path.resolve() for path in paths}
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot write to {folder} ({reason}): name another folder", path=folder) from None
    if taken:
        raise SettingError("save_to", f"must be another folder: {min(taken)} is one of the images under attack")
    return paths
