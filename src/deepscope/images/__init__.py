"""Bytes to pixels: every image decodes to the RGB picture a person sees, or says why it cannot.

`decode` reads one image; `find` lists the images below what a person named; `stream` reads many,
in batches, decoding ahead in threads, skipping and listing bad ones.
"""

from __future__ import annotations

from deepscope.images.decoding import FORMATS, Limits, Source, decode
from deepscope.images.finding import Found, find
from deepscope.images.refusals import Skipped, UnreadableImage
from deepscope.images.streaming import Batch, decoding_threads, stream

__all__ = [
    "FORMATS",
    "Batch",
    "Found",
    "Limits",
    "Skipped",
    "Source",
    "UnreadableImage",
    "decode",
    "decoding_threads",
    "find",
    "stream",
]
