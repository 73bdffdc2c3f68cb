"""Heads: classifiers on feature vectors, with regularisation chosen on the training images only."""

from deepscope.registry import discover
from deepscope.transfer.heads.head import Fitted, Head, Terms, folds_of

__all__ = ["Fitted", "Head", "Terms", "folds_of"]

discover(__name__)
