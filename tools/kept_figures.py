"""Figures of kept studies as small WebP files, and the numbers of curves, from which these are drawn again.

Pictures hold neither title nor caption: both stand beside them as text, which folds, scales and can be searched.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepscope.files import atomic
from deepscope.render import plots
from deepscope.render.folder import figures
from deepscope.render.json import Arrays, decode
from deepscope.results import Block, Curves, Result

CURVES, _KEPT_TYPE = "curves.npz", np.float32
"""The file of the numbers of curves, and their type: seven digits are more than a figure shows."""
_SIZE, _QUALITY = (960, 4000), 70
"""Pixels that a kept figure is at most wide and high, and its WebP quality."""
_WHITE, _ALIKE, _FOOT = 250, 0.8, 6
"""The grey that counts as white; how wide a gap between rows is by the widest; white lines that stay below a cut."""


def keep_figures(result: Result, target: Path) -> None:
    """Draw a result's figures into a folder; the numbers at the front of their names are their blocks' places."""
    for name, block in zip(figures(result), result.blocks, strict=True):
        if name:
            _write(block, target / f"{Path(name).stem}{_suffix(block)}")


def _suffix(block: Block) -> str:
    """Pages show curves, which have large letters, in less than their full width: `.md-content img`."""
    return ".curves.webp" if isinstance(block, Curves) else ".webp"


def _write(block: Block, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(drawn(block))


def keep_curves(document: dict[str, Any], source: Path, target: Path) -> None:
    """Keep the numbers of a result's curves, without which they could not be drawn again."""
    names = [name for block in document["blocks"] if block["type"] == "Curves" for name in _arrays(block)]
    if names:
        with np.load(source) as arrays, atomic(target) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{name: arrays[name].astype(_KEPT_TYPE) for name in names})


def _arrays(value: Any) -> dict[str, str]:
    """The names of all arrays below a part of a result.json, with their types."""
    if isinstance(value, list):
        return {name: kind for item in value for name, kind in _arrays(item).items()}
    if not isinstance(value, dict):
        return {}
    if "array" in value:
        return {value["array"]: value["dtype"]}
    return _arrays(list(value.values()))


def redraw(study: Path) -> list[Path]:
    """Draw the curves of the kept studies whose numbers are kept; returns the figures."""
    written = list[Path]()
    for path in sorted(study.glob(f"*/{CURVES}")):
        document = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))
        with np.load(path) as kept:
            arrays: Arrays = {n: kept[n].astype(kind) for n, kind in _arrays(document["blocks"]).items() if n in kept}
        for place, block in enumerate(document["blocks"], 1):
            if block["type"] == "Curves" and arrays.keys() >= _arrays(block).keys():
                one = decode({**document, "blocks": [block]}, arrays)
                stem = Path(figures(one)[0]).stem.removeprefix("01")
                figure = path.parent / f"{place:02}{stem}{_suffix(one.blocks[0])}"
                _write(one.blocks[0], figure)
                written.append(figure)
    return written


def drawn(figure: Block, size: tuple[int, int] = _SIZE) -> bytes:
    """A figure as a small still WebP; an animation gives its last frame."""
    pixels = plots.draw(figure, titled=False)
    assert pixels is not None
    return _small(Image.fromarray(pixels), size)


def first_rows(path: Path, size: tuple[int, int], shape: float) -> bytes:
    """A kept figure as a smaller one.

    Args:
        path: the figure.
        size: pixels that it is at most wide and high.
        shape: height by width beyond which a grid is cut to its first rows.
    """
    with Image.open(path) as image:
        return _small(beginning(image.convert("RGB"), shape), size)


def beginning(image: Image.Image, shape: float) -> Image.Image:
    """The first rows of a grid of pictures that is higher than `shape` by its width: it is cut between two rows."""
    most = round(image.width * shape)
    if image.height <= most:
        return image
    white = (np.asarray(image.convert("L")) > _WHITE).all(1)
    edges = np.flatnonzero(np.diff(white.astype(int), prepend=0, append=0))
    gaps = [(int(start), int(end - start)) for start, end in edges.reshape(-1, 2) if most // 2 <= start < most - _FOOT]
    widest = max((width for _, width in gaps), default=0)
    ends = [start + _FOOT for start, width in gaps if width >= _ALIKE * widest]
    return image.crop((0, 0, image.width, ends[-1] if ends else most))


def _small(image: Image.Image, size: tuple[int, int]) -> bytes:
    image.thumbnail(size)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=6)
    return file.getvalue()
