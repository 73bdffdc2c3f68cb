"""Data of any size for checks in parts: the folders of its images, which are not listed yet."""

from __future__ import annotations

from pathlib import Path

from deepscope.checks.given_data import given_data
from deepscope.data import ClassFolders, Dataset, load_dataset
from deepscope.data.folders import held_out_folder
from deepscope.errors import DataError
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
