"""What is measured of a generator's samples after each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from deepscope.gans.pictures import Labelled, Pictures
from deepscope.gans.quality import Evaluator, draw, frechet_distance, variety
from deepscope.gans.saved import GAN
from deepscope.gans.stability import diversity
from deepscope.session import Session

_SAMPLES = 1000
"""Samples of each epoch."""


def watching(
    pictures: Pictures, evaluator: Evaluator | None, conditional: bool, session: Session
) -> Callable[[GAN], dict[str, float]]:
    """A function that measures samples of a generator.

    Args:
        pictures: the data, whose diversity is the unit of the samples'.
        evaluator: classifies the samples; without one, only their diversity is measured.
        conditional: whether samples have classes.
        session: draws the samples.
    """

    def varied(part: Labelled) -> float:
        return diversity(part.images, part.labels if conditional else torch.zeros_like(part.labels))

    spread = varied(pictures.train.some(_SAMPLES, session.rng("diversity")))

    def measure(gan: GAN) -> dict[str, float]:
        samples = draw(gan, pictures, _SAMPLES, session, stream="watched")
        figures = {"diversity": varied(samples) / spread if spread else math.nan}  # copies of one image have none
        return figures | (_seen(evaluator, samples, pictures, conditional=conditional) if evaluator else {})

    return measure


def _seen(evaluator: Evaluator, samples: Labelled, pictures: Pictures, *, conditional: bool) -> dict[str, float]:
    """Measures by the evaluator. A Frechet distance of few images is biased upwards, and only compares epochs."""
    figures = variety(evaluator, samples, pictures, conditional=conditional)
    if evaluator.channels == pictures.channels:
        real = evaluator.features(pictures.test.images[:_SAMPLES])
        figures["watched-fid"] = frechet_distance(real, evaluator.features(samples.images))
    return figures
