"""What a model sees in images: the most probable classes, and what its layers put out."""

from deepscope.classification.activations import Activations, activations
from deepscope.classification.agreement import Agreement, check_predictions
from deepscope.classification.classify import Classification, classify

__all__ = ["Activations", "Agreement", "Classification", "activations", "check_predictions", "classify"]
