"""`Animation` as MP4, where PyAV is installed."""

from __future__ import annotations

import io
import math
from fractions import Fraction

import numpy as np

from deepscope.render.plots.animation import frames_with_captions
from deepscope.results import Animation


def mp4(animation: Animation) -> bytes | None:
    """The animation as H.264 video, which every player and slide program shows; None where PyAV is not installed."""
    try:
        import av
    except ImportError:
        return None
    frames, file = frames_with_captions(animation), io.BytesIO()
    seconds = min(max(animation.seconds, 0.02), 60.0) if math.isfinite(animation.seconds) else 0.1
    with av.open(file, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(1000, round(1000 * seconds)), options={"crf": "18"})
        stream.pix_fmt = "yuv420p"  # what all players know
        stream.height, stream.width = (side + side % 2 for side in frames[0].shape[:2])  # only even sizes exist
        for frame in frames:
            even = np.pad(frame, (*((0, side % 2) for side in frame.shape[:2]), (0, 0)), mode="edge")
            film.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        film.mux(stream.encode())
    return file.getvalue()
