"""`deepscope adapt predict`: labels for images of the target."""

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
from deepscope.results import Column, Note, Result, Table
from deepscope.session import Session
from deepscope.settings import Count, Share


@dataclass(frozen=True)
class AdaptPredict(Command):
    """Label images with an adapted model, and say of how many it is not sure.

    Attributes:
        model: the folder that `adapt fit` wrote, or any other classifier.
        paths: image files and folders.
        confidence: probability below which a prediction counts as unsure.
        batch_size: images a forward pass.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "predict"
    example: ClassVar[str] = "deepscope adapt predict adapted/ sketches/ --out labelled/"

    model: str
    paths: tuple[Path, ...]
    _: KW_ONLY
    confidence: Share = 0.9
    batch_size: Count = 32

    def run(self, session: Session) -> Result:
        """Classify every image that can be read."""
        if not 0 <= self.confidence <= 1 or self.batch_size < 1:
            raise DeepscopeError("--confidence is between 0 and 1, --batch-size at least 1")
        model = load_model(self.model, session)
        found = images.find(self.paths)
        if not found.paths:
            raise DeepscopeError(nothing_readable(found.skipped))
        predictions = predict(model, found.paths, session, batch_size=self.batch_size)
        confidence, labels = predictions.probabilities.max(1)
        paths = [found.paths[row] for row in predictions.rows]
        rows = tuple(
            (str(path), model.categories[label], probability, "" if probability >= self.confidence else "unsure")
            for path, label, probability in zip(paths, labels.tolist(), confidence.tolist(), strict=True)
        )
        unsure = int((confidence < self.confidence).sum())
        skipped = (*found.skipped, *predictions.skipped)
        return Result(
            title=f"{model.name} on {len(rows)} image{'s' if len(rows) != 1 else ''}",
            metrics={
                "images": len(rows),
                "skipped": len(skipped),
                "confidence": float(confidence.mean()),
                "unsure": unsure / len(rows),
            },
            blocks=(
                Table((Column("image"), Column("class"), Column("probability", ".3f"), Column("")), rows),
                Note(f"{unsure} of {len(rows)} predictions are below a probability of {self.confidence}.", "Unsure"),
                *skipped_blocks(skipped),
            ),
            arrays={"probabilities": predictions.probabilities.numpy(), "classes": labels.numpy()},
            provenance=provenance([model], paths),
        )
