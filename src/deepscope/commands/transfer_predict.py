"""`deepscope transfer predict`: what a fitted classifier says about new images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope import images
from deepscope.commands.command import Command
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.errors import DeepscopeError
from deepscope.models import load_model
from deepscope.models.prediction import nothing_readable, predict
from deepscope.results import Column, Result, Table
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class TransferPredict(Command):
    """Sort images into the categories of a classifier that `transfer fit` saved.

    Every image gets its category and the calibrated probability of it; `--json` and `--out` keep them all.

    Attributes:
        model: the folder that `transfer fit` wrote.
        paths: image files and folders.
        batch_size: images a forward pass.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "predict"
    example: ClassVar[str] = "deepscope transfer predict my-model new-photos/"

    model: Path
    paths: tuple[Path, ...]
    _: KW_ONLY
    batch_size: Count = 32

    def run(self, session: Session) -> Result:
        """Answer for every image that can be read."""
        if self.batch_size < 1:
            raise DeepscopeError("--batch-size is at least 1")
        model = load_model(self.model, session)
        found = images.find(self.paths)
        if not found.paths:
            raise DeepscopeError(nothing_readable(found.skipped))
        predictions = predict(model, found.paths, session, batch_size=self.batch_size)
        probabilities = predictions.probabilities
        confidence, answer = probabilities.max(1)
        paths = [found.paths[row] for row in predictions.rows]
        skipped = (*found.skipped, *predictions.skipped)
        rows = tuple(
            (str(path), model.categories[category], sure)
            for path, category, sure in zip(paths, answer.tolist(), confidence.tolist(), strict=True)
        )
        counts = answer.bincount(minlength=len(model.categories)).tolist()
        named = zip(model.categories, counts, strict=True)
        return Result(
            title=f"{model.name} on {len(paths)} image{'s' if len(paths) != 1 else ''}",
            metrics={"images": len(paths), "skipped": len(skipped), **{f"count/{name}": n for name, n in named}},
            blocks=(
                Table((Column("image"), Column("category"), Column("probability", ".3f")), rows),
                *skipped_blocks(skipped),
            ),
            arrays={"probabilities": probabilities.numpy()},
            provenance=provenance([model], paths),
        )
