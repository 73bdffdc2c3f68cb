"""The return type of workflows: typed data with `show`, `save` and `to_pandas`."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from deepscope.errors import MissingExtraError, UnsupportedError
from deepscope.gallery import Gallery
from deepscope.registry import discover
from deepscope.render.folder import save
from deepscope.render.html import fragment
from deepscope.render.notebook import Explorer
from deepscope.render.terminal import show
from deepscope.results import Result
from deepscope.settings import FigureFormat

if TYPE_CHECKING:
    import pandas

Data = TypeVar("Data", bound="Presented")

_PRESENTERS: dict[type[Any], Callable[[Any], Result]] = {}
_GALLERIES: dict[type[Any], Callable[[Any], Gallery]] = {}


class Presented(ABC):
    """Data of a workflow. How it looks is said once, in `deepscope.presenters`, by a function marked `@presents`."""

    @abstractmethod
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per item, by column: what `to_pandas` shows. All columns have the same length."""

    def result(self) -> Result:
        """Title, metrics, tables and figures, as the command line shows them."""
        return _presenter(type(self))(self)

    def show(self) -> None:
        """Print the result to the terminal."""
        show(self.result(), Console())

    def save(self, folder: str | Path, *, figure_format: FigureFormat = "png") -> Path:
        """Write result.json, arrays and figures into a folder; returns the folder.

        Args:
            folder: made where it does not exist.
            figure_format: "svg" or "pdf" writes each figure in this format too, beside the PNG.

        Raises:
            FileError: the folder cannot be written to.
        """
        save(self.result(), Path(folder), figure_format=figure_format)
        return Path(folder)

    def to_pandas(self) -> pandas.DataFrame:
        """One row per item.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("pandas", "to_pandas()") from None
        return pandas.DataFrame(dict(self.columns()))

    def explore(self) -> Explorer:
        """The images of the result, to filter, sort, and look at one by one with their maps. A notebook shows it.

        Raises:
            UnsupportedError: the result is not about single images.
        """
        discover("deepscope.presenters")
        if (make := _GALLERIES.get(type(self))) is None:
            kinds = ", ".join(sorted(kind.__name__ for kind in _GALLERIES))
            raise UnsupportedError(f"{type(self).__name__} cannot be explored: {kinds} can", what="explore")
        return Explorer(make(self))

    def _repr_html_(self) -> str:
        return fragment(self.result())


def presents(kind: type[Data]) -> Callable[[Callable[[Data], Result]], Callable[[Data], Result]]:
    """Mark the function that makes a `Result` of one kind of data."""

    def mark(function: Callable[[Data], Result]) -> Callable[[Data], Result]:
        _PRESENTERS[kind] = function
        return function

    return mark


def explores(kind: type[Data]) -> Callable[[Callable[[Data], Gallery]], Callable[[Data], Gallery]]:
    """Mark the function that makes a `Gallery` of one kind of data."""

    def mark(function: Callable[[Data], Gallery]) -> Callable[[Data], Gallery]:
        _GALLERIES[kind] = function
        return function

    return mark


@functools.cache
def _presenter(kind: type[Any]) -> Callable[[Any], Result]:
    if kind not in _PRESENTERS:
        discover("deepscope.presenters")  # presenters stand above the workflows, which do not know them
    return _PRESENTERS[kind]
