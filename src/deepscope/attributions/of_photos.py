"""Data about images that a model has read and classified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepscope.images import Skipped
from deepscope.inputs import Photos
from deepscope.models import VisionModel
from deepscope.render import Presented


@dataclass(frozen=True, eq=False)
class OfPhotos(Presented):
    """Base of data about N images.

    Attributes:
        photos: the images, with the model's logits; the first ones with pixels.
    """

    photos: Photos

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def model(self) -> VisionModel:
        """The classifier."""
        return self.photos.model

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images' files, or names."""
        return self.photos.paths

    @property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each file or image."""
        return self.photos.digests

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What could not be read."""
        return self.photos.skipped
