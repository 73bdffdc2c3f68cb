"""The images that a classifier is evaluated on: those that it was not fitted to, as far as this is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepscope import images, render
from deepscope.checks.given_data import GivenData, given_data
from deepscope.data import ClassFolders, load_dataset
from deepscope.data.folders import class_folders
from deepscope.errors import DataError, DeepscopeError, SettingError
from deepscope.inputs import Given, labelled_answers, labels_beside, read_labels, right_answers
from deepscope.inputs.examples import Examples
from deepscope.inputs.given import Item
from deepscope.inputs.labels import BESIDE
from deepscope.models import VisionModel, load_model
from deepscope.names import counted
from deepscope.presenters.shown import origin
from deepscope.results import Block, Note
from deepscope.session import Session
from deepscope.transfer.splits import Holdout, divide

ONE = "One label"
"""Title of the note that says which label of several a check is about."""


TEST_IMAGES, UNKNOWN, EMPTY = "Test images", "Unknown classes", "Empty classes"
OF_THE_IMAGES = frozenset({TEST_IMAGES, UNKNOWN, EMPTY})
"""Titles of the notes on the images themselves. Checks of the same images repeat them, and a page gives each once."""


@dataclass(frozen=True)
class HeldOut:
    """A classifier, and the images that it is evaluated on.

    Attributes:
        model: the classifier.
        images: those whose folder or label names one of its classes.
        answers: the classes that count as right for each of them.
        notes: on the choice of images.
        train: the images that the classifier was fitted to, with the names of their classes; None where that is not
            known.
    """

    model: VisionModel
    images: Given
    answers: tuple[frozenset[int], ...]
    notes: tuple[Block, ...]
    train: Given | None = None


def held_out(name: str, data: str, session: Session, labels: str | None = None) -> HeldOut:
    """The test images of the data; where it came undivided, those that `transfer fit` set aside.

    For a model with several labels per image, the images that a file of labels lists.

    Args:
        name: of the model.
        data: a folder's path, a dataset's name, or the name of data that the caller holds.
        labels: a CSV file with the labels of each image; None for `labels.csv` in the folder.

    Raises:
        DeepscopeError: the model or the data cannot be opened.
        DataError: no folder or label is named like one of the model's classes.
        SettingError: labels are given for a model with one class per image, or missing for one with several labels.
    """
    model = load_model(name, session)
    model.require_classes()
    if model.head.kind == "multilabel":
        return _listed(model, data, labels, session)
    if labels is not None:
        raise SettingError("labels", f"are for a model with several labels per image, and {model.name} has one")
    if held := given_data(data, session):
        return _of_given(model, held)
    folders = load_dataset(data, session, ClassFolders, skip_empty=True)
    paths, note, train = _chosen(Path(name), folders, session)
    answers = right_answers(model, paths, [folders.root])
    known = [(path, answer) for path, answer in zip(paths, answers) if answer]
    if not known:
        raise DataError(no_class(model, folders.root, len(folders.classes)), data=folders.root)
    notes: list[Block] = [note, *_empty(folders)]
    if unknown := [path for path, answer in zip(paths, answers) if not answer]:
        strange = sorted({folder.name for folder in class_folders(unknown, [folders.root]) if folder is not None})
        said = ", ".join(strange[:6]) + (" and others" if strange[6:] else "")
        notes.append(_left_out(model, len(unknown), said))
    chosen = Given(tuple(Item(path, path) for path, _ in known), (folders.root,))
    return HeldOut(model, chosen, tuple(answer for _, answer in known), tuple(notes), train)


def no_class(model: VisionModel, root: Path, count: int) -> str:
    """Why none of the folders below the root says what its images show, and what to do about it."""
    classes, own = ", ".join(model.categories[:4]), len(model.categories)
    text = f"{root}: no folder is named like a class of {model.name} ({classes}{', ...' * (own > 4)})"
    if own == count:
        return f"{text}: both have {own}, so give the folders' names as its classes, in the order of its outputs"
    return (
        f"{text}, and there are {count} folders for {own} classes: rename the folders, or fit a classifier to them "
        "with `deepscope transfer fit`"
    )


def _listed(model: VisionModel, data: str, labels: str | None, session: Session) -> HeldOut:
    """The images below a folder that a file of labels lists, for a model with several labels per image."""
    root = Path(data).expanduser()
    if given_data(data, session) is not None or not root.is_dir():
        raise DataError(f"{model.name} has several labels per image: give a folder of images with {BESIDE}", data=data)
    table = labels_beside(root) if labels is None else Path(labels).expanduser()
    if table is None:
        why = f"{model.name} has several labels per image, and there is no {BESIDE} in {root}"
        raise SettingError("labels", f"must name a CSV file: {why}")
    found = images.find([root], stacks=model.preprocessing.stacks)
    known = read_labels(table, model).of(found.paths)
    items = tuple(Item(path, path, shown) for path, shown in zip(found.paths, known) if shown is not None)
    text = f"The {len(items)} images that {table.name} lists. If the model was fitted to any of them, it looks better"
    notes: list[Block] = [Note(f"{text} here than it is.", "Evaluated on", "warning")]
    if missing := len(found.paths) - len(items):
        text = f"{missing} images are left out: {table.name} does not list them."
        notes.append(Note(text, "Without labels", "warning"))
    answers = tuple(shown for shown in known if shown is not None)
    return HeldOut(model, Given(items, (root,), found.skipped), answers, tuple(notes))


def of_one_label(held: HeldOut) -> HeldOut:
    """The same; of a model with several labels per image, the label that most images show, as a classifier of its own.

    Raises:
        DataError: no image shows a label.
    """
    model = held.model
    if model.head.kind != "multilabel":
        return held
    counts = Counter(label for shown in held.answers for label in shown)
    if not counts:
        raise DataError(f"no image shows a label of {model.name}: there is nothing to measure")
    label = min(counts, key=lambda one: (-counts[one], one))
    answers = tuple(frozenset({int(label in shown)}) for shown in held.answers)
    text = f"The label {model.categories[label]!r}, which most images show: whether it is above its threshold."
    notes = (Note(text, ONE), *held.notes)
    return HeldOut(model.for_label(label), held.images, answers, notes)


def _of_given(model: VisionModel, held: GivenData) -> HeldOut:
    """All images that the caller gave, but for those of other classes."""
    given = held.images.given
    items = list(given.items)
    answers = labelled_answers(model, [item.label for item in items if isinstance(item.label, (int, str))])
    known = [(replace(item, label=min(answer)), answer) for item, answer in zip(items, answers, strict=True) if answer]
    strange = [str(item.label) for item, answer in zip(items, answers) if not answer]
    said = ", ".join(sorted(set(strange))[:6])
    if not known:
        classes = ", ".join(model.categories[:4])
        raise DataError(f"no label is a class of {model.name} ({classes}, ...): they are {said}")
    text = f"All {len(items)} images that were given."
    if held.train is None:
        text += " If the classifier was fitted to any of them, it looks better here than it is."
    notes: list[Block] = [Note(text, TEST_IMAGES, "info" if held.train else "warning")]
    if strange:
        notes.append(_left_out(model, len(strange), said + (" and others" if len(set(strange)) > 6 else "")))
    chosen = Given(tuple(item for item, _ in known), skipped=given.skipped)
    train = None if held.train is None else _named(held.train)
    return HeldOut(model, chosen, tuple(answer for _, answer in known), tuple(notes), train)


def _left_out(model: VisionModel, count: int, names: str) -> Note:
    text = f"{count} images are left out: {model.name} has no class of the name {names}."
    return Note(text, UNKNOWN, "warning")


def _empty(folders: ClassFolders) -> list[Note]:
    """A note on the classes without images; none where all have some."""
    if not folders.empty:
        return []
    names = [folder.relative_to(folders.root).as_posix() for folder in folders.empty]
    said = ", ".join(names[:6]) + (" and others" if names[6:] else "")
    text = f"{said} {'have' if names[1:] else 'has'} no images and {'are' if names[1:] else 'is'} left out."
    return [Note(text, EMPTY, "warning")]


def _chosen(model: Path, folders: ClassFolders, session: Session) -> tuple[tuple[Path, ...], Note, Given | None]:
    """The test images, a note on them, and the training images."""
    examples = Examples.in_folders(folders)
    if folders.test is not None:
        note = Note(f"The {counted(len(folders.test), 'image')} of the test set.", TEST_IMAGES)
        return folders.test.paths, note, _named(examples.training)
    rows = _kept_aside(model, folders, session)
    paths = folders.everything.paths
    if rows is not None:
        kept = tuple(paths[row] for row in rows)
        others = np.setdiff1d(np.arange(len(paths)), rows)
        note = Note(f"The {len(kept)} images that `transfer fit` set aside.", TEST_IMAGES)
        return kept, note, _named(examples.at(others))
    text = (
        f"The images are taken from all {len(paths)}, since the folder has no train/ and test/: if the classifier was "
        "fitted to any of them, accuracy is overestimated here."
    )
    return paths, Note(text, TEST_IMAGES, "warning"), None


def _named(examples: Examples) -> Given:
    """The images with the names of their classes."""
    items = zip(examples.sources, examples.paths, examples.labels.tolist(), strict=True)
    return Given(tuple(Item(source, path, examples.classes[label]) for source, path, label in items))


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
