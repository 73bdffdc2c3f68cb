"""Learning-rate schedules."""

from __future__ import annotations

import math


def cosine_decay(progress: float) -> float:
    """(1 + cos(pi p)) / 2, from 1 to 0 as p goes from 0 to 1: Loshchilov and Hutter, "SGDR", 2017."""
    return (1 + math.cos(math.pi * progress)) / 2
