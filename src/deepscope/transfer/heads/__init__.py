"""Heads: classifiers on feature vectors, with regularisation chosen on the training images only."""

from deepscope.registry import discover
from deepscope.transfer.heads.head import Fitted, Head, LeftOut, Terms, folds_of
from deepscope.transfer.heads.streamed import Streamed

__all__ = ["Fitted", "Head", "LeftOut", "Streamed", "Terms", "folds_of"]

discover(__name__)
