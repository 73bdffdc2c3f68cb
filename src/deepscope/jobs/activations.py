"""`deepscope activations`: what a layer puts out for an image."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from deepscope.errors import InputError
from deepscope.jobs.job import Job
from deepscope.jobs.shown import picture, provenance
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Column, Curves, GridCell, Heatmap, ImageGrid, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class Activations(Job):
    """Draw the activation maps of a layer for one image.

    Attributes:
        image: the image file.
        model: the network; a features-only model will do.
        layer: the layer's name as `deepscope models show MODEL` prints it; the first convolution by default.
        maps: how many channels to draw, at most.
    """

    example: ClassVar[str] = "deepscope activations cat.jpg --model vgg16 --layer features.0 --out maps/"

    image: Path
    _: KW_ONLY
    model: str = DEFAULT
    layer: str | None = None
    maps: Count = 64

    def run(self, session: Session) -> Result:
        """One forward pass, no further than the layer."""
        if self.maps < 1:
            raise InputError("--maps is at least 1")
        model = load_model(self.model, session)
        layer = self.layer or _first_convolution(model)
        pixels = model.read([self.image])
        with torch.inference_mode():
            output = model.activations(pixels, [layer])[layer][0].float().cpu()
        channels = channels_first(output)
        values = channels.flatten(1)
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
        names = (Column("channel", "d"), *(Column(name, ".4g") for name in statistics))
        return Result(
            title=f"{layer} of {model.name} on {self.image.name}",
            metrics={
                "channels": len(channels),
                "mean": float(values.mean()),
                "zero": float(statistics["zero"].mean()),
                "dead": int((statistics["maximum"] <= 0).sum()),
            },
            blocks=(
                ImageGrid(rows=((picture(pixels[0], caption=self.image.name),),), title="What the network sees"),
                _maps(channels, self.maps, layer, model.name),
                Table(
                    columns=names,
                    rows=rows,
                    title="Channels",
                    caption="Over positions; zero is the share of positions that are exactly 0.",
                ),
            ),
            arrays={"activations": output.numpy()},
            provenance=provenance([model], [self.image]),
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
    raise InputError(f"the layer's output has shape {tuple(output.shape)}, which is no map: choose another layer")


def _maps(channels: Tensor, most: int, layer: str, model: str) -> ImageGrid | Curves:
    if channels.ndim == 2:
        line = Series(layer, torch.arange(len(channels)).numpy(), channels[:, 0].numpy(), style="points")
        return Curves((line,), x_title="channel", y_title="activation", title=f"{layer} of {model}")
    shown = channels[:most]
    width = math.ceil(math.sqrt(len(shown)))
    cells: list[GridCell] = [Heatmap(values.numpy(), caption=str(index)) for index, values in enumerate(shown)]
    left_out = f", the first {len(shown)} of {len(channels)} channels" if len(shown) < len(channels) else ""
    return ImageGrid(
        rows=tuple(tuple(cells[start : start + width]) for start in range(0, len(cells), width)),
        title=f"Activation maps: {layer} of {model}",
        caption=f"Each map on its own scale, from its lowest to its highest value{left_out}.",
    )


def _first_convolution(model: VisionModel) -> str:
    for name, module in model.network.named_modules():
        if isinstance(module, nn.Conv2d):
            return name
    raise InputError(f"{model.name} has no convolution: name a layer with --layer")
