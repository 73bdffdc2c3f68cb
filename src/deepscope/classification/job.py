"""`classify` as a job in parts: the most probable classes of any number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from deepscope.batch import Job, Rows, Tally, alone, scored
from deepscope.batch.job import Columns, Run
from deepscope.inputs import Photos, Read
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, require
from deepscope.models.scaling import abstaining
from deepscope.session import Session
from deepscope.statistics import proportion

_BEST = 5
"""Most probable classes among which the right one is looked for: top-5 accuracy."""


@dataclass(frozen=True)
class ClassifyJob(Job):
    """One row per image: its most probable classes, their probabilities, and whether the prediction is right.

    Attributes:
        top: how many classes.
        abstain_below: the confidence below which no label is given; None for that of the model.
    """

    name: ClassVar[str] = "classify"
    usual: ClassVar[int] = 256

    top: int = 5
    abstain_below: float | None = None

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
        if self.abstain_below is not None:
            model = abstaining(model, self.abstain_below)
        count = len(model.categories) if model.head.kind == "multilabel" else min(self.top, len(model.categories))
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            return self._rows(scored(model, batch, session, size), count)

        return run

    def _rows(self, photos: Photos, count: int) -> Rows:
        names, logits = photos.model.categories, photos.logits
        best = min(_BEST, len(names))
        ranked = logits.topk(max(count, best), dim=1).indices
        probabilities = photos.probabilities.gather(1, ranked)
        silent = probabilities[:, 0] < photos.model.head.abstain_below
        said = photos.predictions.gather(1, ranked) & ~silent[:, None]
        predicted = [
            [names[label] for label, taken in zip(row, chosen) if taken]
            for row, chosen in zip(ranked.tolist(), said.tolist())
        ]
        columns = {
            "label": [None if none else names[label] for label, none in zip(ranked[:, 0].tolist(), silent.tolist())],
            "probability": probabilities[:, 0].tolist(),
            "predicted": predicted,
            "right": photos.correct,
            "classes": ranked[:, :count].tolist(),
            "probabilities": list(probabilities[:, :count].numpy()),
            **({"logits": list(logits.numpy())} if self.keep_arrays else {}),
        }
        tally = _tally(photos, ranked[:, :best].tolist(), columns["probability"])
        if photos.model.head.abstain_below:
            _count_answers(tally, photos, silent.tolist())
        return Rows(range(len(logits)), columns, tally)

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """The accuracy, where the truth is known; of several labels per image, how often all of them are right."""
        found: dict[str, float] = {}
        if "abstained" in tally.counts:
            found = abstention_metrics(
                tally["abstained"], tally["asked"], tally["answered/right"], tally["answered/known"]
            )
        if not tally["known"]:
            return found
        found["known"] = tally["known"]
        for counted, name in (("right/1", "accuracy/top1"), ("right/5", "accuracy/top5"), ("exact", "exact-match")):
            if counted in tally.counts:
                found |= proportion(tally[counted], tally["known"]).metrics(name)
        return found

    def telling(self) -> str:
        """Confident mistakes first."""
        return "Most confident mistakes, or least certain predictions where the truth is not known"


def abstention_metrics(abstained: int, asked: int, right: int, known: int) -> dict[str, float]:
    """How many images are not answered, and the accuracy on the others, as far as the truth is known.

    Args:
        abstained: images that are not answered.
        asked: all images.
        right: answered images whose answer is right.
        known: answered images whose truth is known.
    """
    accuracy = proportion(right, known).metrics("accuracy/answered") if known else {}
    return {"abstained": abstained, **proportion(asked - abstained, asked).metrics("coverage"), **accuracy}


def _count_answers(tally: Tally, photos: Photos, silent: Sequence[bool]) -> None:
    for right, none in zip(photos.correct, silent, strict=True):
        tally.count("asked")
        tally.count("abstained", none)
        if right is not None and not none:
            tally.count("answered/known")
            tally.count("answered/right", right)


def _tally(photos: Photos, best: Sequence[Sequence[int]], probabilities: Sequence[float]) -> Tally:
    """Which predictions are right, and the most telling images."""
    tally, names, several = Tally(), photos.model.categories, photos.model.head.kind == "multilabel"
    for row, right in enumerate(photos.correct):
        answer, digest, path = photos.answers[row], photos.digests[row], photos.paths[row]
        text, probability = f"{names[best[row][0]]} ({probabilities[row]:.3f})", probabilities[row]
        if right is None:
            tally.example(1 - probability, digest, path, text)
            continue
        tally.count("known")
        tally.count("exact" if several else "right/1", right)
        if not several and len(best[row]) < len(names):  # the five best of five classes say nothing
            tally.count("right/5", bool(answer.intersection(best[row])))
        if not right:
            wanted = (" and " if several else " or ").join(sorted(names[one] for one in answer)) or "no label"
            tally.example(1 + probability, digest, path, f"{text}, and shows {wanted}")
    return tally
