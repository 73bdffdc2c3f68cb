"""`deepscope adapt evaluate`: an adapted model on test images of both domains."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np
import torch

from deepscope.adaptation import DomainEvaluation, evaluate
from deepscope.adaptation.evaluate import DomainPredictions
from deepscope.commands.command import Command
from deepscope.commands.shown import skipped_blocks
from deepscope.models import VisionModel, load_model
from deepscope.render import presents
from deepscope.results import Block, Column, Heatmap, Note, Provenance, Result, Table
from deepscope.session import Session


@dataclass(frozen=True)
class AdaptEvaluate(Command):
    """Measure an adapted model on labelled test images of its source domain, its target domain, or both.

    The model uses the target's normalisation, on source images as well.

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
        model = load_model(self.model, session)
        return present(evaluate(model, source=self.source, target=self.target, session=session))


@presents(DomainEvaluation)
def present(found: DomainEvaluation) -> Result:
    """Accuracy and confusion in each domain."""
    metrics: dict[str, float] = {}
    blocks: list[Block] = []
    rows = []
    for each in found.domains:
        accuracy = each.accuracy
        metrics |= accuracy.metrics(f"accuracy/{each.domain}")
        rows.append((each.domain, each.data, len(each.labels), accuracy.value, accuracy.low, accuracy.high))
        blocks.append(_confusion(found.model, each))
        blocks.extend(Note(remark, each.data, "warning") for remark in each.remarks)
        blocks.extend(skipped_blocks(each.skipped))
    columns = (Column("domain"), Column("images"), Column("number", "d"))
    columns += tuple(Column(name, ".4f") for name in ("accuracy", "low", "high"))
    table = Table(columns, tuple(rows), caption="95 % Wilson intervals.")
    data = ", ".join(each.data for each in found.domains)
    provenance = Provenance(models={found.model.name: found.model.fingerprint}, data=data)
    return Result(f"{found.model.name} in two domains", metrics=metrics, blocks=(table, *blocks), provenance=provenance)


def _confusion(model: VisionModel, found: DomainPredictions) -> Heatmap:
    count, shown = len(model.categories), np.union1d(found.labels, found.predicted)
    pairs = found.labels * count + found.predicted
    matrix = torch.bincount(pairs, minlength=count * count).view(count, count).double()[shown][:, shown]
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
    names = tuple(model.categories[index] for index in shown)
    caption = "Share of each class's images (rows) that were predicted as each class (columns)."
    title = f"{found.domain}: {found.data}"
    return Heatmap(
        shares, caption, title, rows=names, columns=names, row_title="true", column_title="predicted", low=0, high=1
    )
