"""From recipe and objective to images: gradient ascent with everything that a recipe says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepscope.ascent import Momentum, Normalised, State, Streams, UpdateRule, ascend, cosine
from deepscope.models import VisionModel
from deepscope.visualization.batch_norm import StatisticsDistance, statistics_distance
from deepscope.visualization.canvas import Canvas, Fourier, Standardised, standardised
from deepscope.visualization.objectives import Objective
from deepscope.visualization.recipe import Recipe
from deepscope.visualization.regularisers import (
    Blur,
    ClipSmallContribution,
    ClipSmallNorm,
    squared_norm,
    total_variation,
)
from deepscope.visualization.views import Jitter, RandomView, View


@dataclass(frozen=True)
class Frame:
    """Where the images stand after some steps.

    Attributes:
        step: steps made so far.
        pixels: (N, 3, H, W) in [0, 1].
        scores: (N,) what is maximised, with penalties, on the view of this step.
        watched: (N,) the class's probability on the view of this step; a channel's or layer's activation.
        resume: tensors to continue from, as `torch.save` keeps them.
    """

    step: int
    pixels: Tensor
    scores: Tensor
    watched: Tensor
    resume: dict[str, Tensor]


def climb(
    objective: Objective,
    recipe: Recipe,
    streams: Streams,
    *,
    start: Tensor | None = None,
    resume: dict[str, Tensor] | None = None,
    bfloat16: bool = False,
) -> Iterator[Frame]:
    """Make images that excite `objective`, all at once; yields before every step and after the last.

    Every row is on its own: its image depends on its target, its start and its random stream, not on the others.
    Only where the recipe matches statistics, they are those of all rows together.

    Args:
        objective: what each of N images must excite.
        recipe: how.
        streams: N random streams.
        start: (N, 3, H, W) pixels in [0, 1]; noise of the model's input size where None.
        bfloat16: the network computes in bfloat16; images and steps stay in float32.
        resume: `Frame.resume` of an earlier climb with the same arguments, which is continued to the same images.

    Raises:
        SettingError: a layer or channel does not exist.
        UnsupportedError: the recipe needs batch normalisation, and the network has none.
    """
    model = objective.model
    canvas = _canvas(recipe, model.preprocessing.size if start is None else start.shape[-2:])
    view = _view(recipe, streams)
    project = _projection(recipe, canvas)
    rows = torch.arange(len(objective), device=model.device)
    position, image = streams.position, torch.empty(0)

    with statistics_distance(model.network) if recipe.batch_norm else nullcontext() as distance:

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal position, image
            position, pixels = streams.position, canvas.pixels(points)
            image = pixels.detach().clamp(0, 1)
            seen = view(pixels, rows).contiguous(memory_format=torch.channels_last)
            with torch.autocast(points.device.type, torch.bfloat16, enabled=bfloat16):
                wanted, watched = objective(seen, rows)
            return wanted - _penalty(recipe, pixels, distance), watched

        if resume is not None:
            begin = _state(resume, model.device)
            streams.rewind(resume["position"])
        else:
            begin = canvas.noise(streams, rows) if start is None else canvas.points(start.to(model.device))
        steps = recipe.iterations
        for state in ascend(score, begin, update_rule=_update_rule(recipe), project=project, steps=steps):
            yield Frame(state.step, image, state.scores, state.outputs, _resume(state, position))


def suited(recipe: Recipe, model: VisionModel) -> Recipe:
    """The recipe for this network: where the network takes no image of the views' size, views have its own input size.

    Most transformers take images of one size only. Where that is not a square, the network sees the whole image.
    """
    height, width = model.preprocessing.size
    if not recipe.view or recipe.view == height == width or _takes(model, recipe.view):
        return recipe
    return replace(recipe, view=height if height == width else 0)


def _takes(model: VisionModel, side: int) -> bool:
    """Whether the network gives an output for images of that size. Libraries refuse by any kind of error."""
    pixels = torch.full((1, 3, side, side), 0.5, device=model.device)
    try:
        with torch.inference_mode():
            model.network(model.normalise(pixels))
    except torch.OutOfMemoryError:
        return True
    except Exception:
        return False
    return True


def _canvas(recipe: Recipe, size: tuple[int, ...]) -> Canvas:
    height, width = size
    return Fourier((height, width)) if recipe.canvas == "fourier" else Standardised((height, width))


def _update_rule(recipe: Recipe) -> UpdateRule:
    if recipe.update_rule == "momentum":
        return Momentum(Normalised(cosine(recipe.learning_rate, recipe.iterations)), decay=0.9)
    return Normalised(recipe.learning_rate)


def _view(recipe: Recipe, streams: Streams) -> View:
    links: list[View] = []
    if recipe.jitter:
        links.append(Jitter(streams, recipe.jitter))
    if recipe.view:
        links.append(RandomView(streams, recipe.view, recipe.zoom, recipe.rotation, recipe.flip))

    def view(pixels: Tensor, rows: Tensor) -> Tensor:
        for link in links:
            pixels = link(pixels, rows)
        return pixels

    return view


def _projection(recipe: Recipe, canvas: Canvas) -> Callable[[Tensor, State], Tensor]:
    links: list[Callable[[Tensor, State], Tensor]] = []
    if recipe.clip_small_norm:
        links.append(ClipSmallNorm(recipe.clip_small_norm))
    if recipe.clip_small_contribution:
        links.append(ClipSmallContribution(recipe.clip_small_contribution))
    if recipe.blur_every and recipe.blur_sigma:
        links.append(Blur(recipe.blur_every, recipe.blur_sigma))

    def project(points: Tensor, state: State) -> Tensor:
        points = canvas.allowed(points)
        for link in links:
            points = link(points, state)
        return points

    return project


def _penalty(recipe: Recipe, pixels: Tensor, distance: StatisticsDistance | None) -> Tensor:
    penalty = pixels.new_zeros(len(pixels))
    if recipe.l2:
        penalty = penalty + recipe.l2 * squared_norm(standardised(pixels))
    if recipe.total_variation:
        penalty = penalty + recipe.total_variation * total_variation(pixels)
    if recipe.batch_norm and distance is not None:
        penalty = penalty + recipe.batch_norm * distance.take()
    return penalty


def _resume(state: State, position: Tensor) -> dict[str, Tensor]:
    memory = {f"memory.{index}": part for index, part in enumerate(state.memory)}
    return {"step": torch.tensor(state.step), "points": state.points, "position": position, **memory}


def _state(resume: dict[str, Tensor], device: torch.device) -> State:
    points = resume["points"].to(device)
    rows = torch.arange(len(points), device=device)
    memory = tuple(resume[name].to(device) for name in sorted(resume) if name.startswith("memory."))
    return State(int(resume["step"]), rows, points, rows, rows, rows.bool(), memory)


def final(frames: Iterator[Frame]) -> Frame:
    """The last frame: the finished images."""
    *_, frame = frames
    return frame
