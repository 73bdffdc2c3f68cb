"""What an image is compared by: digests of its file and pixels, a hash of its structure, and its colours."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope import images

BITS = 255
"""Of a perceptual hash."""

_COLOURS = 16
_THUMBNAIL = 32
_FLAT = 2.0


def perceptual_hash(image: Image.Image) -> NDArray[np.bool_] | None:
    """255 bits that survive resizing and re-encoding; None for a picture of one colour, which has no structure.

    The signs of the 255 lowest frequencies of a 32 x 32 grey thumbnail's cosine transform (after
    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010).
    """
    from scipy.fft import dctn

    grey = image.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    thumbnail = np.asarray(grey, dtype=np.float32)
    if thumbnail.std() < _FLAT:
        return None
    frequencies = np.asarray(dctn(thumbnail))
    return frequencies[:16, :16].reshape(-1)[1:] > 0


def colours(image: Image.Image) -> NDArray[np.int16]:
    """(512,) the two colour differences, Cb and Cr in [0, 255], of the means of 16 x 16 parts of an image."""
    parts = image.resize((_COLOURS, _COLOURS), Image.Resampling.BOX).convert("YCbCr")
    return np.asarray(parts, dtype=np.int16)[..., 1:].reshape(-1)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """An image, where it stands, and what it is compared by.

    Attributes:
        path: its name in the result.
        split: "train", or the folder that it is held out in; empty where the data is undivided.
        label: its class; empty where it has none.
        file: SHA-256 of the file.
        pixels: SHA-256 of the size and of the decoded pixels.
        bits: see `perceptual_hash`.
        colours: see `colours`.
    """

    path: Path
    split: str
    label: str
    file: str
    pixels: bytes
    bits: NDArray[np.bool_] | None
    colours: NDArray[np.int16]


Seen: TypeAlias = "tuple[str, bytes, NDArray[np.bool_] | None, NDArray[np.int16]]"
"""The last four attributes of a `Fingerprint`."""


def fingerprint(source: images.Source) -> Seen | str:
    """Digests of the file and of its decoded pixels, the hash and the colours; or why the image cannot be read."""
    try:
        read = images.content(source) if isinstance(source, (str, Path)) else source
        image = images.decode(read)
    except images.UnreadableImage as error:
        return error.reason
    pixels = sha256(repr(image.size).encode())
    pixels.update(image.tobytes())
    return images.digest(read).hex(), pixels.digest(), perceptual_hash(image), colours(image)
