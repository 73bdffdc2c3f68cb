"""Transfer: from labelled images to a classifier in the user's own classes, on features of pretrained networks.

`ImageClassifier` follows scikit-learn's conventions; `compare_features`, `fit`, `improve` and `export` are the
workflows behind the commands of `deepscope transfer`; `label_errors` finds labels that are probably wrong, and
`training_images` those images that made a classifier give its answer;
`calibrate` and `abstain` make its confidences mean something.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepscope.inputs.examples import Data, Examples
from deepscope.transfer.abstention import Abstention, abstain
from deepscope.transfer.calibration import Calibration, calibrate
from deepscope.transfer.compare import FeatureComparison, compare_features
from deepscope.transfer.export import Export, export
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fit import FittedClassifier, fit
from deepscope.transfer.heads import Head
from deepscope.transfer.improve import Improvements, improve
from deepscope.transfer.label_errors import LabelErrors, label_errors
from deepscope.transfer.recipe import Feature, Recipe
from deepscope.transfer.splits import Holdout
from deepscope.transfer.training_images import TrainingImages, training_images

if TYPE_CHECKING:
    from deepscope.transfer.classifier import ImageClassifier

__all__ = [
    "Abstention",
    "Calibration",
    "Data",
    "Examples",
    "Export",
    "Feature",
    "FeatureComparison",
    "FineTuning",
    "FittedClassifier",
    "Head",
    "Holdout",
    "ImageClassifier",
    "Improvements",
    "LabelErrors",
    "Recipe",
    "TrainingImages",
    "abstain",
    "calibrate",
    "compare_features",
    "export",
    "fit",
    "improve",
    "label_errors",
    "training_images",
]


def __getattr__(name: str) -> Any:
    if name == "ImageClassifier":  # scikit-learn takes long to import
        return importlib.import_module("deepscope.transfer.classifier").ImageClassifier
    raise AttributeError(f"module 'deepscope.transfer' has no attribute {name!r}")
