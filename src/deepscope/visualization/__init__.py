"""Class visualisation: images that a network believes to show a class (Simonyan et al. 2014, Yosinski et al. 2015)."""

from deepscope.visualization.climb import Frame, climb, final, suited
from deepscope.visualization.objectives import ChannelObjective, ClassObjective, LayerObjective, Objective
from deepscope.visualization.recipe import PRESETS, Recipe, preset

__all__ = [
    "PRESETS",
    "ChannelObjective",
    "ClassObjective",
    "Frame",
    "LayerObjective",
    "Objective",
    "Recipe",
    "climb",
    "final",
    "preset",
    "suited",
]
