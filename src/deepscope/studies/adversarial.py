"""Questions 5 to 7 of the source: fooling images, and the limits of the naive way to make them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.attacks import DDN, PGD, Attack, Fooling, Goal, OnePixel, Square, Untargeted
from deepscope.attacks.defences import DEFENCES, WARNING
from deepscope.attacks.evaluation import Evaluation, evaluate
from deepscope.attacks.judge import Verdict
from deepscope.commands.attacked import (
    Subjects,
    aim,
    another,
    as_picture,
    changed_places,
    difference,
    file_names,
    logits,
    subjects,
    values,
)
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Cell, Column, GridCell, ImageGrid, Note, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, mean, median, proportion
from deepscope.statistics import difference as paired
from deepscope.studies.study import Answer, Budget, Study, answers

_NAIVE, _PGD, _DDN = "fooling (naive)", "PGD, Linf 4/255", "DDN"
_SQUARE, _PIXEL = "Square, Linf 8/255", "one pixel"


@dataclass(frozen=True)
class Adversarial(Study):
    """Fooling images: what the naive way costs, and what its successors do better (questions 5 to 7).

    The naive way takes normalised gradient steps towards a target. PGD, DDN, Square and the one-pixel attack are
    measured beside it on the same images; the gradient methods share the same random targets.

    Attributes:
        paths: image files and folders; without any, the ImageNet sample of the home folder where it is, else the
            photographs that come with the installation.
        model: the network under attack.
        transfer_to: a second network, that the examples are shown to.
        limit: images, at most, drawn at random.
        steps: gradient steps of PGD and DDN.
        queries: queries of the attacks without gradients.
        batch_size: images attacked at once; the outcome does not depend on it.
    """

    chapter: ClassVar[str] = "2.2 Adversarial examples"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 3, "full": 40}

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    transfer_to: str | None = None
    limit: int = 24
    steps: int = 40
    queries: int = 400
    batch_size: int = 8

    @classmethod
    def within(cls, budget: Budget) -> Adversarial:
        """A few images and queries, or every image and a second network."""
        many = cls(limit=100, queries=2000, transfer_to="efficientnet_lite1")
        return many if budget == "full" else cls(limit=8, steps=20, queries=200)

    def run(self, session: Session) -> Result:
        """Attack the same images in five ways."""
        model = load_model(self.model, session)
        other = another(model, self.transfer_to, session) if self.transfer_to else None
        sample = session.home / "data" / "imagenet-sample"
        named = self.paths or ((sample,) if sample.is_dir() else bundled_photographs().paths)
        found = subjects(model, named, session, batch_size=self.batch_size, limit=self.limit)
        if not found.paths:
            raise DeepscopeError(f"{model.name} gets none of these images right: there is nothing to attack")
        (_, targets), away = aim(model, found, "random", session), Untargeted(found.labels)
        ways: dict[str, tuple[Attack, Goal]] = {
            _NAIVE: (Fooling(largest=1), targets),
            _PGD: (PGD(steps=self.steps), targets),
            _DDN: (DDN(steps=self.steps), targets),
            _SQUARE: (Square(queries=self.queries), away),
            _PIXEL: (OnePixel(queries=self.queries), away),
        }
        with tempfile.TemporaryDirectory() as scratch:
            outcomes = {
                title: evaluate(
                    attack,
                    model,
                    found.levels,
                    found.labels,
                    goal,
                    rng=session.rng("study", attack.name),
                    paths=file_names(found.paths, (session.out or Path(scratch)) / "adversarial" / attack.name),
                    batch_size=self.batch_size,
                    quick=session.precision == "bfloat16",
                )
                for title, (attack, goal) in session.track(ways.items(), "attacking")
            }
        survival = {
            title: _survival(model, other, found, goal, outcomes[title], session) for title, (_, goal) in ways.items()
        }
        return Result(
            title=f"The naive way to fool {model.name}, and others, on {len(found.paths)} images",
            metrics={
                "images": len(found.paths),
                "misclassified": len(found.misclassified),
                **_metrics(ways, outcomes, survival),
            },
            blocks=(
                _figure(model, found, outcomes),
                _table(ways, outcomes),
                _survival_table(survival),
                _answers(found, outcomes, survival),
                Note(WARNING, "What this does not show", "warning"),
                *skipped_blocks(found.skipped),
            ),
            provenance=provenance([model, *([other] if other else [])], found.paths),
        )


def _survival(
    model: VisionModel, other: VisionModel | None, found: Subjects, goal: Goal, outcome: Evaluation, session: Session
) -> dict[str, Estimate]:
    """The part of the successes that still reach the goal behind each defence, and on the other network."""
    won = np.array([verdict.success for verdict in outcome.verdicts[-1]])
    saved, kept = outcome.saved, {}
    for name, clean in DEFENCES.items():
        reached = goal.reached(logits(model, saved, session, clean=clean)).numpy()
        kept[f"after {name}"] = proportion(int((reached & won).sum()), int(won.sum()))
    if other is not None:
        right = (logits(other, found.levels, session).argmax(1) == found.labels).numpy()
        reached = goal.reached(logits(other, saved, session)).numpy()
        kept[f"on {other.name}"] = proportion(int((reached & won & right).sum()), int((won & right).sum()))
    return kept


def _metrics(
    ways: dict[str, tuple[Attack, Goal]],
    outcomes: dict[str, Evaluation],
    survival: dict[str, dict[str, Estimate]],
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for title, (attack, _) in ways.items():
        verdicts, name = outcomes[title].verdicts[-1], attack.name
        metrics |= _success(verdicts).metrics(f"success/{name}")
        for field in ("l0", "l2", "linf", "ssim"):
            metrics |= median(values(verdicts, field)).metrics(f"{field}/{name}")
        metrics |= mean(outcomes[title].queries).metrics(f"queries/{name}")
        metrics |= mean(outcomes[title].gradients).metrics(f"gradients/{name}")
        for test, kept in survival[title].items():
            metrics |= kept.metrics(f"survival/{name}/{test.split(' ', 1)[1]}")
    return metrics


def _table(ways: dict[str, tuple[Attack, Goal]], outcomes: dict[str, Evaluation]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for title, (_, goal) in ways.items():
        outcome, verdicts = outcomes[title], outcomes[title].verdicts[-1]
        success = _success(verdicts)
        l0, l2, linf, ssim = (median(values(verdicts, field)).value for field in ("l0", "l2", "linf", "ssim"))
        shown = (None if math.isnan(value) else value for value in (l0, l2, linf * 255, ssim))
        asked = (float(outcome.queries.mean()), float(outcome.gradients.mean()))
        wanted = "any other class" if isinstance(goal, Untargeted) else "a random class"
        rows.append((title, wanted, success.value, success.low, success.high, *shown, *asked))
    columns = (
        *(Column("method"), Column("goal")),
        *(Column(name, ".2f") for name in ("success", "low", "high")),
        *(Column("L0", ".0f"), Column("L2", ".3f"), Column("Linf x 255", ".1f"), Column("SSIM", ".4f")),
        *(Column("queries", ".0f"), Column("gradients", ".0f")),
    )
    caption = "Judged from the saved PNG; 95 % Wilson interval; distances are medians over successes; cost an image."
    return Table(columns, tuple(rows), title="Success, distortion and cost", caption=caption)


def _survival_table(survival: dict[str, dict[str, Estimate]]) -> Table:
    tests = list(next(iter(survival.values())))
    rows = tuple(
        (title, *(None if math.isnan(kept[test].value) else kept[test].value for test in tests))
        for title, kept in survival.items()
    )
    columns = (Column("method"), *(Column(test, ".2f") for test in tests))
    caption = "The part of the successes that still reach their goal. No attack knew of the change."
    return Table(columns, rows, title="What the examples survive", caption=caption)


def _figure(model: VisionModel, found: Subjects, outcomes: dict[str, Evaluation], *, most: int = 3) -> ImageGrid:
    won = np.sum([[verdict.success for verdict in outcome.verdicts[-1]] for outcome in outcomes.values()], axis=0)
    shown = np.argsort(-won, kind="stable")[:most].tolist()
    rows: list[tuple[GridCell, ...]] = []
    for i in shown:
        cells: list[GridCell] = [as_picture(found.levels[i], caption=model.categories[int(found.labels[i])])]
        for outcome in outcomes.values():
            saved, after = outcome.saved[i], model.categories[outcome.verdicts[-1][i].after]
            cells.append(as_picture(saved, caption=after, points=changed_places(found.levels[i], saved)))
        rows.append(tuple(cells))
        magnified = [difference(found.levels[i], outcome.saved[i])[0] for outcome in outcomes.values()]
        rows.append((as_picture(found.levels[i], caption=found.paths[i].name), *magnified))
    return ImageGrid(
        rows=tuple(rows),
        columns=("original", *outcomes),
        title=f"The same images, changed in {len(outcomes)} ways",
        caption="Those images that the most ways fool. Below each example its class as predicted from the saved file; "
        "under it the change, magnified.",
    )


def _answers(found: Subjects, outcomes: dict[str, Evaluation], survival: dict[str, dict[str, Estimate]]) -> Table:
    area = found.levels.shape[2] * found.levels.shape[3]
    naive, small, pixel, square = (outcomes[title].verdicts[-1] for title in (_NAIVE, _DDN, _PIXEL, _SQUARE))
    fooled, single, blind = (_success(verdicts) for verdicts in (naive, pixel, square))
    both = [(a, b) for a, b in zip(naive, small) if a.success and b.success]
    longer = paired([math.log2(a.l2) for a, _ in both], [math.log2(b.l2) for _, b in both])
    ratio = Estimate(2**longer.value, 2**longer.low, 2**longer.high)
    changed = median([value / area for value in values(naive, "l0")])
    largest = median([255 * value for value in values(naive, "linf")])
    return answers(
        [
            Answer(
                "5. Show and interpret the obtained results",
                "-",
                f"a random target is reached in {fooled} of the images, SSIM {median(values(naive, 'ssim'))}",
                "answered",
                f"{mean(outcomes[_NAIVE].gradients).value:.0f} gradients an image; what is changed is hardly seen and "
                "is no picture of the target",
            ),
            Answer(
                "6. An attack needs no access to the parameters",
                "possible",
                f"Square, which sees scores alone, succeeds in {blind}",
                "reproduced" if blind.low > 0.05 else "differs",
                f"{mean(outcomes[_SQUARE].queries).value:.0f} queries an image, where PGD takes "
                f"{mean(outcomes[_PGD].gradients).value:.0f} gradients",
            ),
            Answer(
                "7. The naive way changes many pixels",
                "many",
                f"{changed} of all pixels in the median example",
                "reproduced" if changed.low > 0.1 else "differs",
            ),
            Answer(
                "7. Further limits of the naive way",
                "-",
                f"its change is {ratio} times as long as DDN's, its largest element {largest} levels",
                "answered",
                "still on target: " + "; ".join(f"{test} {value}" for test, value in survival[_NAIVE].items()),
            ),
            Answer(
                "7. One pixel can deceive a network",
                "possible",
                f"{single} of the images",
                "reproduced" if any(verdict.success for verdict in pixel) else "differs",
                f"at most {float(outcomes[_PIXEL].queries.max()):.0f} queries an image; the fewest pixels are another "
                "aim than the least change, and most images withstand it",
            ),
        ]
    )


def _success(verdicts: Sequence[Verdict]) -> Estimate:
    return proportion(sum(verdict.success for verdict in verdicts), len(verdicts))
