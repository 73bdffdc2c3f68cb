"""`Dataset`: named data, and the function that loads any data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, TypeVar

from deepscope.data.digits import DigitSplit
from deepscope.data.download import Source
from deepscope.data.folders import ClassFolders, held_out_folder, subfolders
from deepscope.data.photographs import Photographs
from deepscope.errors import DataError, unknown
from deepscope.registry import Registered
from deepscope.session import Session

Kind = TypeVar("Kind", ClassFolders, DigitSplit, Photographs)

_WORDS = {
    ClassFolders: "images in class folders",
    DigitSplit: "handwritten digits",
    Photographs: "a folder of images",
}


class Dataset(Registered):
    """A named dataset: what it is, whether it is installed, and how to get it."""

    summary: ClassVar[str]
    holds: ClassVar[str]
    """Description of the number of items."""
    licence: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Files (packed with gzip or not) and folders below `HOME/data`; none where the data comes with the package."""
    sources: ClassVar[tuple[Source, ...]] = ()
    """What `deepscope data get` downloads."""

    @classmethod
    def missing(cls, home: Path) -> str:
        """How to get what is missing, for the end of a sentence; empty where nothing is."""
        lacks = [need for need in cls.needs if not path_of(home, need).exists()]
        return f"run `deepscope data get {cls.name}`, or put {', '.join(lacks)} into {home / 'data'}" if lacks else ""

    @classmethod
    @abstractmethod
    def load(cls, home: Path) -> ClassFolders | DigitSplit | Photographs:
        """Read it; `home` is where `needs` are.

        Raises:
            FileError: a file is damaged.
        """


def path_of(home: Path, need: str) -> Path:
    """Where a needed file or folder is, or would be: the packed file where there is only that."""
    plain, packed = home / "data" / need, home / "data" / f"{need}.gz"
    return packed if packed.is_file() and not plain.exists() else plain


def load_any(
    name: str | Path, session: Session, *, skip_empty: bool = False
) -> ClassFolders | DigitSplit | Photographs:
    """Data by name ("15scene", "mnist") or the path of a folder, of whatever kind it is.

    Args:
        name: a registered dataset; any other text is a folder's path. A folder with several folders in it
            holds a class in each; one with fewer holds photographs, in whichever folder below it.
        session: its home is where datasets are.
        skip_empty: leave out class folders without an image, see `ClassFolders.read`.

    Raises:
        DataError: there is no such data, or it is not available.
        FileError: it is damaged.
    """
    return _named(str(name), session) if str(name) in Dataset.members() else _folder(Path(name), skip_empty)


def load_dataset(name: str | Path, session: Session, kind: type[Kind], *, skip_empty: bool = False) -> Kind:
    """As `load_any`, where only one kind is accepted.

    Raises:
        DataError, FileError: as `load_any`, or the data is of another kind.
    """
    data = load_any(name, session, skip_empty=skip_empty)
    if kind is ClassFolders and isinstance(data, Photographs) and subfolders(folder := Path(name).expanduser()):
        data = ClassFolders.read(folder)  # whose error names the only class
    if not isinstance(data, kind):
        sortable = kind is ClassFolders and isinstance(data, Photographs)
        advice = ": move the images of each class into a folder with the class's name" if sortable else ""
        raise DataError(f"{name} holds {_WORDS[type(data)]}, not {_WORDS[kind]}{advice}", data=name)
    return data


def first_here(names: Iterable[str], session: Session) -> str:
    """The first of these datasets that is installed: the full data, say, or else the extract in the package.

    Raises:
        DataError: none is available.
    """
    lacks = []
    for name in names:
        missing = Dataset.member(name).missing(session.home)
        if not missing:
            return name
        lacks.append(f"{name}: {missing}")
    raise DataError("; ".join(lacks))


def _named(name: str, session: Session) -> ClassFolders | DigitSplit | Photographs:
    dataset = Dataset.members()[name]
    if missing := dataset.missing(session.home):
        raise DataError(f"{name} is not available: {missing}", data=name)
    return dataset.load(session.home)


def _folder(path: Path, skip_empty: bool) -> ClassFolders | Photographs:
    path = path.expanduser()
    if not path.is_dir():
        raise unknown("dataset or folder", str(path), Dataset.members(), listing="`deepscope data`")
    classes = len(subfolders(path)) > 1 or held_out_folder(path) is not None
    return ClassFolders.read(path, skip_empty=skip_empty) if classes else Photographs.below(path)
