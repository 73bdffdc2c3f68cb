"""Which images a classifier is evaluated on: those that it was not fitted to, as far as anyone can know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepscope import images, render
from deepscope.data import ClassFolders, load_dataset
from deepscope.data.folders import class_folders
from deepscope.errors import DataError, DeepscopeError
from deepscope.inputs import right_answers
from deepscope.inputs.examples import Examples
from deepscope.models import VisionModel, load_model
from deepscope.presenters.shown import origin
from deepscope.results import Block, Note
from deepscope.session import Session
from deepscope.transfer.splits import Holdout, divide


@dataclass(frozen=True)
class HeldOut:
    """A classifier, and the images that it is evaluated on.

    Attributes:
        model: the classifier.
        paths: images whose folder is named like one of its classes.
        answers: the classes that count as right for each of them.
        root: the folder of class folders that they are below.
        notes: what to know about the choice.
    """

    model: VisionModel
    paths: tuple[Path, ...]
    answers: tuple[frozenset[int], ...]
    root: Path
    notes: tuple[Block, ...]


def held_out(name: str, data: str, session: Session) -> HeldOut:
    """The test images of the data; where it came undivided, those that `transfer fit` kept aside.

    Args:
        name: of the model.
        data: a folder's path, or a dataset's name.

    Raises:
        DeepscopeError: the model or the data cannot be opened.
        DataError: no folder is named like one of the model's classes.
    """
    model, folders = load_model(name, session), load_dataset(data, session, ClassFolders)
    model.require_classes()
    paths, note = _chosen(Path(name), folders, session)
    answers = right_answers(model, paths, [folders.root])
    known = [(path, answer) for path, answer in zip(paths, answers) if answer]
    if not known:
        classes = ", ".join(model.categories[:4])
        raise DataError(
            f"{folders.root}: no folder is named like a class of {model.name} ({classes}, ...): rename the folders, "
            f"or fit a classifier to them with `deepscope transfer fit {folders.root} --out my-model`",
            data=folders.root,
        )
    notes: list[Block] = [note]
    if unknown := [path for path, answer in zip(paths, answers) if not answer]:
        strange = sorted({folder.name for folder in class_folders(unknown, [folders.root]) if folder is not None})
        said = ", ".join(strange[:6]) + (" and others" if strange[6:] else "")
        text = f"{len(unknown)} images are left out: {model.name} has no class of the name {said}."
        notes.append(Note(text, "Unknown classes", "warning"))
    paths, answers = zip(*known)
    return HeldOut(model, paths, answers, folders.root, tuple(notes))


def _chosen(model: Path, folders: ClassFolders, session: Session) -> tuple[tuple[Path, ...], Note]:
    if folders.test is not None:
        return folders.test.paths, Note(f"The {len(folders.test)} images of the data's own test set.", "Evaluated on")
    rows = _kept_aside(model, folders, session)
    paths = folders.everything.paths
    if rows is not None:
        kept = tuple(paths[row] for row in rows)
        return kept, Note(f"The {len(kept)} images that `transfer fit` kept aside.", "Evaluated on")
    text = (
        f"All {len(paths)} images are used, since the folder has no train/ and test/: if the classifier was fitted to "
        "any of them, it looks better here than it is."
    )
    return paths, Note(text, "Evaluated on", "warning")


def _kept_aside(model: Path, folders: ClassFolders, session: Session) -> NDArray[np.int64] | None:
    """Rows of the test images that `transfer fit` drew; None where the model does not come from exactly this data."""
    everything = folders.everything
    try:
        fitted = render.load(model)
    except DeepscopeError:
        return None
    fraction = fitted.config.get("test_fraction")
    digests = [images.digest(path) for path in everything.paths]
    same = fitted.provenance.sha256 and fitted.provenance.sha256 == origin([], everything.paths, digests).sha256
    if not isinstance(fraction, float) or not same:
        return None
    readable = np.array([row for row, path in enumerate(everything.paths) if _reads(path)])
    own = Session(seed=fitted.provenance.seed, cache=session.cache, quiet=True)
    holdout = Holdout(test_fraction=fraction)
    return readable[divide(Examples.in_folders(folders), readable, holdout, own, digests=digests)[0].test]


def _reads(path: Path) -> bool:
    try:
        images.decode(path, at_least=512)
    except images.UnreadableImage:
        return False
    return True
