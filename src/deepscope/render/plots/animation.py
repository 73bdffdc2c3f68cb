"""`Animation` as GIF or WebP: small frames enlarged without blur, captions under the picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from deepscope.render.palette import MUTED
from deepscope.render.plots.canvas import Canvas, Pixels, resize
from deepscope.render.plots.style import BODY, style
from deepscope.render.plots.texts import block_height, fold
from deepscope.results import Animation

_SMALLEST, _LARGEST = 256, 640
"""Pixels: the longer side of a frame, enlarged to about the first and shrunk to the second."""
_DENSITY = 1.25
"""Frame pixels per CSS pixel of its caption: frames are smaller than figures."""
_SAMPLES = 24
"""Frames that the shared palette is drawn from."""
_MOST = 60
"""The most frames that are drawn; of more, evenly spaced ones are taken, including the first and the last."""


@dataclass(frozen=True)
class Film:
    """The frames of an animation on one sheet, for a player.

    Attributes:
        webp: the sheet as a WebP file: the frames from left to right, then downwards, all of one size.
        frames, columns, rows: how many.
        seconds: that a frame is shown for.
    """

    webp: bytes
    frames: int
    columns: int
    rows: int
    seconds: float


def gif(animation: Animation) -> bytes:
    """The animation as a GIF that loops forever; one palette for all frames, so that still parts do not flicker."""
    frames = [Image.fromarray(frame) for frame in frames_with_captions(animation)]
    palette = _palette(frames)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return _save(indexed, animation.seconds, "GIF", optimize=False, disposal=1)


def webp(animation: Animation) -> bytes:
    """The animation as a WebP that loops forever: full colour, and a fraction of the GIF's size."""
    frames = [Image.fromarray(frame) for frame in frames_with_captions(animation)]
    return _save(frames, animation.seconds, "WEBP", quality=85, method=4)


def film(animation: Animation) -> Film:
    """The animation's frames on one sheet."""
    frames = frames_with_captions(animation)
    count = min(len(frames), _MOST)
    frames = [frames[round(place * (len(frames) - 1) / max(1, count - 1))] for place in range(count)]
    height, width = frames[0].shape[:2]
    columns = min(count, math.ceil(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for place, frame in enumerate(frames):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = frame
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "WEBP", quality=82, method=4)
    return Film(file.getvalue(), count, columns, rows, _duration(animation.seconds) / 1000)


def frames_with_captions(animation: Animation) -> list[Pixels]:
    """The frames as they are shown, all of one size; a white one where there is none."""
    if not animation.frames.size:
        return [np.full((32, 128, 3), 255, np.uint8)]
    width, height = _size(animation.frames[0])
    if not animation.captions:
        return [resize(frame, width, height) for frame in animation.frames]
    across = max(width, 160)
    texts = [fold(caption, across / _DENSITY - 8, lines=3) for caption in animation.captions]
    strip = max(block_height(text, BODY) for text in texts) + 8
    left = (across - width) // 2
    sheets = []
    with style():
        for frame, text in zip(animation.frames, texts):
            canvas = Canvas(across / _DENSITY, strip, _DENSITY)
            canvas.text(across / _DENSITY / 2, 4, text, colour=MUTED, across="center")
            caption = canvas.pixels()
            sheet = np.full((height + len(caption), across, 3), 255, np.uint8)
            sheet[:height, left : left + width] = resize(frame, width, height)
            sheet[height:, :] = caption[:, :across]
            sheets.append(sheet)
    return sheets


def _size(frame: Pixels) -> tuple[int, int]:
    height, width = frame.shape[:2]
    longer = max(height, width)
    if longer > _LARGEST:
        return tuple(max(1, round(side * _LARGEST / longer)) for side in (width, height))  # type: ignore[return-value]
    factor = max(1, _SMALLEST // longer)
    return width * factor, height * factor


def _palette(frames: list[Image.Image]) -> Image.Image:
    chosen = frames[:: math.ceil(len(frames) / _SAMPLES)]
    strip = Image.new("RGB", (sum(frame.width for frame in chosen), chosen[0].height))
    for index, frame in enumerate(chosen):
        strip.paste(frame, (index * frame.width, 0))
    return strip.quantize(256, method=Image.Quantize.MEDIANCUT)


def _save(frames: list[Image.Image], seconds: float, form: str, **options: int | bool) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=_duration(seconds), loop=0, **options)
    return file.getvalue()


def _duration(seconds: float) -> int:
    """Milliseconds of a frame."""
    return round(min(max(seconds, 0.02), 60.0) * 1000) if math.isfinite(seconds) else 100
