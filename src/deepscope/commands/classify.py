"""`deepscope classify`: the most probable classes of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.batch import Sharding
from deepscope.classification import classify
from deepscope.classification.job import ClassifyJob
from deepscope.command import Command
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.batch import in_parts
from deepscope.presenters.classify import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides, Share


@dataclass(frozen=True)
class Classify(Command):
    """Classify images: the most probable classes or labels of each, and accuracy where the truth is known.

    The truth is known for files named by an ImageNet WordNet identifier (n01440764_tench.JPEG) and for images in
    folders named like the model's classes. Images that cannot be read are skipped and listed.

    Attributes:
        paths: image files and folders; without any, the photographs that come with the installation.
        model: the classifier; `deepscope models` lists them.
        top: how many classes to show per image; with a multilabel head, all above their thresholds are shown.
        abstain_below: the confidence below which no answer is given; by default the one that `deepscope models abstain`
            saved with the model.
        labels: a CSV file with the labels of each image, for a model with several per image: `file,labels` with
            labels separated by semicolons, or a column of 0 and 1 per label.
        figures: most images that the figure shows.
        batch_size: images per forward pass.
        parts: how a large job is cut into parts, and what computes them.
    """

    example: ClassVar[str] = "deepscope classify cat.jpg holiday-photos/ --top 3 --out results/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    top: Count = 5
    abstain_below: Share | None = None
    labels: Path | None = None
    figures: int = 12
    batch_size: Count = 32
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any])

    def run(self, session: Session) -> Result:
        """Classify every image that can be read."""
        if self.parts:
            if self.labels is not None:
                raise SettingError("labels", "cannot be combined with {shard_size}, {workers} or {cluster}")
            job = ClassifyJob(self.model, self.batch_size, top=self.top, abstain_below=self.abstain_below)
            return in_parts(job, self.paths or bundled_photographs().paths, self.parts, session)
        return present(
            classify(
                load_model(self.model, session),
                self.paths or bundled_photographs().paths,
                labels=self.labels,
                top=self.top,
                abstain_below=self.abstain_below,
                keep=max(self.figures, 0),
                batch_size=self.batch_size,
                session=session,
            )
        )
