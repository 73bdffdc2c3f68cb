"""Classification of images, and the activations of a model's layers."""

from deepscope.classification.activations import Activations, activations
from deepscope.classification.agreement import Agreement, check_predictions
from deepscope.classification.classify import Classification, classify
from deepscope.classification.labels import LabelEvaluation, evaluate_labels

__all__ = [
    "Activations",
    "Agreement",
    "Classification",
    "LabelEvaluation",
    "activations",
    "check_predictions",
    "classify",
    "evaluate_labels",
]
