"""What changes in a layer's output when a small window of its input changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

_WHOLE = 0.75
"""The share of a layer's output above which computing the whole output is as fast."""


@dataclass(frozen=True)
class Window:
    """The part of a layer's output that changed; the rest is unchanged.

    Attributes:
        inner: (n, C, h, w) the window.
        start: (n, 2) its upper left corner.
        unchanged: (K, H, W, C) the layer's outputs for the unchanged images.
        rows: (n,) which of these images each window belongs to.
    """

    inner: Tensor
    start: Tensor
    unchanged: Tensor
    rows: Tensor

    @property
    def sides(self) -> torch.Size:
        """Height and width of the whole map."""
        return self.unchanged.shape[1:3]

    def crop(self, start: Tensor, size: tuple[int, ...], outside: float = 0.0) -> Tensor:
        """(n, C, *size) from the corner (n, 2) on; beyond the map it is filled with `outside`."""
        if size == tuple(self.inner.shape[2:]) and torch.equal(start, self.start):
            return self.inner
        values = self.inner.new_full((len(start), *size, self.inner.shape[1]), outside)
        inner = self.inner.permute(0, 2, 3, 1)
        for row, (image, corner, offset) in enumerate(
            zip(self.rows.tolist(), start.tolist(), (start - self.start).tolist(), strict=True)
        ):  # copies of slices take a fraction of the time of indexing all rows at once
            _paste(values[row], self.unchanged[image], corner)
            _paste(values[row], inner[row], offset)
        return values.permute(0, 3, 1, 2)

    def whole(self) -> Tensor:
        """(n, C, H, W)."""
        return self.crop(torch.zeros_like(self.start), tuple(self.sides))


def _paste(canvas: Tensor, source: Tensor, corner: list[int]) -> None:
    """Copy a map (H, W, C), from its place `corner` on, to the upper left of a canvas, as far as both reach."""
    (top, bottom), (left, right) = (
        (max(0, -first), min(length, whole - first)) for first, length, whole in zip(corner, canvas.shape, source.shape)
    )
    if top < bottom and left < right:
        down, across = corner
        canvas[top:bottom, left:right] = source[top + down : bottom + down, left + across : right + across]


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Slide:
    """A kernel that slides over the map: its reach, stride and leading padding, for height and width."""

    reach: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    outside: float
    run: Callable[[Tensor], Tensor]

    def __call__(self, window: Window, unchanged: Tensor) -> Window | None:
        """The window that changes in the output; None where that is most of the output."""
        if self.reach == self.stride == (1, 1):
            return replace(window, inner=self.run(window.inner), unchanged=unchanged)
        start, size, part = [], [], 1.0
        for dim, (reach, stride, before) in enumerate(zip(self.reach, self.stride, self.before)):
            length = unchanged.shape[1 + dim]
            size.append((window.inner.shape[2 + dim] + reach - 2) // stride + 1)
            part *= size[-1] / length
            first = -((reach - 1 - before - window.start[:, dim]).div(stride, rounding_mode="floor"))
            start.append(first.clamp(0, max(0, length - size[-1])))
        if part > _WHOLE:
            return None
        steps, padding = (torch.tensor(values, device=window.start.device) for values in (self.stride, self.before))
        starts = torch.stack(start, 1)
        needed = tuple((n - 1) * stride + reach for n, stride, reach in zip(size, self.stride, self.reach))
        inner = self.run(window.crop(starts * steps - padding, needed, self.outside))
        return Window(inner, starts, unchanged, window.rows)


def slide(module: nn.Module, given: torch.Size, gives: torch.Size) -> Slide | None:
    """How a convolution or pooling slides over a map; None for other modules."""
    from timm.layers.conv2d_same import Conv2dSame

    if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, Conv2dSame) and module.padding_mode == "zeros":
        reach = tuple(d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size))
        before = module.padding
        if isinstance(module, Conv2dSame) or isinstance(before, str):  # the padding follows from the output's size
            gaps = ((n - 1) * s + r - m for n, s, r, m in zip(gives, module.stride, reach, given))
            before = tuple(max(0, gap) // 2 for gap in gaps)

        def convolve(crop: Tensor) -> Tensor:
            return functional.conv2d(crop, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)

        return Slide(reach, module.stride, before, 0.0, convolve)
    if type(module) is nn.MaxPool2d and not module.return_indices and module.dilation in (1, (1, 1)):
        reach, stride, before = (_pair(part) for part in (module.kernel_size, module.stride, module.padding))
        return Slide(
            reach, stride, before, -torch.inf, lambda crop: functional.max_pool2d(crop, list(reach), list(stride))
        )
    return None


def mean(window: Window, unchanged: Tensor) -> Tensor | None:
    """(n, C, 1, 1) the mean over the whole map: that of the unchanged image, and what the window adds to it.

    None where the window does not lie inside the map.

    Args:
        window: of the map.
        unchanged: (K, 1, 1, C) means of the unchanged images.
    """
    height, width = window.inner.shape[2:]
    if height > window.sides[0] or width > window.sides[1]:
        return None
    places = zip(window.rows.tolist(), window.start.tolist(), strict=True)
    before = [
        window.unchanged[image, top : top + height, left : left + width].sum((0, 1)) for image, (top, left) in places
    ]
    added = (window.inner.sum((2, 3)) - torch.stack(before)) / window.sides.numel()
    return (unchanged[window.rows, 0, 0] + added)[:, :, None, None]


def aligned(windows: list[Window]) -> list[Window]:
    """The same windows, grown to the smallest window that covers them all."""
    start = torch.stack([window.start for window in windows]).amin(0)
    ends = [window.start + torch.tensor(window.inner.shape[2:], device=start.device) for window in windows]
    size = (torch.stack(ends).amax(0) - start).amax(0)
    start = start.minimum(torch.tensor(windows[0].sides, device=start.device) - size)
    shape = tuple(size.tolist())
    return [replace(window, inner=window.crop(start, shape), start=start) for window in windows]
