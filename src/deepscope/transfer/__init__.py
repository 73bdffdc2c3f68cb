"""Transfer: from folders of images to a classifier in the user's own categories."""

from deepscope.features.extraction import Features, extract

__all__ = ["Features", "extract"]
