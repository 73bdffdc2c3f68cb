"""Using a classifier: what it sees in images, and what its layers put out."""

from deepscope.classification.classify import Classification, classify

__all__ = ["Classification", "classify"]
