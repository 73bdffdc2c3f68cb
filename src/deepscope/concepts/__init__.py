"""Concepts: what the layers of a network respond to, in terms of concepts that are given, found, or one per channel."""

from deepscope.concepts.discovery import Concept, Concepts, find
from deepscope.concepts.nearest import Near, nearest
from deepscope.concepts.tcav import ConceptTest, ConceptTests, tcav
from deepscope.concepts.units import Unit, Units, units

__all__ = [
    "Concept",
    "ConceptTest",
    "ConceptTests",
    "Concepts",
    "Near",
    "Unit",
    "Units",
    "find",
    "nearest",
    "tcav",
    "units",
]
