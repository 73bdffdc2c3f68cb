"""`deepscope visualize`: images that maximise class scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch

from deepscope.commands.command import Command
from deepscope.commands.shown import origin, picture
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.render import presents
from deepscope.render.text import DASH
from deepscope.results import Animation, Block, Column, Curves, ImageGrid, Note, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count, Overrides
from deepscope.statistics import mean
from deepscope.visualization import (
    ClassImages,
    ClassObjective,
    Evaluation,
    Layer,
    Recipe,
    preset,
    suited,
    visualize,
)
from deepscope.visualization.quality import diversity

_NOISE = "noise"
_MOST_CURVES = 8


@dataclass(frozen=True)
class Visualize(Command):
    """Synthesise images of a class by gradient ascent on the score that a network gives it.

    Another network, which was not used to make the images, evaluates them. Ctrl-C stops and shows the images so
    far; the same command resumes. The defaults below are those of the preset "default".

    Attributes:
        classes: names, WordNet identifiers or numbers of classes; one image per class.
        model: the network.
        preset: recipe for settings that are not given; an unknown name lists all presets.
        start: "noise", or an image file to start from.
        seeds: images per class, from different noise.
        layer: a layer to maximise instead of classes, as a whole or by its channels.
        channel: channels of the layer, one image per channel.
        animate: also show an animation of the ascent.
        evaluators: networks that evaluate the images; by default the bundled one, or squeezenet1_0 for images of
            the bundled one.
        batch_size: images per batch.
        recipe: settings that differ from the preset's.
    """

    example: ClassVar[str] = 'deepscope visualize wombat "bee eater" --model squeezenet1_0 --animate --out wombat/'
    renamed: ClassVar[Mapping[str, str]] = {"judge": "evaluators"}

    classes: tuple[str, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    preset: str = "default"
    start: str = _NOISE
    seeds: Count = 1
    layer: str | None = None
    channel: tuple[int, ...] = ()
    animate: bool = False
    evaluators: tuple[str, ...] = ()
    batch_size: Count = 8
    recipe: Annotated[Mapping[str, Any], Overrides(Recipe)] = field(default_factory=dict)

    def run(self, session: Session) -> Result:
        """Make, evaluate and show."""
        targets = self._targets()
        recipe = dataclasses.replace(preset(self.preset, session), **self.recipe)
        model = load_model(self.model, session)
        if self.recipe.get("view"):
            _require_view(recipe, model)
        return present(
            visualize(
                model,
                targets,
                recipe=recipe,
                evaluators=[load_model(name, session) for name in self.evaluators] or None,
                start=None if self.start == _NOISE else Path(self.start),
                seeds=self.seeds,
                animate=self.animate,
                batch_size=self.batch_size,
                session=session,
            )
        )

    def settings(self) -> dict[str, Any]:
        """All flags; `present` adds those of the recipe."""
        return {name: value for name, value in super().settings().items() if name != "recipe"}

    def _targets(self) -> tuple[str, ...] | Layer:
        if self.classes and (self.layer is not None or self.channel):
            name = "channel" if self.layer is None else "layer"
            raise SettingError(name, "cannot be combined with classes: give one of them, not both")
        if self.evaluators and not self.classes:
            raise SettingError("evaluators", "recognise classes: name classes, not a {layer}")
        if self.layer is not None:
            return Layer(self.layer, self.channel)
        if self.channel:
            raise SettingError("channel", "needs a {layer}: `deepscope models show MODEL` lists the layers")
        if not self.classes:
            raise SettingError(
                "classes", 'must name at least one class, as in `deepscope visualize "bee eater"`; or give a {layer}'
            )
        return self.classes


def _require_view(recipe: Recipe, model: VisionModel) -> None:
    """Default views adapt to the network; a requested view that does not fit is refused."""
    if suited(recipe, model).view != recipe.view:
        height, width = model.preprocessing.size
        raise SettingError(
            "view", f"does not fit {model.name}, which accepts only {height} x {width} pixels", got=recipe.view
        )


@presents(ClassImages)
def present(found: ClassImages) -> Result:
    """The images, how networks classify them, and the ascent."""
    labels, made = found.labels, found.made
    return Result(
        title=f"Class images of {found.model.name}: {', '.join(labels[:4])}{' ...' if labels[4:] else ''}",
        config=dataclasses.asdict(found.recipe),
        metrics={
            "images": len(labels),
            "iterations": int(torch.isfinite(made.watched[:, -1]).sum()) - 1,
            "seconds-per-image": made.seconds / len(labels),
            **{name: value for one in reversed(found.evaluations) for name, value in one.recognition.metrics().items()},
            **_diversity(found),
        },
        blocks=(
            *_stopped(found),
            *_not_evaluated(found),
            _gallery(found),
            *_table(found),
            _curves(found),
            *_animations(found),
        ),
        arrays={"images": (made.pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()},
        provenance=origin([found.model, *found.evaluators], found.paths, found.digests),
    )


def _diversity(found: ClassImages) -> dict[str, float]:
    """Over classes with all their seeds."""
    groups = [group for group in found.pixels.split(found.seeds) if len(group) == found.seeds > 1]
    return mean([diversity(group) for group in groups]).metrics("diversity") if groups else {}


def _gallery(found: ClassImages) -> ImageGrid:
    cells = []
    for row, label in enumerate(found.labels):
        seen = ", ".join(_probability(one, row) for one in found.evaluations)
        cells.append(picture(found.pixels[row], caption=f"{label}: {seen}" if seen else label))
    width = found.seeds if found.seeds > 1 else math.ceil(math.sqrt(len(cells)))
    networks = ", ".join(one.evaluator for one in found.evaluations)
    return ImageGrid(
        rows=tuple(tuple(cells[first : first + width]) for first in range(0, len(cells), width)),
        title="Class images",
        caption=f"Below each image: the class's probability by {networks}." if networks else "",
    )


def _probability(one: Evaluation, row: int) -> str:
    probability = one.probability(row)
    return DASH if probability is None else f"{probability:.2f}"


def _table(found: ClassImages) -> tuple[Table, ...]:
    if not found.evaluations:
        return ()
    own = found.evaluations[0].recognition
    columns = [
        Column("class"),
        *(Column(one.evaluator) for one in found.evaluations),
        Column("total variation", ".4f"),
        Column("saturation", ".3f"),
    ]
    rows = tuple(
        (
            label,
            *(_rank(one, row) for one in found.evaluations),
            float(own.total_variation[row]),
            float(own.saturation[row]),
        )
        for row, label in enumerate(found.labels)
    )
    caption = "Rank of the class by each network (1 is the most probable), and its probability."
    return (Table(tuple(columns), rows, title="Quality", caption=caption),)


def _rank(one: Evaluation, row: int) -> str | None:
    rank = one.rank(row)
    return None if rank is None else f"rank {rank}, {_probability(one, row)}"


def _curves(found: ClassImages) -> Curves:
    """One line per image while they are few, else the mean of all."""
    watched, labels = found.made.watched, found.labels
    steps = torch.arange(len(watched)).numpy()
    if len(labels) <= _MOST_CURVES:
        series = tuple(Series(label, steps, watched[:, row].numpy()) for row, label in enumerate(labels))
    else:
        series = (Series(f"mean of {len(labels)} images", steps, watched.nanmean(1).numpy()),)
    title = "Probability of the class" if isinstance(found.objective, ClassObjective) else "Activation"
    caption = "On the view of each step."
    return Curves(series, "iteration", title.lower(), title=title, caption=caption)


def _animations(found: ClassImages) -> list[Animation]:
    made, steps = found.made, found.made.frame_steps
    what = "probability" if isinstance(found.objective, ClassObjective) else "activation"
    animations = []
    for row, label in enumerate(found.labels if steps else ()):
        known = [place for place, step in enumerate(steps) if torch.isfinite(made.watched[step, row])]
        captions = tuple(
            f"{label}: iteration {steps[place]}, {what} {found.watched[place, row]:.2f}" for place in known
        )
        frames = made.frames[known, row].permute(0, 2, 3, 1).contiguous().numpy()
        caption = "Iteration, and the score of the network."
        animations.append(Animation(frames, label, caption, captions=captions))
    return animations


def _stopped(found: ClassImages) -> tuple[Block, ...]:
    if found.made.complete:
        return ()
    text = "Stopped before the end: the images are unfinished. The same command resumes."
    return (Note(text, "Stopped", "warning"),)


def _not_evaluated(found: ClassImages) -> tuple[Block, ...]:
    if not found.not_evaluated:
        return ()
    text = f"No other network evaluates these images ({found.not_evaluated}). Name evaluators that know the class."
    return (Note(text, "Not evaluated by another network"),)
