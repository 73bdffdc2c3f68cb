"""`visualize`: images that maximise class scores, evaluated by other networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from deepscope.errors import DataError, DeepscopeError, SettingError
from deepscope.inputs import Images, nothing_readable, read
from deepscope.models import VisionModel
from deepscope.models.capabilities import GRADIENTS, GRADIENTS_OF_LAYERS, RGB, require
from deepscope.models.known_gradients import with_known_gradients
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.visualization.climb import suited
from deepscope.visualization.evaluation import Evaluation, evaluate, require_evaluators, usual_evaluator
from deepscope.visualization.making import Made, make_images, watch_frames
from deepscope.visualization.objectives import ChannelObjective, ClassObjective, LayerObjective, Objective
from deepscope.visualization.recipe import Recipe, preset

_FRAMES = 60


@dataclass(frozen=True)
class Layer:
    """A layer to maximise in place of a class.

    Attributes:
        name: as PyTorch or the publication calls it.
        channel: one channel, or several, with an image for each; none for the layer as a whole.
    """

    name: str
    channel: int | Sequence[int] = ()

    @property
    def channels(self) -> tuple[int, ...]:
        """All channels."""
        return (self.channel,) if isinstance(self.channel, int) else tuple(self.channel)


Targets: TypeAlias = "str | int | Sequence[str | int] | Layer"
"""What images maximise: classes by name, WordNet identifier or number; or a layer."""


@dataclass(frozen=True, eq=False)
class ClassImages(Presented):
    """Images that maximise the class scores, or a layer, of a network.

    Attributes:
        model: the network that they were made with.
        objective: what each of N images excites; where ctrl-C came first there are fewer images.
        labels: a name for each image.
        recipe: how they were made.
        seeds: images per class or channel.
        made: pixels, and the course of the ascent.
        evaluators: the other networks.
        evaluations: by the network itself, then by the others; empty for layers.
        watched: (F, N) the class's probability, or the activation, on each frame of the animation.
        not_evaluated: why no other network evaluates them, where one was wanted; empty otherwise.
        paths, digests: of the images to start from.
    """

    model: VisionModel
    objective: Objective
    labels: tuple[str, ...]
    recipe: Recipe
    seeds: int
    made: Made
    evaluators: tuple[VisionModel, ...]
    evaluations: tuple[Evaluation, ...]
    watched: Tensor
    not_evaluated: str = ""
    paths: tuple[Path, ...] = ()
    digests: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> Tensor:
        """(N, 3, H, W) in [0, 1]."""
        return self.made.pixels

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image: its label, its rank and probability by each network, total variation and saturation."""
        rows = range(len(self))
        found: dict[str, Sequence[Any]] = {"image": list(self.labels)}
        for one in self.evaluations:
            found[f"rank/{one.evaluator}"] = [one.rank(row) for row in rows]
            found[f"probability/{one.evaluator}"] = [one.probability(row) for row in rows]
        for own in self.evaluations[:1]:
            found["total-variation"] = own.recognition.total_variation.tolist()
            found["saturation"] = own.recognition.saturation.tolist()
        return found


def visualize(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    targets: Targets,
    *,
    recipe: Recipe | str = "default",
    evaluators: Sequence[VisionModel] | None = (),
    start: Images | None = None,
    seeds: int = 1,
    animate: bool = False,
    batch_size: int = 8,
    seed: int = 0,
    session: Session | None = None,
) -> ClassImages:
    """Synthesise images of a class by gradient ascent on the score that a network gives it.

    Ctrl-C stops and returns the images so far; the same call resumes, with the same result.

    Args:
        model: the network.
        targets: classes, with one image each; or `Layer(name, channel)`.
        recipe: settings, or the name of a preset. Views adapt to networks that accept a single input size.
        evaluators: other networks that evaluate the images; None for the bundled one, or squeezenet1_0 for images
            of the bundled one, where it is available.
        start: an image to start from, or one per image; noise where None.
        seeds: images per class, from different noise.
        animate: also return the images after up to 60 steps.
        batch_size: images per batch; halved where memory runs out.
        seed: of the noise and of random views.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Returns:
        the images, their evaluation by each network, and the course of the ascent.

    Raises:
        SettingError: a setting is out of range, or two cannot be combined.
        ModelError: the model has no class layer, and classes are asked for.
        UnsupportedError: the model gives no gradients, the recipe does not fit the network, or a network does not know
            a class.
        DataError: the image to start from cannot be read.

    Example:
        >>> import deepscope as ds
        >>> from deepscope.visualization import Recipe, visualize
        >>> short = Recipe(iterations=2, view=64)
        >>> found = visualize(ds.load_model("efficientnet_lite0"), ["pug", "daisy"], recipe=short)
        >>> found.pixels.shape
        torch.Size([2, 3, 224, 224])
    """
    for name, value in (("seeds", seeds), ("batch_size", batch_size)):
        if value < 1:
            raise SettingError(name, "must be at least 1", got=value)
    of_layer = isinstance(targets, Layer)
    require(model, "visualize", RGB | (GRADIENTS_OF_LAYERS if of_layer else GRADIENTS))
    if not of_layer:
        model = with_known_gradients(model)
        require(model, "visualize", GRADIENTS)
    session = Session.of(session, device=model.device, seed=seed)
    recipe = suited(preset(recipe, session) if isinstance(recipe, str) else recipe, model)
    objective, labels = _objective(model, targets, recipe, seeds)
    require_evaluators(objective, evaluators or ())
    pixels, paths, digests = _start(model, start, len(labels), session)
    not_evaluated = ""
    if evaluators is None:
        evaluators, not_evaluated = _usual(objective, session)
    steps = _evenly(recipe.iterations) if animate else ()
    made = make_images(objective, recipe, labels, session, start=pixels, batch_size=batch_size, frame_steps=steps)
    return ClassImages(
        model=model,
        objective=objective,
        labels=tuple(labels[: len(made.pixels)]),
        recipe=recipe,
        seeds=seeds,
        made=made,
        evaluators=tuple(evaluators),
        evaluations=evaluate(made.pixels, objective, evaluators),
        watched=watch_frames(made, objective),
        not_evaluated=not_evaluated,
        paths=paths,
        digests=digests,
    )


def _objective(model: VisionModel, targets: Targets, recipe: Recipe, seeds: int) -> tuple[Objective, list[str]]:
    """What to excite, and a label for each image."""
    if isinstance(targets, Layer):
        model.layer(targets.name)
        if not targets.channels:
            return LayerObjective(model, targets.name, seeds), _seeded([targets.name], seeds)
        channels = torch.tensor(targets.channels).repeat_interleave(seeds)
        names = [f"{targets.name} {channel}" for channel in targets.channels]
        return ChannelObjective(model, targets.name, channels), _seeded(names, seeds)
    named = [targets] if isinstance(targets, (str, int)) else targets
    if not isinstance(cast("object", named), Sequence):
        raise SettingError("targets", "must be classes, by name or number, or a Layer", got=named)
    classes = list(dict.fromkeys(model.category(name) for name in named))
    if not classes:
        raise SettingError("targets", "must name at least one class, or a layer")
    names = [model.categories[target] for target in classes]
    if len(set(names)) < len(names):
        names = [f"{name} {target}" for name, target in zip(names, classes)]
    indices = torch.tensor(classes).repeat_interleave(seeds)
    return ClassObjective.of(model, indices, recipe), _seeded(names, seeds)


def _seeded(names: Sequence[str], seeds: int) -> list[str]:
    return [f"{name} #{seed + 1}" if seeds > 1 else name for name in names for seed in range(seeds)]


def _start(
    model: VisionModel, start: Images | None, count: int, session: Session
) -> tuple[Tensor | None, tuple[Path, ...], tuple[bytes, ...]]:
    """(N, 3, H, W) pixels to start from, with the files that they come from; None for noise."""
    if start is None:
        return None, (), ()
    found = list(read(model, start, session, text="reading the start"))
    skipped = [item for batch in found for item in batch.skipped]
    found = [batch for batch in found if batch.rows]
    if skipped or not found:
        raise DataError(nothing_readable(skipped))
    pixels = torch.cat([batch.pixels for batch in found])
    if len(pixels) not in (1, count):
        raise SettingError("start", f"must be one image, or one for each of the {count}", got=len(pixels))
    paths = tuple(path for batch in found for path in batch.paths)
    return pixels.expand(count, -1, -1, -1), paths, tuple(digest for batch in found for digest in batch.digests)


def _usual(objective: Objective, session: Session) -> tuple[list[VisionModel], str]:
    """The usual evaluator; or why there is none."""
    if not isinstance(objective, ClassObjective):
        return [], ""
    try:
        return [usual_evaluator(objective, session)], ""
    except DeepscopeError as error:
        return [], str(error)


def _evenly(steps: int) -> list[int]:
    """The steps to animate, the first and the last among them."""
    count = min(_FRAMES, steps + 1)
    return sorted({round(index * steps / max(1, count - 1)) for index in range(count)})
