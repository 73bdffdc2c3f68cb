"""`deepscope transfer predict`: the classes of new images by a fitted classifier."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.classification import Classification, classify
from deepscope.commands.command import Command
from deepscope.commands.shown import by_class, origin, skipped_blocks
from deepscope.models import load_model
from deepscope.results import Column, Result, Table
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class TransferPredict(Command):
    """Classify images with a classifier that `transfer fit` saved.

    Every image gets a category and its calibrated probability.

    Attributes:
        model: the folder that `transfer fit` wrote.
        paths: image files and folders.
        batch_size: images per forward pass.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "predict"
    example: ClassVar[str] = "deepscope transfer predict my-model new-photos/"

    model: Path
    paths: tuple[Path, ...]
    _: KW_ONLY
    batch_size: Count = 32

    def run(self, session: Session) -> Result:
        """Classify every image that can be read."""
        model = load_model(self.model, session)
        return present(classify(model, self.paths, top=None, keep=0, batch_size=self.batch_size, session=session))


def present(found: Classification) -> Result:
    """A row per image, and how many images each category has."""
    model, probabilities = found.model, by_class(found)
    first = found.classes[:, 0]
    rows = tuple(
        (str(path), label, confidence)
        for path, label, confidence in zip(found.paths, found.labels, found.probabilities[:, 0].tolist(), strict=True)
    )
    counts = zip(model.categories, first.bincount(minlength=len(model.categories)).tolist(), strict=True)
    return Result(
        title=f"{model.name} on {len(found)} image{'s' if len(found) != 1 else ''}",
        metrics={
            "images": len(found),
            "skipped": len(found.skipped),
            **{f"count/{name}": count for name, count in counts},
        },
        blocks=(
            Table((Column("image"), Column("category"), Column("probability", ".3f")), rows),
            *skipped_blocks(found.skipped),
        ),
        arrays={"probabilities": probabilities.numpy()},
        provenance=origin([model], found.paths, found.digests),
    )
