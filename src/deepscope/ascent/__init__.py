"""The one gradient-ascent loop, and what fits into its holes: moves and projections."""

from deepscope.ascent.loop import Memory, Move, Project, Score, State, ascend
from deepscope.ascent.moves import Adam, Momentum, Normalised, Plain, Sign, Size, cosine
from deepscope.ascent.projections import Box, Chain, L2Ball, LinfBall, anywhere
from deepscope.ascent.streams import Streams

__all__ = [
    "Adam",
    "Box",
    "Chain",
    "L2Ball",
    "LinfBall",
    "Memory",
    "Momentum",
    "Move",
    "Normalised",
    "Plain",
    "Project",
    "Score",
    "Sign",
    "Size",
    "State",
    "Streams",
    "anywhere",
    "ascend",
    "cosine",
]
