"""Photographs, with their classes where these are certain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deepscope import images
from deepscope.errors import DataError

_WNID = re.compile(r"(n\d{8})(?:_(.+))?")


@dataclass(frozen=True)
class Truth:
    """What a photograph shows, as ImageNet names it.

    Attributes:
        text: description.
        wnids: WordNet identifiers of the classes that are right answers; any of them counts.
    """

    text: str
    wnids: tuple[str, ...]


@dataclass(frozen=True)
class Photographs:
    """Image files, sorted, with the truth where it is certain.

    Attributes:
        paths: the files.
        truths: one for each file; None where it shows no ImageNet class for certain.
        skipped: files that are not images.
    """

    paths: tuple[Path, ...]
    truths: tuple[Truth | None, ...]
    skipped: tuple[images.Skipped, ...] = ()

    @classmethod
    def below(cls, folder: Path) -> Photographs:
        """All images below a folder. Raises DataError where there is none."""
        found = images.find([folder])
        if not found.paths:
            raise DataError(f"{folder} holds no image: name a folder with photographs", data=folder)
        return cls(found.paths, tuple(truth(path) for path in found.paths), found.skipped)

    def __len__(self) -> int:
        return len(self.paths)


def truth(path: Path, folder: Path | None = None) -> Truth | None:
    """What a file's name or folder says that it shows: `n01440764_tench.JPEG`, `n01440764/any.JPEG`, a bundled picture.

    Args:
        path: the file.
        folder: whose name is its class; None takes the folder that it is in.

    Returns:
        None where neither says anything.
    """
    if path.name in _BUNDLED and path == bundled(path.name):
        return _BUNDLED[path.name]
    match = _WNID.fullmatch(path.stem) or _WNID.fullmatch((folder or path.parent).name)
    return Truth((match[2] or match[1]).replace("_", " "), (match[1],)) if match else None


def bundled(name: str) -> Path:
    """The path of a picture that scikit-image or scikit-learn carries inside its package."""
    package, folder = ("sklearn", "datasets/images") if name in _OF_SCIKIT_LEARN else ("skimage", "data")
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / folder / name


def bundled_photographs() -> Photographs:
    """The pictures that come with deepscope's dependencies: no home folder and no network needed."""
    return Photographs(tuple(bundled(name) for name in _BUNDLED), tuple(_BUNDLED.values()))


_OF_SCIKIT_LEARN = ("china.jpg", "flower.jpg")

# Truth stands only where the main subject is, beyond doubt, of an ImageNet class; several classes
# where ImageNet draws its line through the subject (a red tabby cat; espresso in a cup).
_BUNDLED: dict[str, Truth | None] = {
    "astronaut.png": None,
    "camera.png": None,
    "chelsea.png": Truth("tabby cat", ("n02123045", "n02123159")),
    "china.jpg": None,
    "coffee.png": Truth("cup of espresso", ("n07920052", "n07930864", "n03063599")),
    "flower.jpg": None,
    "motorcycle_left.png": None,
    "rocket.jpg": None,
}
