"""`classify` as a job in parts: the most probable classes of any number of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from deepscope.batch import Job, Rows, Tally, alone
from deepscope.batch.job import Columns, Run
from deepscope.inputs import Read
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, require
from deepscope.models.prediction import forward_alike
from deepscope.session import Session
from deepscope.statistics import proportion

_BEST = 5
"""Most probable classes among which the right one is looked for: top-5 accuracy."""


@dataclass(frozen=True)
class ClassifyJob(Job):
    """One row per image: its most probable classes, their probabilities, and whether the first is right.

    Attributes:
        top: how many classes.
    """

    name: ClassVar[str] = "classify"
    usual: ClassVar[int] = 256

    top: int = 5

    def columns(self) -> Columns:
        """With `keep_arrays` also the logits."""
        return {
            "label": "string",
            "probability": "float32",
            "predicted": "list<string>",
            "right": "bool",
            "classes": "list<int32>",
            "probabilities": "list<float32>",
            **({"logits": "list<float32>"} if self.keep_arrays else {}),
        }

    def open(self, model: VisionModel, session: Session) -> Run:
        """Forward passes of single images on a CPU, of equal batches elsewhere."""
        require(model, "classify", SCORES)
        count = len(model.categories) if model.head.kind == "multilabel" else min(self.top, len(model.categories))
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            return self._rows(model, batch, forward_alike(model, batch.pixels, session, size), count)

        return run

    def _rows(self, model: VisionModel, batch: Read, logits: Tensor, count: int) -> Rows:
        names, tally = model.categories, Tally()
        best = min(_BEST, len(names))
        ranked = logits.topk(max(count, best), dim=1).indices
        probabilities = model.probabilities(logits).gather(1, ranked)
        said = model.head.predictions(logits).gather(1, ranked)
        rights: list[bool | None] = []
        for row, (label, *_) in enumerate(ranked.tolist()):
            answer, probability = batch.answers[row], float(probabilities[row, 0])
            right = (label in answer) if answer else None
            rights.append(right)
            if right is not None:
                tally.count("known")
                tally.count("right/1", right)
                if best < len(names):  # the five best of five classes say nothing
                    tally.count("right/5", bool(answer.intersection(ranked[row, :best].tolist())))
            if right is False:
                wanted = " or ".join(sorted(names[one] for one in answer))
                text = f"{names[label]} ({probability:.3f}), and shows {wanted}"
                tally.example(1 + probability, batch.digests[row], batch.paths[row], text)
            elif right is None:
                tally.example(
                    1 - probability, batch.digests[row], batch.paths[row], f"{names[label]} ({probability:.3f})"
                )
        columns = {
            "label": [names[label] for label in ranked[:, 0].tolist()],
            "probability": probabilities[:, 0].tolist(),
            "predicted": [
                [names[label] for label, taken in zip(row, chosen) if taken]
                for row, chosen in zip(ranked.tolist(), said.tolist())
            ],
            "right": rights,
            "classes": ranked[:, :count].tolist(),
            "probabilities": list(probabilities[:, :count].numpy()),
            **({"logits": list(logits.numpy())} if self.keep_arrays else {}),
        }
        return Rows(range(len(logits)), columns, tally)

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """The accuracy, where the truth is known."""
        if not tally["known"]:
            return {}
        found: dict[str, float] = {"known": tally["known"]}
        for most in (1, 5):
            if f"right/{most}" in tally.counts:
                found |= proportion(tally[f"right/{most}"], tally["known"]).metrics(f"accuracy/top{most}")
        return found

    def telling(self) -> str:
        """Confident mistakes first."""
        return "Most confident mistakes, or least certain predictions where the truth is not known"
