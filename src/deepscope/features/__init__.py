"""Features of images: the output of a network's layers, pooled to vectors, computed once and cached."""

from deepscope.features.extraction import Features, Layer, backbone_of, extract
from deepscope.features.layers import class_layer_input

__all__ = ["Features", "Layer", "backbone_of", "class_layer_input", "extract"]
