"""How good generated images are, how varied, and how new."""

from deepscope.gans.quality.backbones import Features, bundled_features, inception_features
from deepscope.gans.quality.evaluation import (
    classification_accuracy_score,
    draw,
    likeness,
    novelty,
    recognised,
    variety,
)
from deepscope.gans.quality.frechet import frechet_distance
from deepscope.gans.quality.judge import Judge, fitting_judge, load_judge, save_judge, train_classifier, train_judge
from deepscope.gans.quality.manifold import precision_recall
from deepscope.gans.quality.memorisation import Nearest, memorised, nearest
from deepscope.gans.quality.modes import Modes

__all__ = [
    "Features",
    "Judge",
    "Modes",
    "Nearest",
    "bundled_features",
    "classification_accuracy_score",
    "draw",
    "fitting_judge",
    "frechet_distance",
    "inception_features",
    "likeness",
    "load_judge",
    "memorised",
    "nearest",
    "novelty",
    "precision_recall",
    "recognised",
    "save_judge",
    "train_classifier",
    "train_judge",
    "variety",
]
