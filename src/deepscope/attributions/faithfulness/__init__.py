"""Measures of how far attribution maps can be trusted, in place of visual inspection."""

from deepscope.attributions.faithfulness.confidence import AverageDrop, Increase
from deepscope.attributions.faithfulness.measure import Explanation, Measure
from deepscope.attributions.faithfulness.perturbation import Deletion, Insertion
from deepscope.attributions.faithfulness.pointing import energy_inside
from deepscope.attributions.faithfulness.randomisation import Randomisation, rank_correlation
from deepscope.attributions.faithfulness.roughness import Roughness
from deepscope.attributions.faithfulness.sensitivity import MaxSensitivity

__all__ = [
    "AverageDrop",
    "Deletion",
    "Explanation",
    "Increase",
    "Insertion",
    "MaxSensitivity",
    "Measure",
    "Randomisation",
    "Roughness",
    "energy_inside",
    "rank_correlation",
]
