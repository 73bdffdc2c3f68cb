"""Where a model's weights, preprocessing and names of classes come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Attributes:
        source: in words: publication, release, what was converted.
        sha256: of the weights file; empty where the weights came from Python.
        licence: as the weights' publisher states it.
        preprocessing: where that comes from, in words; empty where the weights bring it.
        classes: where their names come from, in words; empty where the weights bring them.
    """

    source: str = ""
    sha256: str = ""
    licence: str = ""
    preprocessing: str = ""
    classes: str = ""
