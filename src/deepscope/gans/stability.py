"""Signs of trouble in a training's history, in words."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from deepscope.training import History

_WON, _SAME, _LOST, _STUCK = 0.97, 0.3, 0.5, 1e-3


def diversity(images: Tensor, labels: Tensor) -> float:
    """Mean variance of a pixel among (N, C, H, W) uint8 images of one label (N,); NaN where no label comes twice.

    It is half the mean squared distance of two images of a class, in units of [0, 1] pixels.
    """
    found = [
        (images[labels == label].float() / 255).var(0).mean()
        for label in labels.unique()
        if int((labels == label).sum()) > 1
    ]
    return float(torch.stack(found).mean()) if found else math.nan


def diagnose(history: History) -> tuple[str, ...]:
    """What went wrong, one sentence each; nothing where all is well.

    It reads the last quarter of "score/real" and "score/fake" (where they are probabilities), "gradient/generator",
    "loss/generator", "diversity" (relative to the real images') and "modes" with "modes/real".
    """
    found = []
    real, fake = _late(history, "score/real"), _late(history, "score/fake")
    if real > _WON and 0 <= fake < 1 - _WON and real <= 1:
        found.append(
            f"The discriminator has won: it calls {100 * real:.0f} % of real and {100 * fake:.0f} % of generated "
            f"images real, so the generator learns little. Lower the rate, or use fewer discriminator steps."
        )
    if _late(history, "gradient/generator") < _STUCK:
        found.append("The generator's gradient has vanished: it no longer learns. Try the non-saturating objective.")
    found += [*_collapse(history), *_missing(history)]
    return tuple(found)


def _collapse(history: History) -> list[str]:
    values = history.column("diversity")[1]
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    if values[-1] < _SAME:
        return [
            f"Mode collapse: generated images of a class differ from each other only {100 * values[-1]:.0f} % as much "
            f"as real ones. Try R1 without normalisation, another objective, or packing of 2."
        ]
    if values[-1] < _LOST * values.max():
        before, now = 100 * values.max(), 100 * values[-1]
        return [f"Diversity is being lost: it was {before:.0f} % of the real images' and is {now:.0f} % now."]
    return []


def _missing(history: History) -> list[str]:
    modes, real = history.column("modes")[1], history.column("modes/real")[1]
    if not len(modes) or not len(real) or modes[-1] >= 0.9 * real[-1]:
        return []
    return [
        f"Modes are missing: {modes[-1]:.0f} classes appear among the samples, {real[-1]:.0f} among at most as many "
        f"real ones."
    ]


def _late(history: History, name: str) -> float:
    """Mean of the last quarter; NaN where it was never measured."""
    values = history.column(name)[1]
    return float(values[-max(len(values) // 4, 1) :].mean()) if len(values) else math.nan
