"""Models: what can be named, where it comes from, and one way to use it."""

from deepscope.models.options import ModelOptions
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.saving import save_model
from deepscope.models.source import DEFAULT, Entry, ModelSource, catalogue, held_device, load_model
from deepscope.models.vision_model import VisionModel
from deepscope.models.wrapping import wrap
from deepscope.registry import discover

__all__ = [
    "DEFAULT",
    "Entry",
    "ModelOptions",
    "ModelSource",
    "Origin",
    "Preprocessing",
    "VisionModel",
    "catalogue",
    "held_device",
    "load_model",
    "save_model",
    "wrap",
]

discover(__name__)
