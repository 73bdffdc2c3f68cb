"""A gallery with everything that an entry may have, made by hand."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from deepscope.gallery import Adversarial, Copy, Encoded, Entry, Gallery, Measured, Near, Projection

CLASSES = ("cat", "dog", "fox <b>")
HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>.jpg'
MEASURED = (
    Measured("confidence", "confidence", "The probability of the predicted class.", "share", 1),
    Measured("loss", "loss", "Cross-entropy."),
    Measured("radius", "robustness radius", "In grey levels.", decimals=0, beyond="above 8"),
)


def webp(side: int = 96, seed: int = 0, mode: str = "RGB") -> Encoded:
    """A picture of noise around a colour; with transparency for a map."""
    rng = np.random.default_rng(seed)
    channels = len(mode)
    pixels = (rng.integers(0, 200, channels) + rng.integers(0, 56, (side // 8, side // 8, channels))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).resize((side, side)).save(file, "WEBP", quality=60)
    return np.frombuffer(file.getvalue(), np.uint8)


def gallery(count: int = 30, *, train: int = 10) -> Gallery:
    """Evaluated images, every third of them wrong, and training images.

    Image i shows class i % 3; a wrong one is taken for the next class. Its confidence is (i + 0.5) / count. The first
    ten have a radius: i grey levels, and infinity for the last of them. Image 12 and the third training image are
    copies; images 13 and 16 are in a failing slice.
    """
    entries = [_evaluated(row, count, train) for row in range(count)]
    entries += [
        Entry(
            f"t{row}",
            f"train-{row}.jpg",
            f"data/train/train-{row}.jpg",
            webp(48, 900 + row),
            "train",
            flags={"leak": "A copy of image-12.jpg."} if row == 2 else {},
            copies=(Copy("e12", "the same pixels"),) if row == 2 else (),
        )
        for row in range(train)
    ]
    projection = Projection("t-SNE of the first 50 principal components", 0.9756, 12)
    return Gallery(tuple(_placed(entries)), MEASURED, "The images", projection=projection)


def _evaluated(row: int, count: int, train: int) -> Entry:
    truth, wrong = row % 3, row // 3 % 3 == 2
    predicted = (truth + wrong) % 3
    confidence = (row + 0.5) / count
    values = {"confidence": confidence, "loss": -math.log(0.1 if wrong else confidence)}
    if row < 10:
        values["radius"] = math.inf if row == 9 else float(row)
    name = HOSTILE if row == 4 else f"image-{row}.jpg"
    return Entry(
        key=f"e{row}",
        name=name,
        file=f"data/test/{name}",
        picture=webp(96, row),
        split="test",
        truth=CLASSES[truth],
        predicted=CLASSES[predicted],
        right=not wrong,
        top=((CLASSES[predicted], confidence), (CLASSES[(predicted + 1) % 3], 1 - confidence)),
        values=values,
        flags=_flags(row),
        copies=(Copy("t2", "the same pixels"),) if row == 12 and train > 2 else (),
        maps={"saliency": webp(56, row, "RGBA"), "grad-cam": webp(56, row + 1, "RGBA")} if row < 4 else {},
        adversarial=_changed(row) if row in (1, 2) else None,
        near=tuple(Near(f"t{(row + step) % train}", 0.1 * (step + 1)) for step in range(2)) if train else (),
    )


def _flags(row: int) -> dict[str, str]:
    known = {
        6: {"suspected label error": "Looks like fox <b> (97%)."},
        12: {"leak": "A copy of train-2.jpg."},
        13: {"failing slice 1": "Errors 60 %, elsewhere 20 %."},
        16: {"failing slice 1": "Errors 60 %, elsewhere 20 %."},
    }
    return known.get(row, {})


def _changed(row: int) -> Adversarial:
    return Adversarial(webp(96, 500 + row), webp(96, 600 + row), 63, "dog", 0.75, "pgd, at most 2 grey levels of 255")


def _placed(entries: list[Entry]) -> list[Entry]:
    """On a spiral, so that no two are near."""
    found = []
    for row, entry in enumerate(entries):
        angle, radius = 2.4 * row, math.sqrt(row + 1)
        place = (radius * math.cos(angle), radius * math.sin(angle))
        found.append(Entry(**{**vars(entry), "place": place}))
    return found
