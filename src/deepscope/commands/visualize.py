"""`deepscope visualize`: what a network believes a class looks like."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.commands.class_images import Images, make_images, watch_film
from deepscope.commands.command import Command
from deepscope.commands.seen import Seen, known, see
from deepscope.commands.shown import picture, provenance
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Animation, Block, Column, Curves, ImageGrid, Note, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import mean
from deepscope.visualization import ChannelObjective, ClassObjective, LayerObjective, Objective, Recipe, preset, suited
from deepscope.visualization.quality import diversity, translate

_JUDGES = (DEFAULT, "squeezenet1_0")
_NOISE = "noise"
_FRAMES = 60


@dataclass(frozen=True)
class Visualize(Recipe, Command):
    """Make images of what a network believes a class looks like, by climbing the class's score.

    The images are judged by another network that had no part in making them. What ctrl-C stops is shown as far as
    it came, and the same command goes on from there.

    Attributes:
        classes: names, WordNet identifiers or numbers of classes; one image each.
        model: the network to look into.
        preset: the recipe for all settings that no flag gives; a wrong name lists them.
        start: "noise", or an image file to start from.
        seeds: images a class, from different noise.
        layer: instead of classes: a layer, to make images that excite all of it, or its channels.
        channel: channels of the layer, one image each.
        animate: keep the images along the way, as an animation.
        judge: other networks; by default the bundled one, or squeezenet1_0 for images of the bundled one.
        batch_size: images at a time.
    """

    example: ClassVar[str] = 'deepscope visualize wombat "bee eater" --model squeezenet1_0 --animate --out wombat/'

    classes: tuple[str, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    preset: str = "default"
    start: str = _NOISE
    seeds: Count = 1
    layer: str | None = None
    channel: tuple[int, ...] = ()
    animate: bool = False
    judge: tuple[str, ...] = ()
    batch_size: Count = 8

    def run(self, session: Session) -> Result:
        """Make, judge and show."""
        if self.seeds < 1 or self.batch_size < 1:
            raise DeepscopeError("--seeds and --batch-size are at least 1")
        if self.judge and not self.classes:
            raise DeepscopeError("--judge names classes in images: it goes with classes, not with a --layer")
        recipe = self.over(preset(self.preset))
        model = load_model(self.model, session)
        recipe = self._suited(recipe, model)
        objective, labels = self._objective(model, recipe)
        start = None if self.start == _NOISE else model.read([Path(self.start)]).expand(len(labels), -1, -1, -1)
        judges, alone = self._judges(model, objective, session)
        film = _evenly(recipe.iterations or 0) if self.animate else ()
        images = make_images(objective, recipe, labels, session, start=start, batch_size=self.batch_size, film=film)
        labels = labels[: len(images.pixels)]
        verdicts = see(images.pixels, objective, model, judges)
        return Result(
            title=f"What {model.name} believes: {', '.join(labels[:4])}{' ...' if labels[4:] else ''}",
            config={**self.settings(), **dataclasses.asdict(recipe)},
            metrics={
                "images": len(labels),
                "iterations": int(torch.isfinite(images.watched[:, -1]).sum()) - 1,
                "seconds-per-image": images.seconds / len(labels),
                **{name: value for one in reversed(verdicts) for name, value in one.verdict.metrics().items()},
                **self._diversity(images.pixels),
            },
            blocks=(
                *_stopped(images),
                *alone,
                _gallery(images.pixels, labels, verdicts, self.seeds),
                *_table(labels, verdicts),
                _curves(images.watched, labels, isinstance(objective, ClassObjective)),
                *_animations(images, objective, labels),
            ),
            arrays={"images": (images.pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()},
            provenance=provenance([model, *judges], [] if start is None else [Path(self.start)]),
        )

    def _objective(self, model: VisionModel, recipe: Recipe) -> tuple[Objective, list[str]]:
        """What to excite, and a label for each image."""
        if self.classes and (self.layer or self.channel):
            raise DeepscopeError("name classes, or a --layer with --channel, not both")
        if self.layer is not None:
            model.layer(self.layer)
            if self.channel:
                channels = torch.tensor(self.channel).repeat_interleave(self.seeds)
                names = [f"{self.layer} {channel}" for channel in self.channel]
                return ChannelObjective(model, self.layer, channels), self._seeded(names)
            return LayerObjective(model, self.layer, self.seeds), self._seeded([self.layer])
        if self.channel:
            raise DeepscopeError("--channel needs a --layer: `deepscope models show MODEL` lists the layers")
        targets = list(dict.fromkeys(model.category(name) for name in self.classes))
        if not targets:
            raise DeepscopeError('name at least one class, as in `deepscope visualize "bee eater"`, or a --layer')
        names = [model.categories[target] for target in targets]
        labels = self._seeded(names if len(set(names)) == len(names) else [f"{n} {t}" for n, t in zip(names, targets)])
        return ClassObjective.of(model, torch.tensor(targets).repeat_interleave(self.seeds), recipe), labels

    def _seeded(self, names: Sequence[str]) -> list[str]:
        return [f"{name} #{seed + 1}" if self.seeds > 1 else name for name in names for seed in range(self.seeds)]

    def _suited(self, recipe: Recipe, model: VisionModel) -> Recipe:
        """The recipe with views of a size that the network takes. Raises DeepscopeError where --view names another."""
        fitting = suited(recipe, model)
        if self.view and fitting.view != self.view:
            height, width = model.preprocessing.size
            raise DeepscopeError(
                f"--view {self.view} does not fit {model.name}, which takes {height} x {width} pixels alone"
            )
        return fitting

    def _judges(
        self, model: VisionModel, objective: Objective, session: Session
    ) -> tuple[list[VisionModel], tuple[Note, ...]]:
        """The other networks, and a note where there is none: it is not installed, or knows none of the classes.

        Raises:
            DeepscopeError: a network that --judge names does not exist, or does not know one of the classes.
        """
        if not isinstance(objective, ClassObjective):
            return [], ()
        targets = objective.targets.unique().tolist()
        if self.judge:
            judges = [load_model(name, session) for name in self.judge]
            for judge in judges:
                for target in targets:
                    translate(target, model, judge)
            return judges, ()
        try:
            judge = load_model(next(name for name in _JUDGES if name != model.name), session)
            if all(known(target, model, judge) is None for target in targets):
                translate(targets[0], model, judge)
            return [judge], ()
        except DeepscopeError as error:
            text = f"No other network evaluates these images ({error}). --judge names one that knows the class."
            return [], (Note(text, "Not evaluated by another network"),)

    def _diversity(self, pixels: Tensor) -> dict[str, float]:
        """Over classes with all their seeds."""
        groups = [group for group in pixels.split(self.seeds) if len(group) == self.seeds > 1]
        return mean([diversity(group) for group in groups]).metrics("diversity") if groups else {}


# Every setting of a recipe is a flag, and explained in one place.
Visualize.__doc__ = f"{Visualize.__doc__}".rstrip() + "\n" + f"{Recipe.__doc__}".partition("Attributes:\n")[2]


def _gallery(pixels: Tensor, labels: Sequence[str], verdicts: Sequence[Seen], seeds: int) -> ImageGrid:
    cells = []
    for row, label in enumerate(labels):
        seen = ", ".join(one.probability(row) for one in verdicts)
        cells.append(picture(pixels[row], caption=f"{label}: {seen}" if seen else label))
    width = seeds if seeds > 1 else math.ceil(math.sqrt(len(cells)))
    return ImageGrid(
        rows=tuple(tuple(cells[first : first + width]) for first in range(0, len(cells), width)),
        title="What the network believes",
        caption=f"Below each image: the class's probability by {', '.join(one.verdict.judge for one in verdicts)}."
        if verdicts
        else "",
    )


def _table(labels: Sequence[str], verdicts: Sequence[Seen]) -> tuple[Table, ...]:
    if not verdicts:
        return ()
    own = verdicts[0].verdict
    columns = [
        Column("class"),
        *(Column(one.verdict.judge) for one in verdicts),
        Column("total variation", ".4f"),
        Column("saturation", ".3f"),
    ]
    rows = tuple(
        (
            label,
            *(one.rank(row) for one in verdicts),
            float(own.total_variation[row]),
            float(own.saturation[row]),
        )
        for row, label in enumerate(labels)
    )
    return (
        Table(
            tuple(columns),
            rows,
            title="Quality",
            caption="Rank 1: the network names the class first; the class's probability.",
        ),
    )


def _curves(watched: Tensor, labels: Sequence[str], classes: bool) -> Curves:
    """One line an image while they are few, else the mean of all."""
    steps = torch.arange(len(watched)).numpy()
    if len(labels) <= 8:
        series = tuple(Series(label, steps, watched[:, row].numpy()) for row, label in enumerate(labels))
    else:
        series = (Series(f"mean of {len(labels)} images", steps, watched.nanmean(1).numpy()),)
    title = "Probability of the class" if classes else "Activation"
    return Curves(
        series, "iteration", title.lower(), title=title, caption="On the view that the network was shown in each step."
    )


def _evenly(steps: int) -> list[int]:
    """The steps to animate, the first and the last among them."""
    count = min(_FRAMES, steps + 1)
    return sorted({round(index * steps / max(1, count - 1)) for index in range(count)})


def _animations(images: Images, objective: Objective, labels: Sequence[str]) -> list[Animation]:
    if not len(images.film):
        return []
    what = "probability" if isinstance(objective, ClassObjective) else "activation"
    watched, made = watch_film(images, objective), []
    for row, label in enumerate(labels):
        known = [place for place, step in enumerate(images.film_steps) if torch.isfinite(images.watched[step, row])]
        captions = tuple(
            f"{label}: iteration {images.film_steps[place]}, {what} {watched[place, row]:.2f}" for place in known
        )
        frames = images.film[known, row].permute(0, 2, 3, 1).contiguous().numpy()
        made.append(Animation(frames, label, "Iteration, and what the network makes of the image.", captions=captions))
    return made


def _stopped(images: Images) -> tuple[Block, ...]:
    if images.complete:
        return ()
    text = "Stopped before the end: what was made so far is shown. The same command goes on from there."
    return (Note(text, "Stopped", "warning"),)
