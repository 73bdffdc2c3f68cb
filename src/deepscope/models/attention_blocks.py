"""The blocks of a network whose tokens all attend to one another, and what the class scores would be after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deepscope.errors import UnsupportedError
from deepscope.models.attention import AttentionReading, attended, by_image
from deepscope.models.vision_model import VisionModel

_known: WeakKeyDictionary[nn.Module, tuple[nn.Module, ...] | str] = WeakKeyDictionary()


def gradients_after_blocks(model: VisionModel, pixels: Tensor, target: Tensor) -> list[Tensor]:
    """The gradient of a class score with respect to attention, block by block, where the network ends after the block.

    What follows the last block (norm, pooling, class layer) is applied to the output of every block. The score that
    this gives is differentiated with respect to the attention of that block; where the network pools by attention,
    with respect to the attention of the pooling. All blocks share one forward and one backward pass.

    Args:
        pixels: (N, 3, H, W).
        target: (N,) class indices.

    Returns:
        (N, heads, queries, tokens) gradients, in the order of the blocks.

    Raises:
        UnsupportedError: the network does not consist of a sequence of blocks with attention between all tokens.
    """
    attended(model, pixels)
    parts, images = _blocks(model, pixels), len(pixels)
    with torch.enable_grad():
        ends = _Ends(parts, images)
        reading = AttentionReading()
        try:
            with reading:
                rows = model.normalise(pixels.detach()).repeat(len(parts), 1, 1, 1)
                logits = model.read_out(model.outputs(_FirstRows(model.network, images), rows))
        finally:
            ends.remove()
        score = model.objective(logits, target.repeat(len(parts))).sum()
        pooled = len(reading.matrices) > len(parts)  # one matrix over the outputs of all blocks
        wanted = reading.matrices[-1:] if pooled else reading.matrices
        gradients = torch.autograd.grad(score, wanted, allow_unused=True, materialize_grads=True)
    if pooled:
        return list(by_image(gradients[0], len(parts) * images).chunk(len(parts)))
    return [by_image(one, images) for one in gradients]


class _FirstRows(nn.Module):
    """Runs a network on the first rows of its input; `_Ends` makes as many outputs as the input has rows."""

    def __init__(self, network: nn.Module, images: int) -> None:
        super().__init__()
        self._run, self._images = [network], images  # in a list: the network is not a child, and keeps its mode

    def forward(self, inputs: Tensor) -> Any:
        """What the network returns."""
        return self._run[0](inputs[: self._images])


class _Ends:
    """Hooks that cut the graph before each block, and pass the outputs of all blocks on after the last one.

    The score after a block then depends on its own attention alone.
    """

    def __init__(self, parts: Sequence[nn.Module], images: int) -> None:
        self._outputs: list[Tensor] = []
        self._images = images
        self._handles = [part.register_forward_pre_hook(self._cut) for part in parts]
        self._handles += [part.register_forward_hook(self._keep) for part in parts]
        self._handles.append(parts[-1].register_forward_hook(self._pass_on))

    def remove(self) -> None:
        """Leave the network as it was."""
        for handle in self._handles:
            handle.remove()

    def _cut(self, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return inputs[0].detach().requires_grad_(), *inputs[1:]

    def _keep(self, block: nn.Module, inputs: Any, output: Any) -> None:
        self._outputs.append(_tokens(output))

    def _pass_on(self, block: nn.Module, inputs: Any, output: Any) -> Any:
        every = torch.cat(self._outputs)
        return every if isinstance(output, Tensor) else (every, *output[1:])


def _blocks(model: VisionModel, pixels: Tensor) -> tuple[nn.Module, ...]:
    if model.network not in _known:
        _known[model.network] = _search(model, pixels[:1])
    found = _known[model.network]
    if isinstance(found, str):
        raise UnsupportedError(
            f"{model.name} {found}, and the method reads class scores after each block: choose a method that does "
            "not, such as saliency or integrated-gradients",
            what="attention",
        )
    return found


def _search(model: VisionModel, pixels: Tensor) -> tuple[nn.Module, ...] | str:
    """The largest modules that hold one attention each, or why these are no sequence of blocks, in words."""
    reading = AttentionReading()
    began: dict[nn.Module, int] = {}
    spans: dict[nn.Module, tuple[int, int]] = {}
    given: dict[nn.Module, Any] = {}
    made: dict[nn.Module, Any] = {}

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        began[module] = len(reading.matrices)
        given[module] = inputs[0] if inputs else None

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        spans[module] = began[module], len(reading.matrices)
        made[module] = _tokens(output)

    modules = list(model.network.modules())  # parents before their children
    handles = [module.register_forward_pre_hook(enter) for module in modules]
    handles += [module.register_forward_hook(leave) for module in modules]
    try:
        with torch.no_grad(), reading:
            model(pixels)
    finally:
        for handle in handles:
            handle.remove()
    tokens = reading.matrices[0].shape[-1]
    square = sum(matrix.shape[-2] == tokens for matrix in reading.matrices)
    inner = [module for module in modules[1:] if _of_shape(given.get(module), made.get(module), tokens)]
    parts = [next((one for one in inner if spans[one] == (at, at + 1)), None) for at in range(square)]
    if any(part is None for part in parts) or not _follow(parts, given, made):
        return "does not consist of blocks that follow one another"
    return tuple(part for part in parts if part is not None)


def _of_shape(given: Any, made: Any, tokens: int) -> bool:
    """Whether a module turns (1, tokens, channels) into the same shape."""
    return (
        isinstance(given, Tensor)
        and isinstance(made, Tensor)
        and given.shape == made.shape
        and given.shape[:2] == (1, tokens)
    )


def _follow(parts: Sequence[Any], given: Mapping[nn.Module, Any], made: Mapping[nn.Module, Any]) -> bool:
    """Whether each block takes what the one before it made."""
    return all(torch.equal(made[one], given[other]) for one, other in pairwise(parts))


def _tokens(output: Any) -> Any:
    """The tokens among what a block returns: it may return its attention as well."""
    return output[0] if isinstance(output, (tuple, list)) and output else output
