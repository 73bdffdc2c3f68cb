"""Data of any size for checks in parts: the folders of its images, which are listed only where that is needed."""

from __future__ import annotations

from pathlib import Path

from deepscope.checks.given_data import given_data
from deepscope.checks.held_out import TEST_IMAGES, held_out, no_class
from deepscope.data import ClassFolders, Dataset, load_dataset
from deepscope.data.folders import held_out_folder, subfolders
from deepscope.errors import DataError
from deepscope.inputs import right_answers
from deepscope.models import VisionModel, load_model
from deepscope.results import Block, Note
from deepscope.session import Session


def folders_of(data: str, session: Session) -> tuple[Path, ...]:
    """The folder of the data; where it is divided, that of its training images and that of its test images.

    Args:
        data: a folder's path, or a dataset's name.
        session: its home is where datasets are.

    Raises:
        DataError: there is no such data, or the caller holds it in memory.
    """
    if given_data(data, session) is not None:
        raise DataError("a job in parts needs images in files", data=data)
    root = Path(data).expanduser()
    if data in Dataset.members() or not root.is_dir():
        root = load_dataset(data, session, ClassFolders).root
    test = held_out_folder(root)
    return (root,) if test is None else (root / "train", test)


def held_out_files(model: str, data: str, session: Session) -> tuple[tuple[Path, ...], tuple[Block, ...]]:
    """The images that the classifier was not fitted to, as far as this is known, and what to say of them.

    Args:
        model: its name. A folder may have set some of the images aside.
        data: a folder's path, or a dataset's name.

    Returns:
        One folder, or files.

    Raises:
        DataError: there is no such data, or no folder of it is named like a class of the model.
    """
    *_, last = folders = folders_of(data, session)
    _require_known(load_model(model, session), last)
    if len(folders) > 1:
        return (last,), (Note("The images of the test set.", TEST_IMAGES),)
    if Path(model).is_dir():
        held = held_out(model, data, session)
        return tuple(held.images.files), held.notes
    text = (
        "The images are taken from the whole folder, which has no train/ and test/: if the classifier was fitted "
        "to any of them, it looks better here than it is."
    )
    return folders, (Note(text, TEST_IMAGES, "warning"),)


def _require_known(model: VisionModel, folder: Path) -> None:
    """Asked before the images are listed, since a large job would end without a figure otherwise."""
    inside = [below / "image" for below in subfolders(folder)]
    if len(inside) < 2:
        ClassFolders.read(folder)  # whose error says what is missing
    if not any(right_answers(model, inside, [folder])):
        raise DataError(no_class(model, folder, len(inside)), data=folder)
