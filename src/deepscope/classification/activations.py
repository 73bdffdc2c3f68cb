"""Activations: the output of a network's layers for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.errors import DataError, UnsupportedError
from deepscope.images import Skipped
from deepscope.inputs import Images, nothing_readable, read, require_size
from deepscope.models import VisionModel
from deepscope.models.capabilities import LAYERS, require
from deepscope.models.layouts import layout
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Activations(Presented):
    """The output of layers for N images.

    Attributes:
        model: the network.
        outputs: layer -> (N, ...) its outputs, float32, on the CPU.
        paths: the images' files, or names.
        pixels: (N, 3, H, W) in [0, 1], as the model sees them.
        digests: SHA-256 of each file or image.
        skipped: what could not be read.
    """

    model: VisionModel
    outputs: Mapping[str, Tensor]
    paths: tuple[Path, ...]
    pixels: Tensor
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, layer: str) -> Tensor:
        """(N, ...) outputs of a layer."""
        return self.outputs[layer]

    def maps(self, layer: str) -> Tensor:
        """(N, C, h, w) maps of a layer without prefix tokens; (N, C, positions) where its positions form no grid.

        A layer without positions, such as the last one, gives (N, C, 1).

        Raises:
            UnsupportedError: the output has a shape that holds no map.
        """
        found, output = layout(self.model, layer, self.pixels), self.outputs[layer]
        if found is None:
            raise UnsupportedError(
                f"the output of layer {layer!r} has shape {tuple(output.shape[1:])}, which is no map: choose another",
                what="layer",
            )
        maps = found.maps(output)
        return found.positions(output) if maps is None else maps

    def statistics(self, layer: str) -> dict[str, Tensor]:
        """(C,) mean, std, minimum, maximum and share of zeros of each channel, over images and positions."""
        values = self.maps(layer).transpose(0, 1).flatten(1)
        return {
            "mean": values.mean(1),
            "std": values.std(1, correction=0),
            "minimum": values.amin(1),
            "maximum": values.amax(1),
            "zero": (values == 0).float().mean(1),
        }

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per layer and channel: statistics over images and positions."""
        found: dict[str, list[Any]] = {"layer": [], "channel": []}
        for layer in self.outputs:
            for name, values in self.statistics(layer).items():
                found.setdefault(name, []).extend(values.tolist())
            count = len(found["mean"]) - len(found["layer"])
            found["layer"] += [layer] * count
            found["channel"] += range(count)
        return found


def activations(
    model: VisionModel,
    images: Images,
    layers: str | Sequence[str] | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Activations:
    """The output of a network's layers for images, in one pass that stops after the last of them.

    Args:
        model: a network, with or without a class layer.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        layers: names of layers, as `model.layers` lists them; the first convolution by default.
        limit: images to use, at most, drawn at random.
        batch_size: images per forward pass.
        seed: of the draw.
        session: device and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        UnknownNameError: no layer has that name.
        UnsupportedError: no layer is named and the network shows no convolution, the model is a black box, or a layer
            does not return one tensor per image.
        DataError: no image could be read.

    Example:
        >>> import deepscope as ds
        >>> photo = ds.data.photographs.bundled("chelsea.png")
        >>> found = ds.activations(ds.load_model("efficientnet_lite0"), photo, "conv_stem")
        >>> found["conv_stem"].shape
        torch.Size([1, 32, 112, 112])
    """
    require(model, "activations", LAYERS)
    names = _layers(model, layers)
    session = Session.of(session, device=model.device, seed=seed)
    paths: list[Path] = []
    digests: list[bytes] = []
    skipped: list[Skipped] = []
    pixels: list[Tensor] = []
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in read(model, images, session, batch_size=batch_size, limit=limit, text="activations"):
        skipped += batch.skipped
        if not batch.rows:
            continue
        pixels.append(batch.pixels)
        require_size(batch.paths[0], batch.pixels, pixels[0].shape[-2:])
        with torch.inference_mode():
            found = model.activations(batch.pixels.to(model.device), names)
        for name, output in found.items():
            if not output.ndim or len(output) != len(batch.rows):
                raise UnsupportedError(
                    f"layer {name!r} of {model.name} gives a tensor of shape {tuple(output.shape)} for "
                    f"{len(batch.rows)} images, not one output per image: choose another layer",
                    what=name,
                )
            outputs[name].append(output.float().cpu())
        paths += batch.paths
        digests += batch.digests
    if not paths:
        raise DataError(nothing_readable(skipped))
    whole = {name: torch.cat(parts) for name, parts in outputs.items()}
    return Activations(model, whole, tuple(paths), torch.cat(pixels), tuple(digests), tuple(skipped))


def _layers(model: VisionModel, layers: str | Sequence[str] | None) -> list[str]:
    """The names of layers that exist, none twice."""
    if isinstance(layers, str):
        layers = [layers]
    names = list(dict.fromkeys(layers or [_first_convolution(model)]))
    for name in names:
        model.layer(name)
    return names


def _first_convolution(model: VisionModel) -> str:
    for name, module in model.network.named_modules():
        weight = getattr(module, "weight", None)  # an exported program keeps the weights of its layers, not their types
        if isinstance(module, nn.Conv2d) or (isinstance(weight, Tensor) and weight.ndim == 4):
            return name
    raise UnsupportedError(f"{model.name} shows no convolution: name a layer", what="activations")
