"""Class visualisation: images that maximise class scores (Simonyan et al. 2014, Yosinski et al. 2015)."""

from deepscope.visualization.climb import Frame, climb, final, suited
from deepscope.visualization.evaluation import Evaluation
from deepscope.visualization.making import Made, make_images, watch_frames
from deepscope.visualization.objectives import ChannelObjective, ClassObjective, LayerObjective, Objective
from deepscope.visualization.quality import Recognition, recognise
from deepscope.visualization.recipe import PRESETS, Recipe, preset
from deepscope.visualization.workflow import ClassImages, Layer, visualize

__all__ = [
    "PRESETS",
    "ChannelObjective",
    "ClassImages",
    "ClassObjective",
    "Evaluation",
    "Frame",
    "Layer",
    "LayerObjective",
    "Made",
    "Objective",
    "Recipe",
    "Recognition",
    "climb",
    "final",
    "make_images",
    "preset",
    "recognise",
    "suited",
    "visualize",
    "watch_frames",
]
