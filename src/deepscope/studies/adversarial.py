"""Questions 5 to 7 of the source: fooling images, and the limits of the naive way to make them."""

from __future__ import annotations

import math
import tempfile
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

from deepscope.attacks import DDN, PGD, Attack, Fooling, Goal, OnePixel, Square, Untargeted
from deepscope.attacks.defences import DEFENCES, WARNING
from deepscope.attacks.evaluation import Evaluation, evaluate, to_pixels
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import InputError
from deepscope.jobs.attacked import Subjects, aim, as_picture, changed_places, difference, file_names, subjects, values
from deepscope.jobs.shown import provenance, skipped_blocks
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.models.prediction import forward
from deepscope.results import Block, Cell, Column, GridCell, ImageGrid, Note, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, mean, median, proportion
from deepscope.statistics import difference as paired
from deepscope.studies.study import Study


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

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    transfer_to: str | None = None
    limit: int = 24
    steps: int = 40
    queries: int = 400
    batch_size: int = 8

    def run(self, session: Session) -> Result:
        """Attack the same images in five ways."""
        model = load_model(self.model, session)
        other = load_model(self.transfer_to, session) if self.transfer_to else None
        sample = session.home / "data" / "imagenet-sample"
        named = self.paths or ((sample,) if sample.is_dir() else bundled_photographs().paths)
        found = subjects(model, named, session, batch_size=self.batch_size, limit=self.limit)
        if not found.paths:
            raise InputError(f"{model.name} gets none of these images right: there is nothing to attack")
        targets, away = aim(model, found, "random", session), Untargeted(found.labels.to(model.device))
        ways: dict[str, tuple[Attack, Goal]] = {
            "fooling (naive)": (Fooling(), targets),
            "PGD, Linf 4/255": (PGD(steps=self.steps), targets),
            "DDN": (DDN(steps=self.steps), targets),
            "Square, Linf 8/255": (Square(queries=self.queries), away),
            "one pixel": (OnePixel(queries=self.queries), away),
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
                *_answers(found, outcomes, survival),
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
    saved, kept = to_pixels(outcome.saved, model), {}
    for name, clean in DEFENCES.items():
        reached = goal.reached(forward(model, clean(saved), session).to(model.device)).cpu().numpy()
        kept[f"after {name}"] = proportion(int((reached & won).sum()), int(won.sum()))
    if other is not None and other.preprocessing.size == model.preprocessing.size:
        right = (forward(other, to_pixels(found.levels, other), session).argmax(1) == found.labels).numpy()
        reached = goal.reached(forward(other, saved, session).to(model.device)).cpu().numpy()
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
        metrics |= proportion(sum(v.success for v in verdicts), len(verdicts)).metrics(f"success/{name}")
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
        success = proportion(sum(v.success for v in verdicts), len(verdicts))
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
    rows: list[tuple[GridCell, ...]] = []
    for i in range(min(most, len(found.paths))):
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
        caption="Below each example its class as predicted from the saved file; under it the change, magnified.",
    )


def _answers(
    found: Subjects, outcomes: dict[str, Evaluation], survival: dict[str, dict[str, Estimate]]
) -> tuple[Block, ...]:
    area = found.levels.shape[2] * found.levels.shape[3]
    naive, small = (outcomes[title].verdicts[-1] for title in ("fooling (naive)", "DDN"))
    both = [(a, b) for a, b in zip(naive, small) if a.success and b.success]
    ratio = paired([math.log2(a.l2) for a, _ in both], [math.log2(b.l2) for _, b in both])
    share = median([value / area for value in values(naive, "l0")])
    worst = median([255 * value for value in values(naive, "linf")])
    fooled = proportion(sum(v.success for v in naive), len(naive))
    pixel, square = (outcomes[title].verdicts[-1] for title in ("one pixel", "Square, Linf 8/255"))
    single = proportion(sum(v.success for v in pixel), len(pixel))
    blind = proportion(sum(v.success for v in square), len(square))
    kept = "; ".join(f"{test} {value}" for test, value in survival["fooling (naive)"].items())
    return (
        Note(
            f"Question 5. The naive ascent reaches its random target in {fooled} of the images, after "
            f"{mean(outcomes['fooling (naive)'].gradients).value:.0f} gradients an image; SSIM to the original is "
            f"{median(values(naive, 'ssim'))}. What it changes is not seen, and it is no picture of the target.",
            "Fooling images",
            "verdict",
        ),
        Note(
            f"Question 7, the source's limit: many pixels are changed. Reproduced: the median example changes {share} of "
            f"all pixels. Further limits, measured: its steps pile up in few places (largest change {worst} grey levels, "
            f"where PGD needs no more than 4); its change is 2^{ratio} times as long as DDN's for the same target; of its "
            f"successes still reach the target {kept}.",
            "Limits of the naive way",
            "verdict",
        ),
        Note(
            f"Question 7, the source's proposal: one pixel can deceive. With {single} of the images at most "
            f"{float(outcomes['one pixel'].queries.max()):.0f} queries each: "
            + ("reproduced" if single.low > 0 and single.value > 0 else "not seen here")
            + ", yet most images withstand. It is no replacement but another question: the least pixels, not the least "
            "change.",
            "One pixel",
            "verdict",
        ),
        Note(
            f"Question 6 says that parameters are not needed. {'Reproduced' if blind.low > 0.05 else 'Not seen here'}: "
            f"Square sees scores alone and succeeds in {blind} of the images with "
            f"{mean(outcomes['Square, Linf 8/255'].queries).value:.0f} queries an image, where a gradient method takes "
            f"{mean(outcomes['PGD, Linf 4/255'].gradients).value:.0f} gradients.",
            "Black box",
            "verdict",
        ),
    )
