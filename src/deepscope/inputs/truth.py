"""Which classes of a model are right answers for an image, where its name or folder says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepscope.data.folders import class_folders
from deepscope.data.photographs import truth
from deepscope.models import VisionModel
from deepscope.names import Names


def right_answers(model: VisionModel, paths: Sequence[Path], below: Iterable[str | Path] = ()) -> list[frozenset[int]]:
    """For each file, the classes that count as right; an empty set where the truth is not known.

    Folders side by side are classes of their own: two of them never mean the same class of the model.

    Args:
        model: whose classes they are.
        paths: image files.
        below: the folders in which they were found. The folders directly below them are the classes, as in
            `ClassFolders`; where none of these is a class of the model, the named folder itself may be.
    """
    known = Known.of(model, {path.parent for path in paths}, below)
    by_wnid = {wnid: index for index, wnid in enumerate(model.wnids)}
    return [known.answer(path, by_wnid) for path in paths]


@dataclass(frozen=True)
class Known:
    """What folders say of the images in them, so that each image's answer can be given when it is met.

    Attributes:
        folders: a folder of images -> the folder that names its class, and the number of this class; None where it is
            in no class folder, or in one that is no class of the model.
    """

    folders: Mapping[str, tuple[str | None, int | None]]

    @classmethod
    def of(cls, model: VisionModel, folders: Iterable[Path], below: Iterable[str | Path]) -> Known:
        """What folders of images say, given the folders in which they were found: see `right_answers`."""
        categories, listed = Names(model.categories), list(folders)
        naming = _folders(categories, [folder / "image" for folder in listed], below)
        label_of = _classes_of_folders(categories, {folder for folder in naming if folder is not None})
        return cls(
            {
                str(folder): (None, None) if named is None else (str(named), label_of[named])
                for folder, named in zip(listed, naming, strict=True)
            }
        )

    def some(self, folders: Iterable[str]) -> Known:
        """The same of some of the folders."""
        return Known({folder: self.folders[folder] for folder in folders})

    def class_folder(self, path: Path) -> str | None:
        """The name of the class folder that an image is in; None where it is in none."""
        folder, _ = self.folders.get(str(path.parent), (None, None))
        return None if folder is None else Path(folder).name

    def answer(self, path: Path, by_wnid: Mapping[str, int]) -> frozenset[int]:
        """The right classes of an image in one of the folders.

        Args:
            path: its file.
            by_wnid: the model's classes by their WordNet identifiers.
        """
        folder, label = self.folders[str(path.parent)]
        known = truth(path, None if folder is None else Path(folder)) if by_wnid else None
        if known is not None:
            return frozenset(by_wnid[wnid] for wnid in known.wnids if wnid in by_wnid)
        return frozenset() if label is None else frozenset({label})


def labelled_answers(model: VisionModel, labels: Sequence[int | str]) -> list[frozenset[int]]:
    """For each label the classes that count as right; an empty set where it is no class of the model.

    Args:
        model: whose classes they are.
        labels: class numbers; or names, which are read like the names of class folders.
    """
    by_wnid = {wnid: index for index, wnid in enumerate(model.wnids)}
    named = Names(model.categories).paired({label for label in labels if isinstance(label, str)})

    def answer(label: int | str) -> frozenset[int]:
        if isinstance(label, int):
            return frozenset({label} if 0 <= label < len(model.categories) else ())
        known = truth(Path("image"), Path(label)) if by_wnid else None
        if known is not None:
            return frozenset(by_wnid[wnid] for wnid in known.wnids if wnid in by_wnid)
        return frozenset() if (place := named[label]) is None else frozenset({place})

    return [answer(label) for label in labels]


def _folders(categories: Names, paths: Sequence[Path], below: Iterable[str | Path]) -> list[Path | None]:
    """The class folder of each file; of files below a folder that holds no class folder but is one, that folder."""
    roots = [Path(root).absolute() for root in below if Path(root).is_dir()]
    folders = class_folders(paths, roots)
    for root in roots:
        rows = [row for row, path in enumerate(paths) if path.absolute().is_relative_to(root)]
        names = {folder.name for row in rows if (folder := folders[row]) is not None}
        if categories.places(root.name) and not any(categories.places(name) for name in names):
            for row in rows:
                folders[row] = root
    return folders


def _classes_of_folders(categories: Names, folders: set[Path]) -> dict[Path, int | None]:
    side_by_side: dict[Path, list[str]] = {}
    for folder in folders:
        side_by_side.setdefault(folder.parent, []).append(folder.name)
    return {
        parent / name: label
        for parent, names in side_by_side.items()
        for name, label in categories.paired(names).items()
    }
