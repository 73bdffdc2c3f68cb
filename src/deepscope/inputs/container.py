"""`Container`: a kind of file that holds many images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

Label = int | str | tuple[int | str, ...] | None
"""A class by number or name; all classes that the image shows; None where the file does not say."""


class Inside(Protocol):
    """Where in its file an image lies: see `places.Place`."""

    @property
    def name(self) -> str:
        """What the image is called in its file."""
        ...

    @property
    def start(self) -> int:
        """Its first byte, or its row."""
        ...

    @property
    def length(self) -> int:
        """Its bytes, where `start` is a byte."""
        ...


class Container(ABC):
    """A kind of file that holds many images."""

    suffix: ClassVar[str]

    @abstractmethod
    def entries(self, path: Path) -> Iterator[tuple[str, int, int, Label]]:
        """Name, start, length and label of each image, without reading one.

        Raises:
            FileError: the file cannot be read, or is damaged.
            DataError: its layout leaves open which image is which.
        """

    @abstractmethod
    def contents(self, path: Path, inside: Sequence[Inside]) -> Iterator[tuple[bytes, Label]]:
        """The bytes of some of the images, in the order of `entries`, and the labels that stand beside them.

        Raises:
            FileError: the file is not what it was when it was listed.
        """
