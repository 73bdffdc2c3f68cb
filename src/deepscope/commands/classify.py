"""`deepscope classify`: what a model sees in images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from deepscope import images
from deepscope.commands.command import Command
from deepscope.commands.shown import picture, provenance, skipped_blocks
from deepscope.commands.truth import right_answers
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.models.prediction import Predictions, nothing_readable, predict
from deepscope.results import Bars, Block, Column, GridCell, ImageGrid, Note, Result, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import top_shares


@dataclass(frozen=True)
class Classify(Command):
    """Classify images: the most probable classes of each, and accuracy where the truth is known.

    The truth is known for files named by an ImageNet WordNet identifier (n01440764_tench.JPEG) and for images in
    folders named like the model's classes. Images that cannot be read are skipped and listed.

    Attributes:
        paths: image files and folders; without any, the photographs that come with the installation.
        model: the classifier; `deepscope models` lists them.
        top: how many classes to show for each image.
        figures: how many images the figure shows, at most.
        batch_size: images a forward pass.
    """

    example: ClassVar[str] = "deepscope classify cat.jpg holiday-photos/ --top 3 --out results/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    top: Count = 5
    figures: int = 12
    batch_size: Count = 32

    def run(self, session: Session) -> Result:
        """Classify every image that can be read."""
        if self.top < 1 or self.batch_size < 1:
            raise DeepscopeError("--top and --batch-size are at least 1")
        model = load_model(self.model, session)
        model.require_classes()
        found = images.find(self.paths) if self.paths else images.Found(bundled_photographs().paths, ())
        if not found.paths:
            raise DeepscopeError(nothing_readable(found.skipped))
        predictions = predict(model, found.paths, session, batch_size=self.batch_size, keep=max(self.figures, 0))
        paths = [found.paths[row] for row in predictions.rows]
        answers = right_answers(model, paths, self.paths)
        top = predictions.probabilities.topk(min(self.top, len(model.categories)), dim=1)
        skipped = (*found.skipped, *predictions.skipped)
        accuracy = _accuracy(predictions, answers)
        return Result(
            title=f"{model.name} on {len(paths)} image{'s' if len(paths) != 1 else ''}",
            metrics={"images": len(paths), "skipped": len(skipped), **accuracy},
            blocks=(
                _table(model, paths, answers, top.values, top.indices),
                *_accuracy_note(accuracy),
                *skipped_blocks(skipped),
                self._figure(model, paths, answers, predictions),
            ),
            arrays={"probabilities": top.values.numpy(), "classes": top.indices.numpy()},
            provenance=provenance([model], paths),
        )

    def _figure(
        self, model: VisionModel, paths: Sequence[Path], answers: Sequence[frozenset[int]], predictions: Predictions
    ) -> ImageGrid:
        shown = paths[: len(predictions.pixels)]
        top = predictions.probabilities[: len(shown)].topk(min(5, len(model.categories)), dim=1)
        cells: list[tuple[GridCell, GridCell]] = []
        for index, (path, pixels) in enumerate(zip(shown, predictions.pixels)):
            classes = top.indices[index].tolist()
            right = next((place for place, label in enumerate(classes) if label in answers[index]), None)
            bars = Bars(
                labels=tuple(model.categories[label] for label in classes),
                values=tuple(top.values[index].tolist()),
                mark=right,
            )
            cells.append((picture(pixels, caption=path.name), bars))
        left_out = f"; the first {len(shown)} of {len(paths)} images" if len(shown) < len(paths) else ""
        return ImageGrid(
            rows=tuple(tuple(cell for pair in cells[i : i + 2] for cell in pair) for i in range(0, len(cells), 2)),
            title="What the network sees, and its most probable classes",
            caption=f"{model.name}; images as resized and cropped to {model.preprocessing.size[1]} x "
            f"{model.preprocessing.size[0]} pixels; the bar of the true class, where known, stands out{left_out}.",
        )


def _table(
    model: VisionModel, paths: Sequence[Path], answers: Sequence[frozenset[int]], values: Tensor, classes: Tensor
) -> Table:
    known = any(answers)
    names = [path.name for path in paths]
    labels = names if len(set(names)) == len(names) else [str(path) for path in paths]
    rows = []
    for label, answer, probabilities, ranked in zip(labels, answers, values.tolist(), classes.tolist()):
        for rank, (probability, index) in enumerate(zip(probabilities, ranked), start=1):
            verdict = ("✓" if index in answer else "",) if known else ()
            rows.append((label, rank, model.categories[index], probability, *verdict))
    columns = (Column("image"), Column("rank", "d"), Column("class"), Column("probability", ".3f"))
    return Table(columns=(*columns, *((Column("right"),) if known else ())), rows=tuple(rows))


def _accuracy(predictions: Predictions, answers: Sequence[frozenset[int]]) -> dict[str, float]:
    known = [row for row, answer in enumerate(answers) if answer]
    if not known:
        return {}
    order = predictions.logits[torch.tensor(known)].topk(min(5, predictions.logits.shape[1]), dim=1).indices.tolist()
    ranks = [
        next((rank for rank, label in enumerate(labels) if label in answers[row]), len(labels))
        for row, labels in zip(known, order)
    ]
    return {"known": len(known), **top_shares(ranks, predictions.logits.shape[1], "accuracy")}


def _accuracy_note(metrics: dict[str, float]) -> list[Block]:
    if not metrics:
        return []
    said = " and ".join(
        f"top-{k} {metrics[f'accuracy/top{k}']:.3f} "
        f"[{metrics[f'accuracy/top{k}/low']:.3f}, {metrics[f'accuracy/top{k}/high']:.3f}]"
        for k in (1, 5)
        if f"accuracy/top{k}" in metrics
    )
    return [
        Note(f"{said} on the {metrics['known']:.0f} images whose truth is known (95 % Wilson interval).", "Accuracy")
    ]
