"""Quality, diversity and novelty of generated images."""

from deepscope.gans.quality.backbones import Features, bundled_features
from deepscope.gans.quality.evaluation import (
    FEWEST,
    MANIFOLD,
    NEAREST,
    classification_accuracy_score,
    compared,
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
from deepscope.gans.quality.memorisation import Nearest, memorised, memorised_by_chance, nearest
from deepscope.gans.quality.modes import Modes

__all__ = [
    "FEWEST",
    "INCEPTION",
    "INCEPTION_SHA256",
    "MANIFOLD",
    "NEAREST",
    "Evaluator",
    "Features",
    "Modes",
    "Nearest",
    "bundled_features",
    "classification_accuracy_score",
    "compared",
    "draw",
    "fit_evaluator",
    "fitting_evaluator",
    "frechet_distance",
    "inception_features",
    "likeness",
    "load_evaluator",
    "memorised",
    "memorised_by_chance",
    "nearest",
    "novelty",
    "precision_recall",
    "recognised",
    "save_evaluator",
    "train_classifier",
    "variety",
]
