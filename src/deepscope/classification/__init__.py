"""Classification of images, and the activations of a model's layers."""

from deepscope.classification.activations import Activations, activations
from deepscope.classification.agreement import Agreement, check_predictions
from deepscope.classification.classify import Classification, classify

__all__ = ["Activations", "Agreement", "Classification", "activations", "check_predictions", "classify"]
