"""`deepscope transfer features`: a vector for each of many images, as Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.batch import Sharding
from deepscope.command import Command
from deepscope.features.job import FeaturesJob
from deepscope.models import DEFAULT
from deepscope.models.classifier import Pooling
from deepscope.presenters.batch import in_parts
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides


@dataclass(frozen=True)
class TransferFeatures(Command):
    """Compute features of images: the output of a layer as one vector per image, in Parquet files.

    The same command resumes where it was stopped.

    Attributes:
        paths: image files and folders, lists of files (.txt), tar files, tables (.parquet, .arrow).
        model: the network; a model with features only also works.
        layer: the layer's name as `deepscope models show MODEL` prints it; by default what the class layer reads.
        pooling: how the maps of a layer become a vector.
        limit: most images to use, drawn at random; by default all.
        batch_size: images per forward pass on a GPU; on a CPU each is computed alone.
        parts: how a large job is cut into parts, and what computes them.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "features"
    example: ClassVar[str] = "deepscope transfer features photos/ --workers 2 --out features/"

    paths: tuple[Path, ...]
    _: KW_ONLY
    model: str = DEFAULT
    layer: str | None = None
    pooling: Pooling = "mean"
    limit: Count | None = None
    batch_size: Count = 32
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any])

    def run(self, session: Session) -> Result:
        """Forward passes up to the layer."""
        job = FeaturesJob(self.model, self.batch_size, layer=self.layer, pooling=self.pooling)
        return in_parts(job, self.paths, self.parts, session, limit=self.limit)
