"""`Animation` as GIF or WebP: small frames enlarged without blur, captions under the picture."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from deepscope.render.plots.canvas import BODY, MUTED, Canvas, Pixels, block_height, fold, resize, style
from deepscope.results import Animation

_SMALLEST, _LARGEST = 256, 640
"""Pixels: the longer side of a frame, enlarged to about the first and shrunk to the second."""
_DENSITY = 1.25
"""Pixels of a frame to a CSS pixel of its caption: frames are smaller than figures, and moving."""
_SAMPLES = 24
"""Frames that the shared palette is drawn from."""


def gif(animation: Animation) -> bytes:
    """The animation as a GIF that loops for ever; one palette for all frames, so that still parts do not flicker."""
    frames = [Image.fromarray(frame) for frame in frames_with_captions(animation)]
    palette = _palette(frames)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return _save(indexed, animation.seconds, "GIF", optimize=False, disposal=1)


def webp(animation: Animation) -> bytes:
    """The animation as a WebP that loops for ever: full colour, and a fraction of the GIF's size."""
    frames = [Image.fromarray(frame) for frame in frames_with_captions(animation)]
    return _save(frames, animation.seconds, "WEBP", quality=85, method=4)


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
    duration = round(min(max(seconds, 0.02), 60.0) * 1000) if math.isfinite(seconds) else 100
    file = io.BytesIO()
    frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=duration, loop=0, **options)
    return file.getvalue()
