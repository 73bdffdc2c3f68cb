"""Quality, diversity and novelty of generated images."""

from deepscope.gans.quality.backbones import Features, bundled_features
from deepscope.gans.quality.evaluation import (
    classification_accuracy_score,
    draw,
    likeness,
    novelty,
    recognised,
    variety,
)
from deepscope.gans.quality.evaluator import (
    Evaluator,
    fit_evaluator,
    fitting_evaluator,
    load_evaluator,
    save_evaluator,
    train_classifier,
)
from deepscope.gans.quality.frechet import frechet_distance
from deepscope.gans.quality.inception import INCEPTION, INCEPTION_SHA256, inception_features
from deepscope.gans.quality.manifold import precision_recall
from deepscope.gans.quality.memorisation import Nearest, memorised, nearest
from deepscope.gans.quality.modes import Modes

__all__ = [
    "INCEPTION",
    "INCEPTION_SHA256",
    "Evaluator",
    "Features",
    "Modes",
    "Nearest",
    "bundled_features",
    "classification_accuracy_score",
    "draw",
    "fit_evaluator",
    "fitting_evaluator",
    "frechet_distance",
    "inception_features",
    "likeness",
    "load_evaluator",
    "memorised",
    "nearest",
    "novelty",
    "precision_recall",
    "recognised",
    "save_evaluator",
    "train_classifier",
    "variety",
]
