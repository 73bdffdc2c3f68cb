"""How the result of `deepscope adapt evaluate` is shown."""

from __future__ import annotations

import numpy as np
import torch

from deepscope.adaptation import DomainEvaluation
from deepscope.adaptation.evaluate import DomainPredictions
from deepscope.models import VisionModel
from deepscope.presenters.shown import skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, Heatmap, Note, Provenance, Result, Table


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
