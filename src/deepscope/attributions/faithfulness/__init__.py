"""Measures of how far attribution maps can be trusted, in place of visual inspection."""

from deepscope.attributions.faithfulness.concentration import Complexity, Sparseness
from deepscope.attributions.faithfulness.confidence import AverageDrop, Increase
from deepscope.attributions.faithfulness.infidelity import Infidelity
from deepscope.attributions.faithfulness.measure import Explanation, Measure
from deepscope.attributions.faithfulness.perturbation import Deletion, Insertion
from deepscope.attributions.faithfulness.pointing import energy_inside, rank_inside
from deepscope.attributions.faithfulness.random_logit import RandomLogit
from deepscope.attributions.faithfulness.randomisation import Randomisation, rank_correlation
from deepscope.attributions.faithfulness.road import ROAD
from deepscope.attributions.faithfulness.roughness import Roughness
from deepscope.attributions.faithfulness.sensitivity import MaxSensitivity

__all__ = [
    "ROAD",
    "AverageDrop",
    "Complexity",
    "Deletion",
    "Explanation",
    "Increase",
    "Infidelity",
    "Insertion",
    "MaxSensitivity",
    "Measure",
    "RandomLogit",
    "Randomisation",
    "Roughness",
    "Sparseness",
    "energy_inside",
    "rank_correlation",
    "rank_inside",
]
