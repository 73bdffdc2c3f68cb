"""Questions 5 to 7 of the report: fooling images, and the limits of the naive method.

The report is Delefosse and Vin, *Deep learning applications*, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from deepscope.attacks import DDN, PGD, Attack, Fooling, OnePixel, Outcome, Square, Subjects, Untargeted
from deepscope.attacks.conditions import require_same_classes
from deepscope.attacks.defences import DEFENCES, WARNING
from deepscope.attacks.levels import logits
from deepscope.attacks.outcome import run_attack
from deepscope.attacks.subjects import aim, read_subjects
from deepscope.command import Headline
from deepscope.data.photographs import bundled_photographs
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.presenters.attacked import as_picture, changed_places, difference, origin_of
from deepscope.presenters.shown import skipped_blocks
from deepscope.render.text import amount, share
from deepscope.results import Cell, Column, GridCell, ImageGrid, Note, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, mean, median, proportion
from deepscope.statistics import difference as paired
from deepscope.studies.study import Answer, Budget, Study, answers

_NAIVE, _PGD, _DDN = "fooling (naive)", "PGD, Linf 4/255", "DDN"
CHANGED = (
    "The images that most attacks fool. Below each example is the class predicted from the saved image, and "
    "under it the change, magnified around grey. A single changed pixel is ringed."
)
"""What the figure shows."""
_SUCCEEDS = 0.05
"""An attack is possible where the interval of its success lies above this."""
_SQUARE, _PIXEL = "Square, Linf 8/255", "one pixel"


@dataclass(frozen=True)
class Adversarial(Study):
    """Fooling images: the cost of the naive method, and how later attacks improve on it (questions 5 to 7).

    The naive method takes normalised gradient steps towards a target. PGD, DDN, Square and the one-pixel attack are
    measured on the same images; the gradient methods share the same random targets.

    Attributes:
        paths: image files and folders; by default the ImageNet sample of the home folder where installed, else
            the photographs that come with the installation.
        model: the network under attack.
        transfer_to: a second network, to test the examples on.
        limit: most images to use, drawn at random.
        steps: gradient steps of PGD and DDN.
        queries: queries per image of the attacks without gradients.
        batch_size: images per batch; the result does not depend on it.
    """

    chapter: ClassVar[str] = "2.2 Adversarial examples"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.63, "full": 40}

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
        return many if budget == "full" else cls(limit=8, steps=20, queries=150)

    def run(self, session: Session) -> Result:
        """Attack the same images by five methods."""
        model = load_model(self.model, session)
        others = [load_model(self.transfer_to, session)] if self.transfer_to else []
        require_same_classes(model, others)
        sample = session.home / "data" / "imagenet-sample"
        named = self.paths or ((sample,) if sample.is_dir() else bundled_photographs().paths)
        found = read_subjects(model, named, session, batch_size=self.batch_size, limit=self.limit)
        found.require_some(model)
        away, aimed = found, aim(model, found, "random", session)
        ways: dict[str, tuple[Attack, Subjects]] = {
            _NAIVE: (Fooling(largest=1), aimed),
            _PGD: (PGD(steps=self.steps), aimed),
            _DDN: (DDN(steps=self.steps), aimed),
            _SQUARE: (Square(queries=self.queries), away),
            _PIXEL: (OnePixel(queries=self.queries), away),
        }
        outcomes = {
            title: run_attack(
                attack, model, subjects, session, batch_size=self.batch_size, rng=session.rng("study", attack.name)
            )
            for title, (attack, subjects) in ways.items()
        }
        survival = {
            title: _survival(model, others, subjects, outcomes[title], session) for title, (_, subjects) in ways.items()
        }
        return Result(
            title=f"Adversarial attacks on {model.name}, {len(found)} images",
            metrics={
                "images": len(found),
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
            provenance=origin_of([model, *others], found),
        )

    def headline(self, result: Result) -> Headline:
        """How many images fall, and to whom."""
        blind, naive, single = (
            Estimate.of(result.metrics, f"success/{name}") for name in (Square.name, Fooling.name, OnePixel.name)
        )
        alike = Estimate.of(result.metrics, f"ssim/{Fooling.name}")
        held = blind.low > _SUCCEEDS
        return Headline(
            f"The naive method turns {share(naive)} of the images into a random class, by changes that leave a median "
            f"SSIM of {amount(alike)}. The score-based Square attack fools the network on {share(blind)} of them, "
            f"and one changed pixel on {share(single)}.",
            "of the images are misclassified after a score-based attack",
            blind,
            published="possible",
            verdict="reproduced" if held else "differs",
            tone="good" if held else "attention",
            picture=result.figure(),
        )


def _survival(
    model: VisionModel, others: Sequence[VisionModel], subjects: Subjects, outcome: Outcome, session: Session
) -> dict[str, Estimate]:
    """The share of the successes that still meet the criterion behind each defence, and on other networks."""
    won, kept = torch.tensor(outcome.successes()), {}
    for name, defence in DEFENCES.items():
        met = subjects.criterion.met(logits(model, outcome.images, session, defence=defence))
        kept[f"after {name}"] = proportion(int((met & won).sum()), int(won.sum()))
    for other in others:
        right = logits(other, subjects.levels, session).argmax(1) == subjects.labels
        met = subjects.criterion.met(logits(other, outcome.images, session))
        kept[f"on {other.name}"] = proportion(int((met & won & right).sum()), int((won & right).sum()))
    return kept


def _metrics(
    ways: dict[str, tuple[Attack, Subjects]],
    outcomes: dict[str, Outcome],
    survival: dict[str, dict[str, Estimate]],
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for title, (attack, _) in ways.items():
        outcome, name = outcomes[title], attack.name
        metrics |= _success(outcome).metrics(f"success/{name}")
        for field in ("l0", "l2", "linf", "ssim"):
            metrics |= median(outcome.values(field)).metrics(f"{field}/{name}")
        metrics |= mean(outcome.queries).metrics(f"queries/{name}")
        metrics |= mean(outcome.gradients).metrics(f"gradients/{name}")
        for test, kept in survival[title].items():
            metrics |= kept.metrics(f"survival/{name}/{test.split(' ', 1)[1]}")
    return metrics


def _table(ways: dict[str, tuple[Attack, Subjects]], outcomes: dict[str, Outcome]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for title, (_, subjects) in ways.items():
        outcome = outcomes[title]
        success = _success(outcome)
        l0, l2, linf, ssim = (median(outcome.values(field)).value for field in ("l0", "l2", "linf", "ssim"))
        shown = (None if math.isnan(value) else value for value in (l0, l2, linf * 255, ssim))
        asked = (float(outcome.queries.mean()), float(outcome.gradients.mean()))
        wanted = "any other class" if isinstance(subjects.criterion, Untargeted) else "a random class"
        rows.append((title, wanted, success.value, success.low, success.high, *shown, *asked))
    columns = (
        *(Column("method"), Column("criterion")),
        *(Column(name, ".2f") for name in ("success", "low", "high")),
        *(Column("L0", ".0f"), Column("L2", ".3f"), Column("Linf x 255", ".1f"), Column("SSIM", ".4f")),
        *(Column("queries", ".0f"), Column("gradients", ".0f")),
    )
    caption = (
        "Evaluated from the 8-bit PNG; 95 % Wilson interval; distances are medians over successes; cost per image."
    )
    return Table(columns, tuple(rows), title="Success, distortion and cost", caption=caption)


def _survival_table(survival: dict[str, dict[str, Estimate]]) -> Table:
    tests = list(next(iter(survival.values())))
    rows = tuple(
        (title, *(None if math.isnan(kept[test].value) else kept[test].value for test in tests))
        for title, kept in survival.items()
    )
    columns = (Column("method"), *(Column(test, ".2f") for test in tests))
    caption = "The share of the successes that still meet their criterion. No attack knew about the change."
    return Table(columns, rows, title="What the examples survive", caption=caption)


def _figure(model: VisionModel, found: Subjects, outcomes: dict[str, Outcome], *, most: int = 3) -> ImageGrid:
    won = np.sum([outcome.successes() for outcome in outcomes.values()], axis=0)
    shown = np.argsort(-won, kind="stable")[:most].tolist()
    rows: list[tuple[GridCell, ...]] = []
    for i in shown:
        cells: list[GridCell] = [as_picture(found.levels[i], caption=model.categories[int(found.labels[i])])]
        for outcome in outcomes.values():
            saved, after = outcome.images[i], model.categories[outcome.verdicts[-1][i].after]
            cells.append(as_picture(saved, caption=after, points=changed_places(found.levels[i], saved)))
        rows.append(tuple(cells))
        magnified = [difference(found.levels[i], outcome.images[i])[0] for outcome in outcomes.values()]
        rows.append((as_picture(found.levels[i], caption=found.paths[i].name), *magnified))
    return ImageGrid(
        rows=tuple(rows),
        columns=("original", *outcomes),
        title=f"The same images, changed in {len(outcomes)} ways",
        caption=CHANGED,
    )


def _answers(found: Subjects, outcomes: dict[str, Outcome], survival: dict[str, dict[str, Estimate]]) -> Table:
    area = found.levels.shape[2] * found.levels.shape[3]
    naive, small = outcomes[_NAIVE], outcomes[_DDN]
    fooled, single, blind = (_success(outcomes[title]) for title in (_NAIVE, _PIXEL, _SQUARE))
    both = [(a, b) for a, b in zip(naive.verdicts[-1], small.verdicts[-1]) if a.success and b.success]
    longer = paired([math.log2(a.l2) for a, _ in both], [math.log2(b.l2) for _, b in both])
    ratio = Estimate(2**longer.value, 2**longer.low, 2**longer.high)
    changed = median([value / area for value in naive.values("l0")])
    largest = median([255 * value for value in naive.values("linf")])
    return answers(
        [
            Answer(
                "5. Show and interpret the obtained results",
                "-",
                f"a random target is reached in {fooled} of the images, SSIM {median(naive.values('ssim'))}",
                "answered",
                f"{mean(outcomes[_NAIVE].gradients).value:.0f} gradients per image; the change is hardly visible and "
                "does not look like the target",
            ),
            Answer(
                "6. An attack needs no access to the parameters",
                "possible",
                f"Square, which sees scores alone, succeeds in {blind}",
                "reproduced" if blind.low > _SUCCEEDS else "differs",
                f"{mean(outcomes[_SQUARE].queries).value:.0f} queries per image, where PGD takes "
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
                "still meet the criterion: " + "; ".join(f"{test} {value}" for test, value in survival[_NAIVE].items()),
            ),
            Answer(
                "7. One pixel can deceive a network",
                "possible",
                f"{single} of the images",
                "reproduced" if any(outcomes[_PIXEL].successes()) else "differs",
                f"at most {float(outcomes[_PIXEL].queries.max()):.0f} queries per image; the fewest pixels are not the "
                "smallest change, and most images withstand it",
            ),
        ]
    )


def _success(outcome: Outcome) -> Estimate:
    return proportion(sum(outcome.successes()), len(outcome))
