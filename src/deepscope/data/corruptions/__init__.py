"""Corruptions: common degradations of photographs, at the severities of ImageNet-C.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019:
the 15 corruptions of the benchmark, and Gaussian blur of its validation set. They need neither OpenCV nor
ImageMagick, and apply to images of any size.
"""

from deepscope.data.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from deepscope.data.corruptions.corruption import SIDE, Corruption, shrunk
from deepscope.data.corruptions.digital import Contrast, ElasticTransform, JpegCompression, Pixelate
from deepscope.data.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from deepscope.data.corruptions.weather import Brightness, Fog, Frost, Snow

__all__ = [
    "SIDE",
    "Brightness",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "ElasticTransform",
    "Fog",
    "Frost",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "ImpulseNoise",
    "JpegCompression",
    "MotionBlur",
    "Pixelate",
    "ShotNoise",
    "Snow",
    "ZoomBlur",
    "shrunk",
]
