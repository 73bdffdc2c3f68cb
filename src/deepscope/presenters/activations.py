"""How the result of `deepscope activations` is shown."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepscope import classification
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, Curves, GridCell, Heatmap, ImageGrid, Result, Series, Table

_ACROSS = 8
"""Maps drawn per image where there are several images."""


@presents(classification.Activations)
def present(found: classification.Activations) -> Result:
    """The images, up to 64 maps of each layer, and statistics of its channels."""
    return draw(found, maps=64)


def draw(found: classification.Activations, *, maps: int) -> Result:
    """As `present`, with at most `maps` channels of each layer; with several images no more than 8."""
    layers = list(found.outputs)
    first, more = found.paths[0].name, len(found) - 1
    what = layers[0] if len(layers) == 1 else f"{len(layers)} layers"
    metrics: dict[str, float] = {"images": len(found)}
    blocks: list[Block] = []
    for layer in layers:
        suffix = "" if len(layers) == 1 else f"/{layer}"
        metrics |= {f"{name}{suffix}": value for name, value in _metrics(found.maps(layer)).items()}
        blocks += [*_figures(found, layer, maps), _table(found, layer)]
    return Result(
        title=f"{what} of {found.model.name} on {first}{f' and {more} more' if more else ''}",
        metrics=metrics,
        blocks=(*blocks, *skipped_blocks(found.skipped)),
        arrays={
            "activations" if len(layers) == 1 else f"activations/{layer}": (output if more else output[0]).numpy()
            for layer, output in found.outputs.items()
        },
        provenance=origin([found.model], found.paths, found.digests),
    )


def square(found: classification.Activations, layer: str, index: int, *, maps: int) -> ImageGrid:
    """The (C, h, w) maps of one image in a square, each with its channel's number."""
    channels = found.maps(layer)[index]
    shown = channels[:maps]
    width = math.ceil(math.sqrt(len(shown)))
    cells = [_map(values, channel, dead=not values.any()) for channel, values in enumerate(shown)]
    grid = tuple(tuple(cells[start : start + width]) for start in range(0, len(cells), width))
    name = f"{layer} of {found.model.name}"
    return ImageGrid(grid, title=f"Activation maps: {name}", caption=_caption(channels[None], maps, name))


def _metrics(maps: Tensor) -> dict[str, float]:
    """Of (N, C, ...) maps; "dead" counts the channels that are 0 or below everywhere."""
    return {
        "channels": maps.shape[1],
        "mean": float(maps.mean()),
        "zero": float((maps == 0).float().mean()),
        "dead": int((maps.transpose(0, 1).flatten(1).amax(1) <= 0).sum()),
    }


def _table(found: classification.Activations, layer: str) -> Table:
    """Statistics of each channel."""
    statistics = found.statistics(layer)
    rows = tuple((channel, *values) for channel, values in enumerate(zip(*(v.tolist() for v in statistics.values()))))
    return Table(
        columns=(Column("channel", "d"), *(Column(name, ".4g") for name in statistics)),
        rows=rows,
        title="Channels" if len(found.outputs) == 1 else f"Channels of {layer}",
        caption="Over images and positions; zero is the share of values that are exactly 0.",
    )


def _figures(found: classification.Activations, layer: str, most: int) -> tuple[Block, ...]:
    """The images and their maps: a square of maps for one image, one row per image for several."""
    name, maps = f"{layer} of {found.model.name}", found.maps(layer)
    displayed = found.model.displayed(found.pixels)
    pictures = [picture(pixels, caption=path.name) for path, pixels in zip(found.paths, displayed)]
    seen = ImageGrid(tuple((cell,) for cell in pictures), title="Network input")
    if maps.ndim == 3:  # no grid of positions: (N, C, positions)
        places = torch.arange(maps.shape[1]).numpy()
        lines = tuple(
            Series(path.name, places, values.mean(1).numpy(), style="points") for path, values in zip(found.paths, maps)
        )
        return seen, Curves(lines, x_title="channel", y_title="activation", title=name)
    if len(found) == 1:
        return seen, square(found, layer, 0, maps=most)
    most = min(most, _ACROSS)
    dead = [not maps[:, channel].any() for channel in range(min(most, maps.shape[1]))]
    rows = tuple(
        (one, *(_map(values, channel, dead=dead[channel]) for channel, values in enumerate(of_image[:most])))
        for one, of_image in zip(pictures, maps)
    )
    columns = ("image", *[""] * len(dead))
    return (ImageGrid(rows, title=f"Activation maps: {name}", caption=_caption(maps, most, name), columns=columns),)


def _caption(maps: Tensor, most: int, name: str) -> str:
    """Of the first `most` channels of (N, C, h, w) maps."""
    caption = f"The output of {name}, one map per channel, each on its own scale from its lowest value (dark) to its "
    caption += "highest (bright); below each map the channel's number."
    if most < maps.shape[1]:
        caption += f" The first {most} of {maps.shape[1]} channels."
    if bool((maps[:, :most].abs().amax((2, 3)) == 0).any()):
        caption += " Grey: 0 at every position; a channel marked dead is 0 for every image."
    return caption


def _map(values: Tensor, channel: int, *, dead: bool) -> GridCell:
    """A channel's map; one without any activation is drawn as missing, and says so."""
    if values.any():
        return Heatmap(values.numpy(), caption=str(channel))
    return Heatmap(torch.full_like(values, torch.nan).numpy(), caption=f"{channel} {'dead' if dead else 'all 0'}")
