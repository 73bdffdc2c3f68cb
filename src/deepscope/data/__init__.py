"""Data: folders of the user's own images, and the named datasets of the studies."""

from deepscope.data.dataset import Dataset, first_here, load_any, load_dataset
from deepscope.data.digits import Digits, DigitSplit
from deepscope.data.folders import ClassFolders, Labelled
from deepscope.data.photographs import Photographs, Truth, truth
from deepscope.registry import discover

__all__ = [
    "ClassFolders",
    "Dataset",
    "DigitSplit",
    "Digits",
    "Labelled",
    "Photographs",
    "Truth",
    "first_here",
    "load_any",
    "load_dataset",
    "truth",
]

discover(__name__)
