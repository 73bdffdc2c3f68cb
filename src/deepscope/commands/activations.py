"""`deepscope activations`: what a layer puts out for images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from deepscope import images
from deepscope.commands.command import Command
from deepscope.commands.shown import picture, provenance, skipped_blocks
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.models.prediction import nothing_readable
from deepscope.results import Column, Curves, GridCell, Heatmap, ImageGrid, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count

_ACROSS = 8
"""Maps of each image beside it, where there are several images."""


@dataclass(frozen=True)
class Activations(Command):
    """Draw the activation maps of a layer for one image, or for several beneath each other.

    Attributes:
        paths: image files and folders.
        model: the network; a features-only model will do.
        layer: the layer's name as `deepscope models show MODEL` prints it; the first convolution by default.
        maps: how many channels to draw, at most; with several images no more than 8.
        limit: images to use, at most, drawn at random.
    """

    example: ClassVar[str] = "deepscope activations cat.jpg --model vgg16 --layer features.0 --out maps/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    layer: str | None = None
    maps: Count = 64
    limit: Count | None = None

    def run(self, session: Session) -> Result:
        """One forward pass per image, no further than the layer."""
        if self.maps < 1:
            raise DeepscopeError("--maps is at least 1")
        if not self.paths:
            raise DeepscopeError("name at least one image file or folder")
        model = load_model(self.model, session)
        layer = self.layer or _first_convolution(model)
        model.layer(layer)
        found = images.find(self.paths)
        files, skipped = session.some(found.paths, self.limit), list(found.skipped)
        seen: list[tuple[Path, Tensor]] = []
        outputs: list[Tensor] = []
        for batch in images.stream(files, model.preprocessing, batch_size=1):
            skipped.extend(batch.skipped)
            for row, pixels in zip(batch.rows, batch.pixels):
                with torch.inference_mode():
                    output = model.activations(pixels[None].to(model.device), [layer])[layer][0]
                outputs.append(output.float().cpu())
                seen.append((files[row], pixels))
        if not seen:
            raise DeepscopeError(nothing_readable(skipped))
        channels = torch.stack([channels_first(output) for output in outputs])
        values = channels.transpose(0, 1).flatten(1)
        dead = values.abs().amax(1) == 0
        first, more = seen[0][0].name, len(seen) - 1
        return Result(
            title=f"{layer} of {model.name} on {first}{f' and {more} more' if more else ''}",
            metrics={
                "images": len(seen),
                "channels": len(values),
                "mean": float(values.mean()),
                "zero": float((values == 0).float().mean()),
                "dead": int((values.amax(1) <= 0).sum()),
            },
            blocks=(
                *_figures(seen, channels, dead, self.maps, f"{layer} of {model.name}"),
                _table(values),
                *skipped_blocks(skipped),
            ),
            arrays={"activations": (torch.stack(outputs) if more else outputs[0]).numpy()},
            provenance=provenance([model], [path for path, _ in seen]),
        )


def channels_first(output: Tensor) -> Tensor:
    """A layer's output for one image -> (C, H, W), or (C, 1) where the layer has no positions.

    Handles (C, H, W), channels last as in Swin (H, W, C), tokens (T, C) of a square of patches with or without
    further tokens before them, and vectors (C,).
    """
    if output.ndim == 1:
        return output[:, None]
    if output.ndim == 2:
        side = math.isqrt(len(output))
        return output[len(output) - side**2 :].T.reshape(-1, side, side)
    if output.ndim == 3:
        return output.permute(2, 0, 1) if output.shape[0] == output.shape[1] != output.shape[2] else output
    raise DeepscopeError(f"the layer's output has shape {tuple(output.shape)}, which is no map: choose another layer")


def _table(values: Tensor) -> Table:
    """Statistics of (C, n) values."""
    statistics = {
        "mean": values.mean(1),
        "std": values.std(1, correction=0),
        "minimum": values.amin(1),
        "maximum": values.amax(1),
        "zero": (values == 0).float().mean(1),
    }
    rows = tuple(
        (channel, *(float(column[channel]) for column in statistics.values())) for channel in range(len(values))
    )
    return Table(
        columns=(Column("channel", "d"), *(Column(name, ".4g") for name in statistics)),
        rows=rows,
        title="Channels",
        caption="Over images and positions; zero is the share of values that are exactly 0.",
    )


def _figures(
    seen: Sequence[tuple[Path, Tensor]], channels: Tensor, dead: Tensor, most: int, name: str
) -> tuple[ImageGrid | Curves, ...]:
    """The images, and their (N, C, H, W) maps; one image's in a square, those of several in a row beside each."""
    pictures = [picture(pixels, caption=path.name) for path, pixels in seen]
    if channels.ndim == 3:  # no positions: (N, C, 1)
        places = torch.arange(channels.shape[1]).numpy()
        lines = tuple(
            Series(path.name, places, values[:, 0].numpy(), style="points") for (path, _), values in zip(seen, channels)
        )
        shown = ImageGrid(rows=tuple((cell,) for cell in pictures), title="What the network sees")
        return shown, Curves(lines, x_title="channel", y_title="activation", title=name)
    several = len(seen) > 1
    count = min(most, channels.shape[1], _ACROSS) if several else min(most, channels.shape[1])
    caption = f"The output of {name}, one map per channel, each on its own scale from its lowest value (dark) to its "
    caption += "highest (bright); below each map the channel's number."
    if count < channels.shape[1]:
        caption += f" The first {count} of {channels.shape[1]} channels."
    if bool(dead[:count].any()) or bool((channels[:, :count].abs().amax((2, 3)) == 0).any()):
        caption += " Grey: 0 at every position, which a map called dead is for every image."
    cells = [
        [_map(values, index, dead=bool(dead[index])) for index, values in enumerate(of_image[:count])]
        for of_image in channels
    ]
    title = f"Activation maps: {name}"
    if several:
        rows = tuple((one, *maps) for one, maps in zip(pictures, cells))
        return (ImageGrid(rows, title=title, caption=caption, columns=("image", *[""] * count)),)
    width = math.ceil(math.sqrt(count))
    square = tuple(tuple(cells[0][start : start + width]) for start in range(0, count, width))
    return (
        ImageGrid(rows=((pictures[0],),), title="What the network sees"),
        ImageGrid(square, title=title, caption=caption),
    )


def _map(values: Tensor, channel: int, *, dead: bool) -> GridCell:
    """A channel's map; one without any activation is drawn as missing, and says so."""
    if float(values.abs().max()) > 0:
        return Heatmap(values.numpy(), caption=str(channel))
    return Heatmap(torch.full_like(values, torch.nan).numpy(), caption=f"{channel} {'dead' if dead else 'all 0'}")


def _first_convolution(model: VisionModel) -> str:
    for name, module in model.network.named_modules():
        if isinstance(module, nn.Conv2d):
            return name
    raise DeepscopeError(f"{model.name} has no convolution: name a layer with --layer")
