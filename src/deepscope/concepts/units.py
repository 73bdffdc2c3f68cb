"""The images and patches that excite each channel of a layer most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.errors import DataError, SettingError, UnsupportedError
from deepscope.images import Skipped
from deepscope.inputs import Images, Read, nothing_readable, read, require_size
from deepscope.models import VisionModel
from deepscope.models.capabilities import LAYERS, require
from deepscope.models.feature_map import require_layers
from deepscope.models.layouts import Layout, layout
from deepscope.render import Presented
from deepscope.session import Session

_PATCH = 64
"""Longer side of a kept patch, in pixels: what is kept does not grow with the number of images."""
_SHARE = 0.5
"""Of the largest activation: positions above it, connected with the largest, are the patch."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A channel of a layer, and the images that excite it most.

    Attributes:
        channel: its number.
        activations: the largest activation in each of these images, in descending order.
        images: the images' rows among those given.
        paths: their files, or names.
        boxes: left, top, right, bottom of the patch in pixels of the network's input.
        patches: (3, h, w) uint8.
        mean: of the largest activation of an image, over all images.
        active: share of the images in which the channel is above 0 somewhere.
        visualization: an image that excites the channel, (3, H, W) in [0, 1]; None where none was made.
    """

    channel: int
    activations: tuple[float, ...]
    images: tuple[int, ...]
    paths: tuple[Path, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    patches: tuple[Tensor, ...]
    mean: float
    active: float
    visualization: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Units(Presented):
    """Channels of a layer, over a folder of images.

    Attributes:
        model: the network.
        layer: its name.
        units: one per channel, in order.
        count: images that were read.
        digests: of these images, by path.
        skipped: what could not be read.
    """

    model: VisionModel
    layer: str
    units: tuple[Unit, ...]
    count: int
    digests: Mapping[Path, bytes]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.units)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per channel and image that it is shown with."""
        rows = [(unit, place) for unit in self.units for place in range(len(unit.images))]
        return {
            "channel": [unit.channel for unit, _ in rows],
            "rank": [place + 1 for _, place in rows],
            "activation": [unit.activations[place] for unit, place in rows],
            "image": [str(unit.paths[place]) for unit, place in rows],
            "box": [unit.boxes[place] for unit, place in rows],
            "mean": [unit.mean for unit, _ in rows],
            "active": [unit.active for unit, _ in rows],
        }

    def beside(self, channels: Sequence[int], pixels: Tensor) -> Units:
        """The same with an image beside each of these channels, as `visualize` makes them.

        Args:
            channels: numbers of channels.
            pixels: (channels, 3, H, W) in [0, 1].

        Example:
            images = ds.visualize(model, ds.visualization.Layer("blocks.2.0", (3, 8)))
            found.beside((3, 8), images.pixels).save("units/")
        """
        made = dict(zip(channels, pixels, strict=True))
        return replace(
            self,
            units=tuple(replace(unit, visualization=made.get(unit.channel, unit.visualization)) for unit in self.units),
        )


def units(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    layer: str,
    *,
    channels: Sequence[int] | None = None,
    top: int = 6,
    limit: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Units:
    """The images that excite each channel of a layer most, with the patch that does.

    Images are read once, batch by batch; only the top images' patches are kept. A channel's value for an image is its
    largest activation. The patch is the box around the positions that are connected with it and have at least half of
    it; where the layer has no grid of positions, it is the whole image.

    Args:
        model: a network with visible layers, with or without a class layer.
        images: see `Images`.
        layer: its name, as `model.layers` lists them.
        channels: numbers of channels; by default all.
        top: images per channel.
        limit: most images to read, drawn at random; by default all.
        batch_size: images per forward pass.
        seed: of the draw.
        session: device and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or the layer has no such channel.
        UnsupportedError: the model shows no layers, or this one does not give one tensor per image.
        UnknownNameError: no layer has that name.
        DataError: no image could be read.
    """
    for name, value in (("top", top), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise SettingError(name, "must be a whole number, and at least 1", got=value)
    require(model, "units", LAYERS)
    require_layers(model)
    model.layer(layer)
    session = Session.of(session, device=model.device, seed=seed)
    leaders: _Leaders | None = None
    skipped: list[Skipped] = []
    size: torch.Size | None = None
    for batch in read(model, images, session, batch_size=batch_size, limit=limit, text="units"):
        skipped += batch.skipped
        if not batch.rows:
            continue
        size = size or batch.pixels.shape[-2:]
        require_size(batch.paths[0], batch.pixels, size)
        maps = _maps(model, layer, batch.pixels)
        if leaders is None:
            leaders = _Leaders(_channels(channels, maps.shape[1], layer), top)
        leaders.add(maps, batch, model)
    if leaders is None:
        raise DataError(nothing_readable(skipped))
    return Units(model, layer, leaders.units(), leaders.count, leaders.digests, tuple(skipped))


def _maps(model: VisionModel, layer: str, pixels: Tensor) -> Tensor:
    """(N, C, h, w) activations; h and w are 1 where positions form no grid, and the largest of them is taken."""
    given = pixels.to(model.device)
    with torch.inference_mode():
        output = model.activations(given, [layer])[layer]
    known: Layout | None = layout(model, layer, given)
    if known is None or not output.ndim or len(output) != len(pixels):
        raise UnsupportedError(f"layer {layer!r} of {model.name} does not give one output per image", what=layer)
    maps = known.maps(output)
    if maps is None:
        maps = known.positions(output).amax(2)[:, :, None, None]
    return maps.float().cpu()


def _channels(given: Sequence[int] | None, count: int, layer: str) -> list[int]:
    if given is None:
        return list(range(count))
    for channel in given:
        if not isinstance(channel, int) or not 0 <= channel < count:
            raise SettingError("channels", f"must be from 0 to {count - 1}, as {layer} has {count}", got=channel)
    return list(dict.fromkeys(given))


@dataclass
class _Leader:
    """An image among the top ones of a channel."""

    value: float
    row: int
    path: Path
    box: tuple[int, int, int, int]
    patch: Tensor


@dataclass
class _Leaders:
    """The top images of each channel so far.

    Attributes:
        channels: their numbers.
        top: images per channel.
    """

    channels: list[int]
    top: int
    count: int = 0
    digests: dict[Path, bytes] = field(default_factory=dict)
    _of: dict[int, list[_Leader]] = field(default_factory=dict)
    _total: Tensor = field(default_factory=lambda: torch.zeros(0))
    _active: Tensor = field(default_factory=lambda: torch.zeros(0))

    def add(self, maps: Tensor, batch: Read, model: VisionModel) -> None:
        """Take up the images of a batch that belong to the top ones; of equal ones the first."""
        largest = maps[:, self.channels].amax((2, 3)).double()  # (n, channels)
        self._total = largest.sum(0) + (self._total if self.count else 0)
        self._active = (largest > 0).sum(0) + (self._active if self.count else 0)
        self.count += len(batch.rows)
        self.digests.update(zip(batch.paths, batch.digests))
        best = largest.topk(min(self.top, len(largest)), dim=0).indices.sort(0).values
        shown = model.displayed(batch.pixels)
        for place, channel in enumerate(self.channels):
            held = self._of.setdefault(channel, [])
            for image in best[:, place].tolist():
                value = float(largest[image, place])
                if len(held) == self.top and value <= held[-1].value:
                    continue
                box = patch_box(maps[image, channel].numpy(), batch.pixels.shape[-2:])
                patch = _small(shown[image], box)
                held.append(_Leader(value, batch.rows[image], batch.paths[image], box, patch))
                held.sort(key=lambda one: -one.value)
                del held[self.top :]

    def units(self) -> tuple[Unit, ...]:
        """What was found."""
        mean, active = (self._total / self.count).tolist(), (self._active / self.count).tolist()
        return tuple(
            Unit(
                channel,
                tuple(one.value for one in held),
                tuple(one.row for one in held),
                tuple(one.path for one in held),
                tuple(one.box for one in held),
                tuple(one.patch for one in held),
                mean[place],
                active[place],
            )
            for place, (channel, held) in enumerate(self._of.items())
        )


def patch_box(values: NDArray[np.float32], size: Sequence[int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the positions around the largest value, in pixels of an image of `size`.

    Positions belong to it where they are connected with the largest value, and have at least half of its height above
    the lowest value, or above 0 where no value is negative.

    Args:
        values: (h, w) of a channel.
        size: height and width of the image.
    """
    from scipy import ndimage

    floor = min(0.0, float(values.min()))
    peak = np.unravel_index(int(values.argmax()), values.shape)
    label: Any = ndimage.label
    regions = label(values - floor >= _SHARE * (values[peak] - floor))[0]
    rows, columns = np.nonzero(regions == regions[peak])
    down, right = (whole / count for whole, count in zip(size, values.shape))
    return (
        int(columns.min() * right),
        int(rows.min() * down),
        int(np.ceil((columns.max() + 1) * right)),
        int(np.ceil((rows.max() + 1) * down)),
    )


def _small(pixels: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """(3, h, w) uint8: the patch, made small."""
    left, top, right, bottom = box
    patch = pixels[:, top:bottom, left:right]
    scale = _PATCH / max(patch.shape[-2:])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in patch.shape[-2:]]
        patch = functional.interpolate(patch[None], size, mode="bilinear", antialias=True)[0]
    return (patch.clamp(0, 1) * 255).round().byte()
