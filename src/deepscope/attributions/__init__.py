"""Attribution maps: which pixels determine a class score, by registered methods.

`explain` makes maps of images, `compare` applies several methods to the same images, and `evaluate` measures how far
their maps can be trusted.
"""

from deepscope.attributions.attention_rollout import AttentionRollout
from deepscope.attributions.attn_lrp import AttnLRP
from deepscope.attributions.attribution import Attribution, Baseline, per_pixel
from deepscope.attributions.class_activation import GradCAM, GradCAMPlusPlus, LayerCAM
from deepscope.attributions.compare import Comparison, compare
from deepscope.attributions.deep_lift import DeepLIFT
from deepscope.attributions.eigen_cam import EigenCAM
from deepscope.attributions.evaluate import Evaluation, Measurements, evaluate
from deepscope.attributions.explain import Explanations, attribute, explain
from deepscope.attributions.finer_cam import FinerCAM
from deepscope.attributions.generic_attention import GenericAttention
from deepscope.attributions.guided_backpropagation import GuidedBackpropagation
from deepscope.attributions.hires_cam import HiResCAM
from deepscope.attributions.integrated_gradients import IntegratedGradients
from deepscope.attributions.kernel_shap import KernelSHAP
from deepscope.attributions.legrad import LeGrad
from deepscope.attributions.lime import LIME
from deepscope.attributions.naming import as_measures, as_method, as_methods, labels
from deepscope.attributions.occlusion import Occlusion
from deepscope.attributions.rise import RISE
from deepscope.attributions.saliency import GradientTimesInput, Saliency
from deepscope.attributions.sanity import Sanity, SanityCheck
from deepscope.attributions.score_cam import ScoreCAM
from deepscope.attributions.smooth_grad import SmoothGrad
from deepscope.attributions.xrai import XRAI
from deepscope.registry import discover

__all__ = [
    "LIME",
    "RISE",
    "XRAI",
    "AttentionRollout",
    "AttnLRP",
    "Attribution",
    "Baseline",
    "Comparison",
    "DeepLIFT",
    "EigenCAM",
    "Evaluation",
    "Explanations",
    "FinerCAM",
    "GenericAttention",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientTimesInput",
    "GuidedBackpropagation",
    "HiResCAM",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "LeGrad",
    "Measurements",
    "Occlusion",
    "Saliency",
    "Sanity",
    "SanityCheck",
    "ScoreCAM",
    "SmoothGrad",
    "as_measures",
    "as_method",
    "as_methods",
    "attribute",
    "compare",
    "evaluate",
    "explain",
    "labels",
    "per_pixel",
]

discover(__name__)
