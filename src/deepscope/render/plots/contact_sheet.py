"""A gallery as a still figure, where no script runs: its first images, with what was predicted."""

from __future__ import annotations

import numpy as np

from deepscope import images
from deepscope.gallery import Encoded, Entry, Gallery
from deepscope.render.plots.canvas import Pixels
from deepscope.results import ImageGrid, Picture

_SHOWN, _ACROSS = 24, 6


def of(gallery: Gallery) -> ImageGrid:
    """The first images of the gallery that have a picture."""
    cells = list[Picture]()
    for entry in gallery.entries:
        pixels = decoded(entry.picture)
        if pixels is not None:
            cells.append(Picture(pixels, _caption(entry)))
        if len(cells) == _SHOWN:
            break
    rows = tuple(tuple(cells[at : at + _ACROSS]) for at in range(0, len(cells), _ACROSS))
    return ImageGrid(rows, gallery.title, gallery.caption)


def decoded(encoded: Encoded) -> Pixels | None:
    """The pixels of a picture; None where it is not one: a gallery may come from a file."""
    if not len(encoded):
        return None
    try:
        return np.asarray(images.decode(encoded.tobytes()))
    except images.UnreadableImage:
        return None


def _caption(entry: Entry) -> str:
    if not entry.predicted:
        return entry.truth
    if entry.right is not False or not entry.truth:
        return entry.predicted
    return f"{entry.predicted}, is {entry.truth}"
