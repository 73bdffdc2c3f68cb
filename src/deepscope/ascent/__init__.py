"""The one gradient-ascent loop, with its update rules and projections."""

from deepscope.ascent.loop import Memory, Project, Score, State, UpdateRule, ascend
from deepscope.ascent.projections import Box, Chain, L1Ball, L2Ball, LinfBall, anywhere
from deepscope.ascent.streams import Streams
from deepscope.ascent.update_rules import Adam, Momentum, Normalised, Plain, Sign, Size, cosine

__all__ = [
    "Adam",
    "Box",
    "Chain",
    "L1Ball",
    "L2Ball",
    "LinfBall",
    "Memory",
    "Momentum",
    "Normalised",
    "Plain",
    "Project",
    "Score",
    "Sign",
    "Size",
    "State",
    "Streams",
    "UpdateRule",
    "anywhere",
    "ascend",
    "cosine",
]
