"""Features of images: what the layers of a network put out, pooled to vectors, each computed once and kept."""

from deepscope.features.extraction import Features, Layer, backbone_of, extract
from deepscope.features.layers import class_layer_input

__all__ = ["Features", "Layer", "backbone_of", "class_layer_input", "extract"]
