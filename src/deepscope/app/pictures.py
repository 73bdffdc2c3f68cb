"""Images that the server holds, in memory alone, and what is painted over them."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from deepscope import images
from deepscope.app.asked import Stroke
from deepscope.errors import DataError
from deepscope.names import visible
from deepscope.presenters.shown import picture
from deepscope.render.html import data_uri

UPLOAD = 32 * 2**20
"""Bytes of an image that is sent to the server."""
LIMITS = images.Limits(bytes=UPLOAD, pixels=64_000_000, memory=640 * 2**20)
_MOST, _MEMORY = 24, 512 * 2**20
"""Images that are held, and the bytes of all their pixels."""
_SHOWN = 720
"""Longer side of the picture in the page."""
_CHOICES = 400
COLOURS = {"grey": (127, 127, 127), "black": (0, 0, 0), "white": (255, 255, 255)}
"""RGB that each brush leaves, but for the one that blurs."""


@dataclass(frozen=True)
class Held:
    """An image in memory.

    Attributes:
        key: names it in requests: part of the digest of its file.
        name: of its file.
        image: upright RGB.
    """

    key: str
    name: str
    image: Image.Image


class Shelf:
    """The images that the page uses, the oldest of them given up for new ones.

    Args:
        at_least: the shorter side that a large JPEG may shrink to while it is decoded.
    """

    def __init__(self, at_least: int) -> None:
        self._at_least = at_least
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, content: bytes, name: str) -> Held:
        """Decode and hold the bytes of a file. Raises UnreadableImage where they are not an image, or too large."""
        key = hashlib.sha256(content).hexdigest()[:20]
        with self._lock:
            known = self._held.get(key)
        held = known or Held(key, visible(name), images.decode(content, at_least=self._at_least, limits=LIMITS))
        with self._lock:
            self._held[key] = held
            self._held.move_to_end(key)
            while len(self._held) > 1 and (len(self._held) > _MOST or self._size() > _MEMORY):
                self._held.popitem(last=False)
        return held

    def get(self, key: str) -> Held:
        """The image of that key. Raises DataError where it is not held, or not any more."""
        with self._lock:
            if key not in self._held:
                raise DataError("the server holds this image no longer: open it again")
            self._held.move_to_end(key)
            return self._held[key]

    def _size(self) -> int:
        return sum(3 * held.image.width * held.image.height for held in self._held.values())


def choices(folder: Path | None, bundled: Sequence[Path]) -> dict[str, Path]:
    """The images that the page offers, by name: those of a folder, or the bundled ones.

    What a link leads out of the folder to is left out.

    Raises:
        DataError: the folder holds no image.
    """
    if folder is None:
        return {path.name: path for path in bundled}
    root, found = folder.resolve(), dict[str, Path]()
    for path in images.find([folder]).paths:
        if path.resolve().is_relative_to(root) and len(found) < _CHOICES:
            found[path.relative_to(folder).as_posix()] = path
    if not found:
        raise DataError(f"{folder} holds no image: name a folder with images", data=folder)
    return found


def painted(image: Image.Image, strokes: Sequence[Stroke]) -> Image.Image:
    """The image with strokes over it, each over those before it."""
    for stroke in strokes:
        mask = Image.new("L", image.size)
        _draw(ImageDraw.Draw(mask), stroke, image.size)
        over = _blurred(image) if stroke.brush == "blur" else Image.new("RGB", image.size, COLOURS[stroke.brush])
        image = Image.composite(over, image, mask)
    return image


def _draw(mask: ImageDraw.ImageDraw, stroke: Stroke, size: tuple[int, int]) -> None:
    width, height = size
    diameter = max(1.0, stroke.size * min(size) / 1000)
    points = [(x * width / 1000, y * height / 1000) for x, y in stroke.points]
    for x, y in points:
        mask.ellipse((x - diameter / 2, y - diameter / 2, x + diameter / 2, y + diameter / 2), fill=255)
    if len(points) > 1:
        mask.line(points, fill=255, width=round(diameter))


def _blurred(image: Image.Image) -> Image.Image:
    """The image without detail: of a large one a smaller copy is blurred."""
    side = min(image.size)
    small = image.reduce(max(1, side // 160))
    return small.filter(ImageFilter.GaussianBlur(min(small.size) / 16)).resize(image.size, Image.Resampling.BILINEAR)


def shown(image: Image.Image, side: int = _SHOWN) -> str:
    """An image for the page, as a data URI."""
    small = image.copy()
    small.thumbnail((side, side))
    return _written(small, "JPEG", quality=88)


def exact(pixels: Tensor) -> str:
    """(3, H, W) pixels in [0, 1], as a data URI that keeps every one of them."""
    return _written(Image.fromarray(picture(pixels).pixels), "PNG", compress_level=1)


def lossless(levels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """(H, W, 3) or (H, W, 4) levels as a data URI."""
    return _written(Image.fromarray(levels), "PNG", compress_level=1)


def thumbnails(paths: dict[str, Path], side: int = 96) -> dict[str, str]:
    """Small pictures of the first choices, by name; without those that cannot be read."""

    def small(path: Path) -> str:
        return shown(images.decode(path, at_least=side, limits=LIMITS), side)

    return {name: made for name, path in paths.items() if (made := _or_nothing(small, path))}


def _or_nothing(make: Callable[[Path], str], path: Path) -> str:
    try:
        return make(path)
    except (images.UnreadableImage, images.Exhausted):
        return ""


def _written(image: Image.Image, kind: str, **settings: int) -> str:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return data_uri(f"image/{kind.lower()}", file.getvalue())
