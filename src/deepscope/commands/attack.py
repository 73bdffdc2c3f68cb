"""`deepscope attack METHOD`: adversarial examples of a person's own images."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deepscope import render
from deepscope.attacks import Attack, Goal, Shared, Targeted
from deepscope.attacks.defences import WARNING
from deepscope.attacks.evaluation import Evaluation, evaluate, to_levels, to_pixels
from deepscope.attacks.judge import Verdict
from deepscope.attacks.watch import watch
from deepscope.commands.attacked import (
    Subjects,
    aim,
    as_picture,
    changed_places,
    difference,
    division,
    file_names,
    subjects,
    values,
    vanished_notes,
)
from deepscope.commands.command import Command
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.data.photographs import bundled_photographs
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import (
    Animation,
    Bars,
    Block,
    Cell,
    Column,
    Curves,
    GridCell,
    ImageGrid,
    Note,
    Result,
    Series,
    Table,
)
from deepscope.session import Session, first_process
from deepscope.settings import Count
from deepscope.statistics import mean, median, proportion


@dataclass(frozen=True)
class AttackImages(Command):
    """Change images until a network sees something else in them, judged from the saved files.

    Every example is clipped, rounded to 8 bits, saved as PNG, read back and classified; only then it counts. An image
    that the network gets wrong without any attack is reported and not counted. A patch or a universal change is
    learnt from a random half of the images, and judged on the other.

    Attributes:
        method: how.
        paths: image files and folders; without any, the photographs that come with the installation.
        target: the class to be seen, by name or number, or "random"; any but the true one by default.
        model: the network under attack; `deepscope models` lists them.
        limit: images to use, at most, drawn at random.
        figures: how many images the figure shows, at most.
        animate: follow the probability from query to query, for the first image.
        batch_size: images attacked at once; the outcome does not depend on it.
    """

    name: ClassVar[str] = "attack"
    example: ClassVar[str] = "deepscope attack pgd photos/ --target toaster --out fooled/"

    method: Attack
    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    target: str | None = None
    model: str = DEFAULT
    limit: Count | None = None
    figures: int = 8
    animate: bool = False
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Attack every image that the network gets right."""
        model = load_model(self.model, session)
        paths = self.paths or bundled_photographs().paths
        found = subjects(model, paths, session, batch_size=self.batch_size, limit=self.limit)
        found, goal = aim(model, found, self.target, session)
        found, goal, fit = division(self.method, found, goal, session)
        saved = file_names(found.paths, Path("adversarial"))
        with (
            render.drafts(session.out if first_process() else None) as drafts,
            session.progress("attacking", total=len(found.paths)) as advance,
        ):
            outcome = evaluate(
                self.method,
                model,
                found.levels,
                found.labels,
                goal,
                rng=session.rng("attack", self.method.name),
                paths=[drafts / path for path in saved],
                fit=fit,
                batch_size=self.batch_size,
                quick=session.precision == "bfloat16",
                advance=advance,
            )
        verdicts = outcome.verdicts[-1]
        return Result(
            title=f"{self.method.name} on {model.name}: {_goal_text(model, goal, self.target)}",
            metrics=_metrics(found, outcome),
            blocks=(
                Note(_summary(found, verdicts, learnt=len(fit[0]) if fit else 0), "Judged from the saved files"),
                *vanished_notes(outcome.vanished, gradients=bool(outcome.gradients.any())),
                *_table(model, found, outcome),
                *self._figure(model, found, outcome),
                *(self._climb(model, found, goal, session) if self.animate and len(found.paths) else ()),
                Note(WARNING, "What this does not show", "warning"),
                *skipped_blocks(found.skipped),
            ),
            arrays={"adversarial": outcome.saved.numpy(), "original": found.levels.numpy()},
            provenance=provenance([model], [*found.paths, *(path for path, _ in found.misclassified)]),
            files=tuple(path.as_posix() for path in saved) if session.out else (),
        )

    def _figure(self, model: VisionModel, found: Subjects, outcome: Evaluation) -> tuple[Block, ...]:
        verdicts = outcome.verdicts[-1]
        shown = sorted(range(len(found.paths)), key=lambda i: not verdicts[i].success)[: self.figures]
        if not shown:
            return ()
        rows: list[tuple[GridCell, ...]] = []
        for i in shown:
            original, saved, verdict = found.levels[i], outcome.saved[i], verdicts[i]
            magnified, _ = difference(original, saved)
            points = changed_places(original, saved)
            rows.append(
                (
                    as_picture(original, caption=found.paths[i].name),
                    _bars(model, original, int(found.labels[i])),
                    replace(magnified, points=points),
                    as_picture(saved, caption="fooled" if verdict.success else "withstood", points=points),
                    _bars(model, saved, int(found.labels[i])),
                )
            )
        return (
            ImageGrid(
                rows=tuple(rows),
                columns=("original", "prediction", "difference", "adversarial", "prediction"),
                title=f"{self.method.name} on {model.name}",
                caption="The difference is drawn around grey, magnified by the factor below it; the true class's bar "
                "stands out. Single changed pixels are ringed. Images that were fooled come first.",
            ),
        )

    def _climb(self, model: VisionModel, found: Subjects, goal: Goal, session: Session) -> tuple[Block, ...]:
        """What the network was shown of the first image, and how sure it was."""
        if isinstance(self.method, Shared):
            return ()
        pixels, first = to_pixels(found.levels[:1], model), goal[torch.zeros(1, dtype=torch.long)].to(model.device)
        trace = watch(self.method, model, pixels, first, rng=session.rng("attack", self.method.name))
        probabilities = trace.logits.softmax(1)
        end = int(first.classes) if isinstance(first, Targeted) else int(trace.logits[-1].argmax())
        lines = dict.fromkeys((int(found.labels[0]), end))
        series = tuple(
            Series(model.categories[label], np.array(trace.queries), probabilities[:, label].numpy()) for label in lines
        )
        captions = tuple(
            f"query {step}: " + ", ".join(f"{model.categories[label]} {row[label]:.2f}" for label in lines)
            for step, row in zip(trace.queries, probabilities)
        )
        name = found.paths[0].name
        frames = to_levels(trace.pixels).permute(0, 2, 3, 1).contiguous().numpy()
        return (
            Animation(
                frames,
                title=f"{self.method.name} on {name}, query by query",
                captions=captions,
                seconds=max(0.15, 3 / len(frames)),
            ),
            Curves(series, x_title="query", y_title="probability", title=f"Probability along the attack on {name}"),
        )


def _goal_text(model: VisionModel, goal: Goal, target: str | None) -> str:
    if target is None:
        return "any other class"
    return (
        "a random other class each" if target == "random" else f"to be seen as {model.categories[int(goal.classes[0])]}"
    )


def _metrics(found: Subjects, outcome: Evaluation) -> dict[str, float]:
    verdicts = outcome.verdicts[-1]
    metrics: dict[str, float] = {"images": len(verdicts), "misclassified": len(found.misclassified)}
    metrics |= proportion(sum(verdict.success for verdict in verdicts), len(verdicts)).metrics("success")
    for field in ("l0", "l2", "linf", "ssim"):
        metrics |= median(values(verdicts, field)).metrics(field)
    for field in ("true_before", "true_after", "target_before", "target_after"):
        everyone = values(verdicts, field, of_successes=False)
        if not all(map(math.isnan, everyone)):
            metrics |= mean(everyone).metrics(field.replace("_", "/"))
    metrics |= mean(outcome.queries).metrics("queries") | mean(outcome.gradients).metrics("gradients")
    return metrics | {"gradients/vanished": int(outcome.vanished.sum())}


def _summary(found: Subjects, verdicts: tuple[Verdict, ...], *, learnt: int) -> str:
    won = sum(verdict.success for verdict in verdicts)
    said = f"{won} of {len(verdicts)} attacked images succeeded."
    if learnt:
        said += f" What was added to them was learnt from {learnt} other image{'s' if learnt != 1 else ''}."
    if found.misclassified:
        count = len(found.misclassified)
        said += f" {count} image{'s' if count != 1 else ''} that the network gets wrong without any attack "
        said += f"{'were' if count != 1 else 'was'} left out."
    return said


def _table(model: VisionModel, found: Subjects, outcome: Evaluation) -> tuple[Block, ...]:
    targeted = any(not math.isnan(verdict.target_before) for verdict in outcome.verdicts[-1])
    rows: list[tuple[Cell, ...]] = []
    for i, verdict in enumerate(outcome.verdicts[-1]):
        aimed = (verdict.target_before, verdict.target_after) if targeted else ()
        rows.append(
            (
                found.paths[i].name,
                model.categories[verdict.before],
                model.categories[verdict.after],
                "✓" if verdict.success else "",
                verdict.true_before,
                verdict.true_after,
                *aimed,
                int(verdict.l0),
                verdict.l2,
                verdict.linf * 255,
                verdict.ssim,
                float(outcome.queries[i]),
                float(outcome.gradients[i]),
            )
        )
    columns = (
        *(Column(name) for name in ("image", "before", "after", "success")),
        *(Column(name, ".3f") for name in ("true class before", "true class after")),
        *((Column("target before", ".3f"), Column("target after", ".3f")) if targeted else ()),
        Column("L0", "d"),
        Column("L2", ".3f"),
        Column("Linf x 255", ".0f"),
        Column("SSIM", ".4f"),
        Column("queries", ".0f"),
        Column("gradients", ".0f"),
    )
    caption = "L0 counts pixels; L2 of pixels in [0, 1]; queries and gradients are the mean of an image's batch."
    blocks: list[Block] = [Table(columns, tuple(rows), title="Images attacked", caption=caption)] if rows else []
    if found.misclassified:
        wrong = tuple((path.name, model.categories[label]) for path, label in found.misclassified)
        blocks.append(Table((Column("image"), Column("prediction")), wrong, title="Wrong without any attack"))
    return tuple(blocks)


def _bars(model: VisionModel, levels: Tensor, label: int) -> Bars:
    with torch.inference_mode():
        top = model(to_pixels(levels[None], model)).softmax(1)[0].cpu().topk(min(4, len(model.categories)))
    classes = top.indices.tolist()
    return Bars(
        labels=tuple(model.categories[index] for index in classes),
        values=tuple(top.values.tolist()),
        mark=classes.index(label) if label in classes else None,
    )
