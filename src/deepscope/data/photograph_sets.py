"""Named sets of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from deepscope.data.dataset import Dataset
from deepscope.data.download import Source
from deepscope.data.photographs import Photographs, bundled_photographs


@dataclass(frozen=True)
class BundledPhotographs(Dataset):
    """Images inside the packages scikit-image and scikit-learn, which deepscope depends on."""

    summary: ClassVar[str] = "images that scikit-image and scikit-learn contain"
    holds: ClassVar[str] = "8 images"
    licence: ClassVar[str] = "public domain or CC0 (scikit-image), CC BY 2.0 (scikit-learn)"

    @classmethod
    def load(cls, home: Path) -> Photographs:
        """The images, with the class where it is certain."""
        return bundled_photographs()


def _bsds500_place(member: str) -> str | None:
    path = PurePosixPath(member)
    return path.name if path.parts[-3:-1] == ("images", "train") and path.suffix == ".jpg" else None


@dataclass(frozen=True)
class Bsds500(Dataset):
    """Training photographs of Arbelaez et al., "Contour Detection and Hierarchical Image Segmentation", 2011."""

    summary: ClassVar[str] = "photographs of many kinds, the backgrounds of MNIST-M"
    holds: ClassVar[str] = "200 images"
    licence: ClassVar[str] = "for non-commercial research and education"
    needs: ClassVar[tuple[str, ...]] = ("bsds500",)
    sources: ClassVar[tuple[Source, ...]] = (
        Source(
            urls=(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
                "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
            ),
            to="bsds500",
            most=150 * 2**20,
            place=_bsds500_place,
            files=200,
        ),
    )

    @classmethod
    def load(cls, home: Path) -> Photographs:
        """All images of the folder."""
        return Photographs.below(home / "data" / "bsds500")


def _imagenet_place(member: str) -> str | None:
    path = PurePosixPath(member)
    return path.name if path.suffix == ".JPEG" else None


@dataclass(frozen=True)
class ImagenetSample(Dataset):
    """Images of ImageNet (Russakovsky et al., IJCV 2015), one per class; the file name gives the class."""

    summary: ClassVar[str] = "ImageNet images whose names give their class"
    holds: ClassVar[str] = "up to 1000 images"
    licence: ClassVar[str] = "for non-commercial research and education"
    needs: ClassVar[tuple[str, ...]] = ("imagenet-sample",)
    sources: ClassVar[tuple[Source, ...]] = (
        Source(
            urls=("https://github.com/EliSchwartz/imagenet-sample-images/archive/refs/heads/master.zip",),
            to="imagenet-sample",
            most=300 * 2**20,
            place=_imagenet_place,
            files=1000,
        ),
    )

    @classmethod
    def load(cls, home: Path) -> Photographs:
        """All images of the folder, each with its truth."""
        return Photographs.below(home / "data" / "imagenet-sample")
