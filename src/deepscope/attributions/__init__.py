"""Attribution maps: which pixels a class score rests on, by registered methods that find themselves."""

from deepscope.attributions.attribution import Attribution, Baseline, per_pixel
from deepscope.attributions.class_activation import GradCAM, GradCAMPlusPlus, LayerCAM
from deepscope.attributions.deep_lift import DeepLIFT
from deepscope.attributions.guided_backpropagation import GuidedBackpropagation
from deepscope.attributions.integrated_gradients import IntegratedGradients
from deepscope.attributions.occlusion import Occlusion
from deepscope.attributions.rise import RISE
from deepscope.attributions.saliency import GradientTimesInput, Saliency
from deepscope.attributions.score_cam import ScoreCAM
from deepscope.attributions.smooth_grad import SmoothGrad
from deepscope.registry import discover

__all__ = [
    "RISE",
    "Attribution",
    "Baseline",
    "DeepLIFT",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientTimesInput",
    "GuidedBackpropagation",
    "IntegratedGradients",
    "LayerCAM",
    "Occlusion",
    "Saliency",
    "ScoreCAM",
    "SmoothGrad",
    "per_pixel",
]

discover(__name__)
