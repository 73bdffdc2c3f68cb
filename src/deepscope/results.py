"""The result of a command: a title, numbers, and a closed set of blocks to show. Data only.

Arrays are NumPy arrays. `render` turns a `Result` into text, HTML, JSON and figures; nothing here
depends on the presentation.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepscope.gallery import Gallery

Cell: TypeAlias = str | int | float | bool | None
"""A table's cell. None is shown as a dash: the row exists, the value was not measured."""


@dataclass(frozen=True)
class Column:
    """A table's column: its heading and how its numbers are written (a Python format spec)."""

    name: str
    spec: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells below named columns; `mark` is the row to stand out (the best one, say).

    A table of `answers` closes a study; reports collect its rows. One of `classes` has a row per class of a model.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    caption: str = ""
    mark: int | None = None
    kind: Literal["data", "answers", "classes"] = "data"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row has {len(row)} cells, not {len(self.columns)}")


@dataclass(frozen=True)
class Picture:
    """An image: (H, W, 3) uint8. `points` are (x, y) pixels to ring, `boxes` are (left, top, right, bottom)."""

    pixels: NDArray[np.uint8]
    caption: str = ""
    points: tuple[tuple[float, float], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"a picture is (H, W, 3) uint8, not {self.pixels.shape} {self.pixels.dtype}")


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, longest first as given; `mark` is the bar to stand out (the true class)."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    caption: str = ""
    mark: int | None = None
    limit: float = 1.0
    """The value at which a bar fills its cell."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.values):
            raise ValueError("bars need as many labels as values")


@dataclass(frozen=True)
class Heatmap:
    """A matrix of numbers as colours: an attribution map, an activation map, a confusion matrix.

    `values` is (H, W). With `over`, an (H', W', 3) uint8 image, the map is laid over it.
    `signed` maps have a diverging scale centred on zero. `rows` and `columns` label a matrix.
    `low` and `high` fix the scale; None takes the map's own extremes.
    """

    values: NDArray[Any]
    caption: str = ""
    title: str = ""
    over: NDArray[np.uint8] | None = None
    signed: bool = False
    low: float | None = None
    high: float | None = None
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    row_title: str = ""
    column_title: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"a heatmap is (H, W), not {self.values.shape}")
        if self.values.dtype.kind not in "biuf":
            raise ValueError(f"a heatmap holds real numbers, not {self.values.dtype}")
        if self.over is not None:
            Picture(self.over)  # checks its shape and dtype


GridCell: TypeAlias = Picture | Bars | Heatmap


@dataclass(frozen=True)
class ImageGrid:
    """Rows of pictures, bars and heatmaps, as one figure."""

    rows: tuple[tuple[GridCell, ...], ...]
    title: str = ""
    caption: str = ""
    columns: tuple[str, ...] = ()
    """Headings above the columns."""


@dataclass(frozen=True)
class Series:
    """A line (or points) through `x` and `y`, with a band from `low` to `high` where known."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None
    style: Literal["line", "points", "steps"] = "line"

    def __post_init__(self) -> None:
        given = [array for array in (self.x, self.y, self.low, self.high) if array is not None]
        if len({array.shape for array in given}) != 1 or self.x.ndim != 1:
            raise ValueError(f"series {self.label!r}: x, y, low and high are (N,), all of one length")
        if any(array.dtype.kind not in "biuf" for array in given):
            raise ValueError(f"series {self.label!r} holds something else than real numbers")


@dataclass(frozen=True)
class Curves:
    """Series over common axes; `references` are horizontal lines (a published figure, say)."""

    series: tuple[Series, ...]
    x_title: str
    y_title: str
    title: str = ""
    caption: str = ""
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    references: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Animation:
    """Frames (T, H, W, 3) uint8, each shown for `seconds`; `captions` has one text per frame, or none."""

    frames: NDArray[np.uint8]
    title: str = ""
    caption: str = ""
    seconds: float = 0.1
    captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise ValueError(f"frames are (T, H, W, 3) uint8, not {self.frames.shape} {self.frames.dtype}")
        if self.captions and len(self.captions) != len(self.frames):
            raise ValueError("an animation has one caption per frame, or none")


@dataclass(frozen=True)
class Note:
    """A paragraph of plain text. A verdict answers a claim; a warning needs attention."""

    text: str
    title: str = ""
    level: Literal["info", "warning", "verdict"] = "info"


Figure: TypeAlias = ImageGrid | Heatmap | Curves | Animation | Gallery
"""A block that is looked at rather than read."""
Block: TypeAlias = Table | Figure | Note


@dataclass(frozen=True)
class Provenance:
    """Where a result came from: enough to reproduce it."""

    command: str = ""
    """The command line that gives this result."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """Model name -> SHA-256 of its weights."""
    data: str = ""
    """What was read, in words: folder or names, number of items, digest of their bytes."""
    seed: int = 0
    device: str = ""
    precision: str = ""
    started: str = ""
    """ISO 8601, UTC."""
    seconds: float = 0.0
    sha256: str = ""
    """The digest of the images that were read: of their names and bytes; empty where none were."""
    engine: str = ""
    """What ran passes without a gradient: "torch", or other engines, joined by +."""


@dataclass(frozen=True)
class Result:
    """The result of a command or study.

    Attributes:
        title: one line.
        config: the settings that made it.
        metrics: slash-separated names -> numbers, stable across versions. The ends of an interval
            stand beside their figure as `NAME/low` and `NAME/high`.
        blocks: what to show, in order.
        arrays: raw arrays for further processing; saved as `.npz`.
        provenance: filled in by the session that ran the command.
        files: that the command itself wrote to its output folder, by their path in it (adversarial images, say).
    """

    title: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    blocks: tuple[Block, ...] = ()
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    provenance: Provenance = field(default_factory=Provenance)
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", MappingProxyType({k: float(v) for k, v in self.metrics.items()}))

    def __reduce__(self) -> tuple[type[Result], tuple[object, ...]]:
        """How one process gives it to another: a mapping that cannot be changed cannot be pickled either."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return type(self), tuple({**values, "metrics": dict(self.metrics)}.values())

    def figure(self, title: str = "") -> Figure | None:
        """The figure of this title, else the first one; None where there is none. A gallery is no single figure."""
        found = [block for block in self.blocks if not isinstance(block, (Table, Note, Gallery))]
        return next((block for block in found if block.title == title), found[0] if found else None)

    def _repr_html_(self) -> str:
        """What a notebook shows. This layer does not know HTML, so `render` is imported on demand."""
        return importlib.import_module("deepscope.render").fragment(self)
