"""`deepscope adapt evaluate`: an adapted model on test images of both domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np
import torch

from deepscope import images
from deepscope.commands.command import Command
from deepscope.data import ClassFolders, DigitSplit, load_any
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel, load_model
from deepscope.models.prediction import predict
from deepscope.names import Names
from deepscope.results import Block, Column, Heatmap, Note, Provenance, Result, Table
from deepscope.session import Session
from deepscope.statistics import proportion


@dataclass(frozen=True)
class AdaptEvaluate(Command):
    """Measure an adapted model on labelled test images of its source, of its target, or of both.

    The model normalises as it learnt to for the target; on source images it is measured with that, too.

    Attributes:
        model: the folder that `adapt fit` wrote, or any other classifier.
        source: labelled images of the source.
        target: labelled images of the target.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "evaluate"
    example: ClassVar[str] = "deepscope adapt evaluate adapted/ --source mnist --target mnist-m"

    model: str
    _: KW_ONLY
    source: str | None = None
    target: str | None = None

    def run(self, session: Session) -> Result:
        """Classify the test images of each domain that was named."""
        named = {"source": self.source, "target": self.target}
        if not any(named.values()):
            raise DeepscopeError("nothing to measure on: name images with --source, --target, or both")
        model = load_model(self.model, session)
        model.require_classes()
        metrics: dict[str, float] = {}
        blocks: list[Block] = []
        rows = []
        for domain, name in named.items():
            if name is None:
                continue
            sources, labels, remarks = test_images(name, model, session)
            predictions = predict(model, sources, session, batch_size=256)
            truth = labels[list(predictions.rows)]
            predicted = predictions.logits.argmax(1).numpy()
            accuracy = proportion(int((predicted == truth).sum()), len(truth))
            metrics |= accuracy.metrics(f"accuracy/{domain}")
            rows.append((domain, name, len(truth), accuracy.value, accuracy.low, accuracy.high))
            blocks.append(_confusion(model, truth, predicted, f"{domain}: {name}"))
            blocks.extend(Note(remark, name, "warning") for remark in remarks)
        columns = (Column("domain"), Column("images"), Column("number", "d"))
        columns += tuple(Column(name, ".4f") for name in ("accuracy", "low", "high"))
        table = Table(columns, tuple(rows), caption="95 % Wilson intervals.")
        provenance = Provenance(models={model.name: model.fingerprint}, data=", ".join(filter(None, named.values())))
        return Result(f"{model.name} in two domains", metrics=metrics, blocks=(table, *blocks), provenance=provenance)


def test_images(
    name: str, model: VisionModel, session: Session
) -> tuple[Sequence[images.Source], np.ndarray, tuple[str, ...]]:
    """The test images of some data (all, where it is not divided), their classes in the model, and remarks.

    Raises:
        DeepscopeError: the data has no labels, or none of its classes is the model's.
    """
    data = load_any(name, session)
    remarks = []
    if isinstance(data, DigitSplit):
        pixels = data.test.images if data.test.images.ndim == 4 else data.test.images[:, None].repeat(3, axis=1)
        sources: Sequence[images.Source] = list(np.moveaxis(pixels, 1, 3))
        names, labels = [str(digit) for digit in range(10)], data.test.labels
    elif isinstance(data, ClassFolders):
        part = data.everything if data.test is None else data.test
        sources, names, labels = part.paths, list(data.classes), part.labels
        if data.test is None:
            remarks.append(
                "All images are measured, since the folder has no train/ and test/: on those that the model was "
                "trained on it looks better than it is."
            )
    else:
        raise DeepscopeError(
            f"{name} has no labels to measure by: give a folder with a folder of images for each class"
        )
    found = Names(model.categories).paired(names)
    indices = np.array([-1 if (index := found[name]) is None else index for name in names])
    if (indices < 0).all():
        raise DeepscopeError(f"none of the classes of {name} ({', '.join(names[:5])}) is one of {model.name}'s")
    kept = np.flatnonzero(indices[labels] >= 0)
    strangers = [category for category, index in zip(names, indices, strict=True) if index < 0]
    if strangers:
        remarks.append(f"No classes of the model, left out: {', '.join(strangers)}.")
    return [sources[row] for row in kept], indices[labels[kept]], tuple(remarks)


def _confusion(model: VisionModel, truth: np.ndarray, predicted: np.ndarray, title: str) -> Heatmap:
    count = len(model.categories)
    shown = np.union1d(truth, predicted)
    pairs = torch.from_numpy(truth * count + predicted)
    matrix = torch.bincount(pairs, minlength=count * count).view(count, count).double()[shown][:, shown]
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
    names = tuple(model.categories[index] for index in shown)
    caption = "Share of each class's images (rows) that were given each class (columns)."
    return Heatmap(
        shares, caption, title, rows=names, columns=names, row_title="true", column_title="predicted", low=0, high=1
    )
