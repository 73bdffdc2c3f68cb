"""Classification of images, and the activations of a model's layers."""

from deepscope.classification.activations import Activations, activations
from deepscope.classification.classify import Classification, classify

__all__ = ["Activations", "Classification", "activations", "classify"]
