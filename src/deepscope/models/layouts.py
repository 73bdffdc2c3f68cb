"""What the axes of a layer's output mean: channels first, channels last, or tokens with or without prefix tokens.

The one place that decides it. A network runs once on one image; on the way, PyTorch's own functions say where the
channels are (a convolution's second axis, a permutation moves it, a linear layer's last axis) and how large the grid
of positions is that tokens come from. No shape is guessed where a function says what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from deepscope.errors import DeepscopeError
from deepscope.models.vision_model import VisionModel

_PREFIX = 16
"""The most tokens that may precede the patches where the network does not say how many there are."""
_ATTENTION = {"softmax", "scaled_dot_product_attention", "multi_head_attention_forward"}
_CONVOLUTIONS = {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}
_PER_VECTOR = {"linear", "layer_norm", "rms_norm"}
"""Functions of the last axis, which holds the channels unless something said otherwise."""
_RESHAPES = {"reshape", "view", "flatten", "unflatten", "reshape_as", "view_as"}
_SCRAMBLES = {"matmul", "__matmul__", "bmm", "einsum", "movedim", "moveaxis", "unfold", "fold", "__get__"}
"""Functions after which nothing is known of the axes."""


@dataclass(frozen=True)
class Layout:
    """The axes of one layer's output (N, ...).

    Attributes:
        channels: the axis of the channels, counted from 0, the batch.
        grid: height and width of the positions; None where the output has none, or they form no grid.
        prefix: tokens before those of the grid: class token, distillation token, registers.
    """

    channels: int
    grid: tuple[int, int] | None = None
    prefix: int = 0

    def maps(self, output: Tensor) -> Tensor | None:
        """The output (N, ...) as maps (N, C, h, w), without prefix tokens; None where its positions form no grid."""
        if self.grid is None:
            return None
        first = output.movedim(self.channels, 1)
        return first if output.ndim == 4 else first[:, :, self.prefix :].unflatten(2, self.grid)

    def positions(self, output: Tensor) -> Tensor:
        """The output (N, ...) as (N, C, positions): those of the grid where there is one, otherwise all of them."""
        maps = self.maps(output)
        first = output.movedim(self.channels, 1) if maps is None else maps
        return first.reshape(*first.shape[:2], -1)


@dataclass(frozen=True)
class Layouts:
    """The layouts of a network's layers for one size of input.

    Attributes:
        of: layer's name -> layout; without the layers whose output is not a tensor with one row per image.
        attention: names of the modules that mix tokens by attention.
    """

    of: Mapping[str, Layout]
    attention: frozenset[str]


_known: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Layouts]] = WeakKeyDictionary()


def layouts(model: VisionModel, pixels: Tensor) -> Layouts:
    """The layouts of all layers for images (N, 3, H, W) of this size; the network runs once per size.

    Args:
        pixels: the first image is used.
    """
    sizes = _known.setdefault(model.network, {})
    size = tuple(pixels.shape[1:])
    if size not in sizes:
        reading = Reading(model.network, 1)
        with suppress(DeepscopeError), torch.no_grad(), reading:
            model.network(model.normalise(pixels[:1].to(model.device)))  # without some weights, as far as it comes
        sizes[size] = reading.layouts()
    return sizes[size]


def layout(model: VisionModel, layer: str, pixels: Tensor) -> Layout | None:
    """The layout of one layer, by its own name or a publication's; None where its output is not one per image."""
    return layouts(model, pixels).of.get(model.aliases.get(layer, layer))


class Reading(TorchFunctionMode):
    """Reads the layouts of a network in the forward pass that runs inside it.

    Args:
        network: the network.
        images: how many images the pass is of.
    """

    def __init__(self, network: nn.Module, images: int) -> None:
        super().__init__()
        self._network, self._images = network, images
        self._names = {
            module: name
            for name, module in network.named_modules()
            if not isinstance(module, torch.jit.ScriptModule)  # which takes no hooks
        }
        self._axes = WeakTensorKeyDictionary()  # tensor -> axis of its channels
        self._grids: dict[tuple[int, int], None] = {}  # the latest last
        self._running: list[nn.Module] = []
        self._attention: set[nn.Module] = set()
        self._found: dict[str, Layout] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Reading:
        for module in self._names:
            self._handles += [
                module.register_forward_pre_hook(lambda module, _: self._running.append(module)),
                module.register_forward_hook(self._after, always_call=True),
            ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def layouts(self) -> Layouts:
        """What the pass has shown so far."""
        return Layouts(dict(self._found), frozenset(self._names[module] for module in self._attention))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _ATTENTION and isinstance(args[0], Tensor) and args[0].ndim > 2:
            self._note_attention()
        for made in _tensors([output]):
            axis = self._axis(name, args, kwargs or {}, made)
            if axis is not None and made not in self._axes:
                self._axes[made] = axis
        return output

    def _note_attention(self) -> None:
        """The innermost running module that is made of others: the one around a module that is a softmax alone."""
        whole = [module for module in self._running[1:] if next(module.children(), None) is not None]
        self._attention.update(whole[-1:])

    def _axis(self, name: str, args: Sequence[Any], settings: Mapping[str, Any], output: Tensor) -> int | None:
        """Where the channels are in what a function made."""
        if name in _CONVOLUTIONS:
            return 1
        given = args[0] if args and isinstance(args[0], Tensor) else None
        axis = None if given is None else self._axes.get(given)
        if name in _PER_VECTOR:
            return output.ndim - 1 if axis is None else axis
        if name == "permute" and axis is not None and given is not None:
            dims = settings.get("dims", args[1:])
            dims = dims[0] if dims and not isinstance(dims[0], int) else dims
            return [dim % given.ndim for dim in dims].index(axis)
        if name in ("transpose", "swapaxes", "swapdims") and axis is not None and given is not None:
            one, other = (dim % given.ndim for dim in (*args[1:], *settings.values()))
            return {one: other, other: one}.get(axis, axis)
        if name in _RESHAPES and given is not None:
            return _after_reshape(given, axis, output)
        if name in _SCRAMBLES:
            return None
        for tensor in _tensors((*args, *settings.values())):
            if tensor.ndim == output.ndim and tensor in self._axes:
                return self._axes[tensor]
        return None

    def _after(self, module: nn.Module, inputs: Any, output: Any) -> None:
        while self._running and self._running.pop() is not module:
            pass
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4) or len(output) != self._images:
            return
        axis = self._axes.get(output)
        if axis is None or not 0 < axis < output.ndim:
            axis = self._by_shape(output.shape)
        if output.ndim == 4:
            height, width = (length for place, length in enumerate(output.shape) if place not in (0, axis))
            found = Layout(axis, (height, width))
            self._grids.pop((height, width), None)
            self._grids[height, width] = None
        elif output.ndim == 3:
            found = self._tokens(module, axis, output.shape[3 - axis])
        else:
            found = Layout(1)
        self._found.setdefault(self._names[module], found)

    def _by_shape(self, shape: Sequence[int]) -> int:
        """For what no function told: scripted modules, and tokens that were made a grid."""
        if len(shape) < 4:
            return len(shape) - 1
        first, last = (tuple(part) in self._grids for part in (shape[2:], shape[1:3]))
        if first != last:
            return 1 if first else 3
        return 3 if shape[1] == shape[2] != shape[3] else 1

    def _tokens(self, module: nn.Module, axis: int, tokens: int) -> Layout:
        """Tokens on the latest grid that they fit."""
        declared = self._declared(module)
        for prefix in (0, *([declared] if declared else range(1, _PREFIX + 1) if declared is None else ())):
            for grid in reversed(self._grids):
                if grid[0] * grid[1] == tokens - prefix > prefix:
                    return Layout(axis, grid, prefix)
        side = int((tokens - (declared or 0)) ** 0.5)
        if not self._grids and side > 1:  # patches were cut without a convolution
            prefix = tokens - side**2
            if prefix == declared or (declared is None and prefix <= _PREFIX):
                return Layout(axis, (side, side), prefix)
        return Layout(axis)

    def _declared(self, module: nn.Module) -> int | None:
        """The prefix tokens that the nearest module around this one declares, as timm's do."""
        name = self._names[module]
        while True:
            count = getattr(self._network.get_submodule(name), "num_prefix_tokens", None)
            if isinstance(count, int):
                return count
            if not name:
                return None
            name = name.rpartition(".")[0]


def _after_reshape(given: Tensor, axis: int | None, output: Tensor) -> int | None:
    if axis == given.ndim - 1 and output.shape[-1] == given.shape[-1] and len(output) == len(given):
        return output.ndim - 1
    return 1 if axis == 1 and output.shape[:2] == given.shape[:2] else None


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
