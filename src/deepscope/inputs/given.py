"""Images in any form as one list: files, folders, PIL images, arrays, tensors, and datasets of (image, label)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError
from deepscope.session import Session

Label: TypeAlias = "int | str | frozenset[int] | None"
"""A class of the model, by number or name; all labels that the image shows, by number; None where it is not known."""


class ImageDataset(Protocol):
    """A map-style dataset, such as torchvision's: items are images or (image, label) pairs."""

    def __len__(self) -> int:
        """How many items."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """One item."""
        ...


Images: TypeAlias = "str | Path | images.Source | Tensor | Iterable[Any] | ImageDataset | Given"
"""One image, or many: files and folders; PIL images; (H, W, 3), (H, W) or (N, H, W, 3) uint8 arrays; (3, H, W) or
(N, 3, H, W) tensors of pixels, float in [0, 1] or uint8, which are taken as they are, without resizing; a file's bytes;
any iterable of these, or of (image, label) pairs, such as a torchvision dataset or a `DataLoader`. For a model of C
channels, other than RGB and grey: NumPy files and TIFF, (H, W, C) arrays, and tensors of C channels."""


@dataclass(frozen=True)
class Item:
    """One image that was given.

    Attributes:
        source: the image itself, or its file.
        path: its file; for one that came from memory a name made from its place, "image-0".
        label: its class, where the caller gave one.
        named: what the data calls its class, which need not be one of the model's.
    """

    source: images.Source | Tensor
    path: Path
    label: Label = None
    named: str | None = None


def digest_of(source: images.Source | Tensor) -> bytes:
    """SHA-256 of an image as `inputs.reading` takes it: of its file, or of its pixels. Raises OSError and FileError."""
    if isinstance(source, Tensor):
        return hashlib.sha256(source.contiguous().numpy().tobytes()).digest()
    return images.digest(source)


@dataclass(frozen=True)
class Given:
    """The images that a caller named, in order, none of them read yet.

    Attributes:
        items: images; an iterable is drawn once, lazily.
        roots: folders that were named: the folders in them name classes.
        skipped: what was named and holds no image.
    """

    items: Iterable[Item]
    roots: tuple[Path, ...] = ()
    skipped: tuple[images.Skipped, ...] = ()

    def __len__(self) -> int:
        """How many images were given.

        Raises:
            TypeError: an iterable does not say how many it holds.
        """
        return len(cast("Sequence[Item]", self.items))

    @property
    def count(self) -> int | None:
        """How many images; None where an iterable does not say."""
        return len(self.items) if isinstance(self.items, Sequence) else None

    @property
    def files(self) -> list[Path]:
        """The images' files, where all of them are files; else nothing."""
        if not isinstance(self.items, (list, tuple)):  # a dataset is read image by image
            return []
        paths = [item.path for item in self.items if isinstance(item.source, (str, Path))]
        return paths if len(paths) == len(self.items) else []

    def some(self, limit: int | None, session: Session) -> Given:
        """At most `limit` of them, drawn at random, in their order; of an iterable without a length the first ones."""
        if limit is None:
            return self
        items = self.items if isinstance(self.items, Sequence) else list(_first(self.items, limit))
        return Given(session.some(items, limit), self.roots, self.skipped)


def gather(given: Images, *, below: Sequence[str | Path] = (), channels: int = 3) -> Given:
    """The images that a caller named, in any form.

    Args:
        given: see `Images`.
        below: folders of class folders that named files come from.
        channels: of tensors; where they are not 3, NumPy files in folders are taken too.

    Raises:
        DataError: it does not hold images.
    """
    if isinstance(given, Given):
        return given
    if isinstance(given, (str, Path)):
        given = [given]
    if isinstance(given, (bytes, Image.Image)):
        given = [given]
    if isinstance(given, np.ndarray):
        given = list(given) if given.ndim == 4 else [given]
    if isinstance(given, Tensor):
        given = list(_pixels(given, channels))
    if not isinstance(given, Iterable) and not _indexed(given):
        raise DataError(f"images are given as paths, PIL images, arrays, tensors or a dataset, not {_kind(given)}")
    if isinstance(given, Sequence) and given and all(isinstance(one, (str, Path)) for one in given):
        named = [Path(one) for one in cast("Sequence[str | Path]", given)]
        found = images.find(named, stacks=channels != 3)
        roots = tuple(path for path in (*named, *map(Path, below)))
        return Given(tuple(Item(path, path) for path in found.paths), roots, found.skipped)
    roots = tuple(map(Path, below))
    if isinstance(given, (list, tuple)):
        return Given(tuple(_items(given, channels)), roots)
    several = _Indexed(given, channels) if _indexed(given) else _items(cast("Iterable[Any]", given), channels)
    return Given(several, roots)


class _Indexed(Sequence[Item]):
    """A dataset with a length and an index, read image by image when its turn comes."""

    def __init__(self, data: Any, channels: int) -> None:
        self.data, self.channels = data, channels

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return _item(self.data[index], index, self.channels)


def _indexed(given: Any) -> bool:
    return hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, dict)


def _items(given: Iterable[Any], channels: int) -> Iterator[Item]:
    row = 0
    for one in given:
        for image in _unbatched(one):
            yield _item(image, row, channels)
            row += 1


def _unbatched(one: Any) -> Iterator[Any]:
    """The images of a batch, as a `DataLoader` gives them; anything else as it is."""
    pixels, labels = one if isinstance(one, (list, tuple)) and len(one) == 2 else (one, None)
    if not isinstance(pixels, Tensor) or pixels.ndim != 4:
        yield one
        return
    if labels is None:
        yield from pixels
        return
    labels = labels if isinstance(labels, (list, tuple, np.ndarray, Tensor)) else [labels]
    if np.ndim(labels) == 0 or len(labels) != len(pixels):
        raise DataError(f"a batch of {len(pixels)} images needs {len(pixels)} labels, one per image")
    yield from zip(pixels, labels, strict=True)


def _item(one: Any, row: int, channels: int) -> Item:
    label: Any = None
    if isinstance(one, (list, tuple)) and len(one) == 2:
        one, label = one
        label = _label(label, row) if isinstance(label, (Tensor, np.generic, np.ndarray)) else label
        if not isinstance(label, (int, str, frozenset)) and label is not None:
            raise DataError(f"image {row} has a label of {_kind(label)}: give the class's number or name, or None")
    if isinstance(one, (str, Path)):
        return Item(one, Path(one), label)
    if isinstance(one, Tensor):
        one = next(iter(_pixels(one, channels)))
    elif not isinstance(one, (bytes, Image.Image, np.ndarray)):
        raise DataError(f"image {row} is {_kind(one)}: give a path, a PIL image, an array or a tensor")
    return Item(one, Path(f"image-{row}"), label)


class MultiHot(frozenset[int]):
    """The labels that an image shows, from 0 or 1 for each of `width` labels."""

    width: int

    def __new__(cls, values: NDArray[Any]) -> MultiHot:
        """The places of the ones."""
        made = super().__new__(cls, np.flatnonzero(values).tolist())
        made.width = len(values)
        return made


def _label(given: Tensor | np.generic | NDArray[Any], row: int) -> Any:
    """A number as it is; of 0 and 1 for every label, those that the image shows."""
    values = np.asarray(given.detach().cpu()) if isinstance(given, Tensor) else np.asarray(given)
    if values.size == 1:
        return values.item()
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise DataError(
            f"image {row} has labels of the shape {values.shape}: give a class's number, or 0 or 1 for every label"
        )
    return MultiHot(values)


def _pixels(given: Tensor, channels: int) -> Iterator[Tensor]:
    """Each image of (N, C, H, W) or (C, H, W) pixels as float32 in [0, 1]."""
    if given.ndim not in (3, 4) or given.shape[-3] != channels:
        shapes = f"(N, {channels}, H, W) or ({channels}, H, W)"
        raise DataError(f"a tensor of images is {shapes}, not {tuple(given.shape)}")
    if given.layout != torch.strided or given.is_meta or given.is_complex():
        raise DataError(
            f"a tensor of images holds dense real numbers, not {given.layout}, {given.dtype}, {given.device}"
        )
    pixels = given.detach().cpu()
    pixels = pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels.float()
    if pixels.numel() and not (float(pixels.amin()) >= 0 and float(pixels.amax()) <= 1):
        raise DataError(
            f"pixels are in [0, 1], and this tensor holds {float(pixels.amin()):.3g} to {float(pixels.amax()):.3g}: "
            "give images before they are normalised; deepscope normalises them inside the model"
        )
    yield from pixels if pixels.ndim == 4 else pixels[None]


def _first(items: Iterable[Item], count: int) -> Iterator[Item]:
    for _, item in zip(range(count), items):
        yield item


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
