"""Image decoding: every image decodes to upright RGB, or is refused with the reason.

`decode` reads one image; `find` lists the images below named files and folders; `stream` reads many,
in batches, decoding ahead in threads, skipping and listing bad ones.
"""

from __future__ import annotations

from deepscope.images.bounds import Limits
from deepscope.images.decoding import FORMATS, decode
from deepscope.images.encoding import Encoding, decode_with_encoding
from deepscope.images.files import Source, content, digest, opened, parts
from deepscope.images.finding import Found, duplicate, find, suffixes, walk
from deepscope.images.refusals import Exhausted, Skipped, UnreadableImage
from deepscope.images.stacks import read_stack
from deepscope.images.streaming import Batch, decoding_threads, stream

__all__ = [
    "FORMATS",
    "Batch",
    "Encoding",
    "Exhausted",
    "Found",
    "Limits",
    "Skipped",
    "Source",
    "UnreadableImage",
    "content",
    "decode",
    "decode_with_encoding",
    "decoding_threads",
    "digest",
    "duplicate",
    "find",
    "opened",
    "parts",
    "read_stack",
    "stream",
    "suffixes",
    "walk",
]
