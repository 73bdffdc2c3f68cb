"""Class images made in every way that the study of class visualisation compares."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from deepscope.images import Skipped
from deepscope.inputs import read_photos
from deepscope.models import VisionModel
from deepscope.presenters.shown import picture
from deepscope.results import Animation, Block, Cell, Column, ImageGrid, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.studies.photographs import readable
from deepscope.visualization import (
    ClassObjective,
    Made,
    Recipe,
    Recognition,
    make_images,
    preset,
    recognise,
    watch_frames,
)
from deepscope.visualization.quality import translate

SHOWN = ("wombat", "bee eater", "snail")
"""The report's own classes."""
WAYS = (
    "Each image was made to raise the score of this class, from noise where nothing else is said. Below it: "
    "how (source is the method of the report, source-strong the same regularised more, unregularised without "
    "L2 and blur, yosinski with a setting of Yosinski et al. 2015, default deepscope's method), with its "
    "number of iterations or learning rate."
)
"""What the images of a class show."""
HAY = "A photograph of hay, changed step by step towards the class snail; below it, the probability of snail."
"""What the animation shows."""
_STRIP = 6
"""Images side by side: with three numbers of iterations, regularised and not, they fill the first strip."""
_OTHER = {"snail": "hay"}
"""The report turns hay into a snail; any other class starts from its neighbour in the list."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        classes: number of classes.
        iterations: ascending numbers of steps of the report's method.
        rates: learning rates of the report's method.
        batch_size: images per batch.
        swapped: whether the evaluator makes images too, and the model evaluates them.
    """

    classes: int
    iterations: tuple[int, ...]
    rates: tuple[float, ...]
    batch_size: int
    swapped: bool = True


@dataclass(frozen=True)
class Outcome:
    """The images of one method after some steps, and how the two networks classify them.

    Attributes:
        pixels: (N, 3, H, W) in [0, 1].
        own: by the network that made them.
        other: by the other network.
    """

    pixels: Tensor
    own: Recognition
    other: Recognition

    @property
    def recognised(self) -> Estimate:
        """The share that the other network recognises."""
        return proportion(int((self.other.ranks < 1).sum()), len(self.other.ranks))


class Ways:
    """All ways to make the images, made once each.

    Args:
        plan: how many classes, steps and learning rates.
        model: makes the images.
        evaluator: evaluates them, and makes those of the last ways.
        session: keeps finished ways, so that a study resumes.
    """

    def __init__(self, plan: Plan, model: VisionModel, evaluator: VisionModel, session: Session) -> None:
        self.plan, self.model, self.evaluator, self.session = plan, model, evaluator, session
        self.targets, self.photographs, self.skipped = _choose(model, plan.classes, session)
        self.digests: tuple[bytes, ...] = ()
        first, last = plan.iterations[0], plan.iterations[-1]
        self.outcomes: dict[str, Outcome] = {}
        self.animations: dict[str, Made] = {}
        self._kept: set[Path] = set()
        source = preset("report")
        for name in ("source", "unregularised"):
            for steps, outcome in self._make(name, replace(preset(name), iterations=last), plan.iterations).items():
                self.outcomes[f"{name}, {steps} iterations"] = outcome
        for name in ("source-strong", "yosinski"):
            made = self._make(name, replace(preset(name), iterations=first), (first,))
            self.outcomes[f"{name}, {first} iterations"] = made[first]
        default = preset("default")
        self.outcomes["default"] = self._make("default", default, (default.iterations,))[default.iterations]
        for rate in plan.rates:
            recipe = replace(source, iterations=first, learning_rate=rate)
            known = self.outcomes[f"source, {first} iterations"] if rate == source.learning_rate else None
            self.outcomes[f"source, learning rate {rate:g}"] = (
                known or self._make(f"rate {rate:g}", recipe, (first,))[first]
            )
        if self.photographs:
            recipe = replace(source, iterations=first)
            read = read_photos(self.model, self.photographs, session)
            photographs, self.digests = read.pixels, read.digests
            others = photographs[self._others()]
            self.outcomes["the class's photograph"] = self._evaluated(photographs, self.model, self.evaluator)
            self.outcomes["source from the class's photograph"] = self._make("own", recipe, (first,), photographs)[
                first
            ]
            steps = tuple(sorted({round(first * part / 24) for part in range(25)}))
            self.outcomes["source from another class"] = self._make("other", recipe, steps, others)[first]
        if plan.swapped:
            self._swap()

    def metrics(self) -> dict[str, float]:
        """Every measure of every way, its name made of plain words."""
        metrics: dict[str, float] = {}
        for way, outcome in self.outcomes.items():
            for verdict in (outcome.own, outcome.other):
                metrics |= {f"{key}/{way.replace(', ', '/')}": value for key, value in verdict.metrics().items()}
        return metrics

    def table(self) -> Table:
        """One row per way."""
        rows: list[tuple[Cell, ...]] = []
        for way, outcome in self.outcomes.items():
            own, other = outcome.own.metrics(), outcome.other.metrics()
            top5 = other.get(f"recognised/{outcome.other.evaluator}/top5")
            self_top1 = own[f"recognised/{outcome.own.evaluator}/top1"]
            rows.append((way, str(outcome.recognised), top5, self_top1, own["total-variation"], own["saturation"]))
        columns = ("way", "top-1 by the other network", "top-5", "top-1 by its own", "total variation", "saturation")
        specs = ("", "", ".3f", ".3f", ".4f", ".3f")
        return Table(
            tuple(Column(*pair) for pair in zip(columns, specs)), tuple(rows), title="Ways to make class images"
        )

    def figures(self) -> list[Block]:
        """A strip for each class of the report, and hay turning into a snail."""
        names = [self.model.categories[target] for target in self.targets[: len(SHOWN)]]
        found: list[Block] = []
        for row, name in enumerate(names):
            cells = [picture(outcome.pixels[row], caption=way) for way, outcome in self.outcomes.items()]
            strips = tuple(tuple(cells[first : first + _STRIP]) for first in range(0, len(cells), _STRIP))
            found.append(ImageGrid(strips, title=f"Figures 2.5 to 2.12: {name}", caption=WAYS))
        if "other" in self.animations and "snail" in names:
            made, row = self.animations["other"], names.index("snail")
            frames = made.frames[:, row].permute(0, 2, 3, 1).contiguous().numpy()
            watched = watch_frames(made, ClassObjective(self.model, torch.tensor(self.targets)))[:, row].tolist()
            captions = tuple(f"iteration {step}, snail {p:.2f}" for step, p in zip(made.frame_steps, watched))
            found.append(Animation(frames, "Figure 2.9: hay to snail", HAY, captions=captions))
        return found

    def _make(self, name: str, recipe: Recipe, marks: Sequence[int], start: Tensor | None = None) -> dict[int, Outcome]:
        """The images of one way after each number of steps in `marks`."""
        images = self._images(self.model, self.targets, name, recipe, marks, start)
        self.animations[name] = images
        return {
            step: self._evaluated(frame.float() / 255, self.model, self.evaluator)
            for step, frame in zip(images.frame_steps, images.frames)
            if step in self.plan.iterations or step == recipe.iterations
        }

    def _swap(self) -> None:
        """The same with the networks swapped."""
        self.outcomes[f"default, made with {self.evaluator.name}"] = self._swapped("default")
        if any(isinstance(module, _BatchNorm) for module in self.evaluator.network.modules()):
            self.outcomes[f"statistics, made with {self.evaluator.name}"] = self._swapped("statistics")

    def _swapped(self, name: str) -> Outcome:
        targets = [translate(target, self.model, self.evaluator) for target in self.targets]
        images = self._images(self.evaluator, targets, f"{name}, {self.evaluator.name}", preset(name), (), None)
        return self._evaluated(images.pixels, self.evaluator, self.model)

    def _images(
        self,
        model: VisionModel,
        targets: Sequence[int],
        name: str,
        recipe: Recipe,
        marks: Sequence[int],
        start: Tensor | None,
    ) -> Made:
        labels = [model.categories[target] for target in targets]
        if not self.session.part:  # a report writes one line per section
            self.session.note(f"{name}: {recipe.iterations} iterations")
        images = make_images(
            ClassObjective.of(model, torch.tensor(targets), recipe),
            recipe,
            labels,
            self.session,
            start=start,
            batch_size=self.plan.batch_size,
            frame_steps=marks,
            keep=True,
        )
        self._kept.add(images.kept)
        if not images.complete:
            raise KeyboardInterrupt  # what was made is in the cache: the study resumes from there
        return images

    def forget(self) -> None:
        """Remove what was kept of unfinished images: the study is done."""
        for folder in self._kept:
            shutil.rmtree(folder, ignore_errors=True)

    def _evaluated(self, pixels: Tensor, maker: VisionModel, other: VisionModel) -> Outcome:
        own, theirs = (
            torch.tensor([translate(target, self.model, network) for target in self.targets])
            for network in (maker, other)
        )
        return Outcome(pixels.cpu(), recognise(maker, pixels, own), recognise(other, pixels, theirs))

    def _others(self) -> Tensor:
        """For each class the place of the photograph of another one."""
        names = [self.model.categories[target] for target in self.targets]
        pairs = {names.index(a): names.index(b) for a, b in _OTHER.items() if a in names and b in names}
        return torch.tensor([pairs.get(place, (place + 1) % len(names)) for place in range(len(names))])


def _choose(model: VisionModel, count: int, session: Session) -> tuple[list[int], list[Path], tuple[Skipped, ...]]:
    """The report's classes and hay, then others at random; with a photograph of each where the sample is available.

    Photographs that cannot be read are listed, as if they were not there.
    """
    sample = sorted((session.home / "data" / "imagenet-sample").glob("n*_*"))
    paths, skipped = readable(sample, model.preprocessing)
    files = {path.name.split("_")[0]: path for path in paths}
    shown = {target: files[wnid] for target, wnid in enumerate(model.wnids) if wnid in files}
    named = [model.category(name) for name in (*SHOWN, *_OTHER.values())]
    known = list(shown) or list(range(len(model.categories)))
    order = torch.randperm(len(known), generator=session.rng("class-visualization")).tolist()
    targets = list(dict.fromkeys([*named, *(known[place] for place in order)]))[:count]
    photographs = [shown[target] for target in targets if target in shown]
    return targets, photographs if len(photographs) == len(targets) else [], skipped
