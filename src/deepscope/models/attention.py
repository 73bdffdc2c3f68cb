"""The attention matrices of a network whose tokens all attend to one another, read in an ordinary forward pass.

Fused attention has no matrix, so it is computed explicitly while the pass runs: PyTorch's own functions are
intercepted, and the network, its layers and its settings stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from deepscope.errors import UnsupportedError
from deepscope.models.layouts import CONVOLUTIONS, layouts
from deepscope.models.vision_model import VisionModel

_PRODUCTS = {"matmul", "__matmul__", "bmm", "einsum"}
_UNCHANGED = {"to", "type_as", "float", "double", "dropout", "contiguous"}
"""Functions between the softmax and the values that leave a matrix as it is outside training."""


@dataclass(frozen=True)
class Attended:
    """What the attention of a network is over.

    Attributes:
        grid: height and width of the patches.
        prefix: tokens before those of the patches: class token, distillation token, registers.
        read: the queries of the last attention that the class scores depend on: the class token, or every patch.
    """

    grid: tuple[int, int]
    prefix: int
    read: tuple[int, ...]


_known: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Attended | str]] = WeakKeyDictionary()


def attended(model: VisionModel, pixels: Tensor) -> Attended:
    """What the attention of a network is over, for images (N, 3, H, W) of this size.

    Found once per network and size, in a forward and a backward pass over the first image.

    Raises:
        UnsupportedError: the network does not consist of attention between all tokens; the message says why.
    """
    sizes = _known.setdefault(model.network, {})
    size = tuple(pixels.shape[1:])
    if size not in sizes:
        sizes[size] = _search(model, pixels[:1])
    found = sizes[size]
    if isinstance(found, str):
        raise UnsupportedError(
            f"{model.name} {found}, and the method follows attention between all tokens: choose a method that "
            "does not, such as saliency or integrated-gradients",
            what="attention",
        )
    return found


def matrices(model: VisionModel, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """The attention matrices of images (N, 3, H, W) and their logits, in one forward pass.

    Returns:
        (N, heads, queries, tokens) matrices in the order of the blocks, parts of the graph of the (N, classes) logits.
    """
    reading, logits = _read(model, pixels)
    return [by_image(matrix, len(pixels)) for matrix in reading.matrices], logits


def matrices_with_gradients(model: VisionModel, pixels: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The attention matrices, and the gradient of each image's target logit with respect to them.

    One forward and one backward pass, which ends at the first attention.

    Returns:
        pairs of (N, heads, queries, tokens), in the order of the blocks.
    """
    return _with_gradients(model, pixels, lambda logits: model.objective(logits, target))


def _with_gradients(
    model: VisionModel, pixels: Tensor, score: Callable[[Tensor], Tensor]
) -> list[tuple[Tensor, Tensor]]:
    with torch.enable_grad():
        reading, logits = _read(model, pixels.detach().requires_grad_())
        made = [matrix for matrix in reading.matrices if matrix.requires_grad]
        if not (made and logits.requires_grad):
            return []
        gradients = torch.autograd.grad(score(logits).sum(), made, allow_unused=True, materialize_grads=True)
    return [(by_image(one.detach(), len(pixels)), by_image(other, len(pixels))) for one, other in zip(made, gradients)]


def _read(model: VisionModel, pixels: Tensor) -> tuple[AttentionReading, Tensor]:
    reading = AttentionReading()
    # the network runs several times where it is first seen whether it returns logits
    handle = model.network.register_forward_pre_hook(lambda *_: reading.restart())
    try:
        with reading:
            return reading, model(pixels)
    finally:
        handle.remove()


def by_image(matrix: Tensor, images: int) -> Tensor:
    """Matrices of every image and head as (N, heads, queries, tokens)."""
    return matrix.unflatten(0, (images, -1)) if matrix.ndim == 3 else matrix


class AttentionReading(TorchFunctionMode):
    """Keeps the attention matrices of the pass that runs inside it.

    Attributes:
        matrices: as the values are multiplied by them, (N, heads, queries, tokens) or (N * heads, queries, tokens).
        convolved: whether positions were mixed by a convolution after an attention.
        unread: softmaxes over several rows whose output was not a matrix that values are multiplied by.
    """

    def __init__(self) -> None:
        super().__init__()
        self.restart()

    def restart(self) -> None:
        """Forget an earlier pass."""
        self.matrices: list[Tensor] = []
        self.convolved = False
        self.unread = 0
        self._normalised = WeakTensorKeyDictionary()  # outputs of a softmax over the last axis

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, settings = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "scaled_dot_product_attention":
            weights, values = explicit_attention(*args, **settings)
            self.matrices.append(weights)
            return weights @ values
        if name == "multi_head_attention_forward":
            return self._multi_head(func, args, settings)
        if name in _PRODUCTS:
            self._multiplied(args)
        output = func(*args, **settings)
        if name == "softmax" and output.ndim > 2:
            self.unread += 1
            if settings.get("dim", args[1] if len(args) > 1 else None) in (-1, output.ndim - 1):
                self._normalised[output] = None
        elif name in _UNCHANGED and args and args[0] in self._normalised:
            self._normalised[output] = None
        elif name in CONVOLUTIONS and self.matrices:
            kernel = settings.get("weight", args[1] if len(args) > 1 else None)
            self.convolved |= isinstance(kernel, Tensor) and kernel.shape[2:].numel() > 1
        return output

    def _multi_head(self, func: Callable[..., Any], args: Sequence[Any], settings: dict[str, Any]) -> Any:
        """PyTorch's own attention with its weights per head; the matrix in the graph is what these are a view of."""
        wanted, mean = settings.get("need_weights", True), settings.get("average_attn_weights", True)
        output, weights = func(*args, **{**settings, "need_weights": True, "average_attn_weights": False})
        self.matrices.append(weights if weights._base is None else weights._base)
        return output, (weights.mean(-3) if mean else weights) if wanted else None

    def _multiplied(self, args: Sequence[Any]) -> None:
        first = next((factor for factor in args if isinstance(factor, Tensor)), None)
        if first is not None and first in self._normalised:
            self.unread -= 1
            self.matrices.append(first)


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """The matrix and the values whose product `scaled_dot_product_attention` of these arguments returns."""
    if enable_gqa:
        key, value = (one.repeat_interleave(query.shape[-3] // one.shape[-3], -3) for one in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return F.dropout(scores.softmax(-1), dropout_p), value


def _search(model: VisionModel, pixels: Tensor) -> Attended | str:
    """What the attention is over, or why it is not over all tokens, in words."""
    with torch.no_grad():
        reading, _ = _read(model, pixels)
    made = reading.matrices
    if not made:
        return "has no attention that can be read" if reading.unread else "has no attention"
    if reading.unread:
        return "computes a part of its attention in a form that cannot be read"
    tokens = made[0].shape[-1]
    if any(not _over(matrix, tokens) for matrix in made) or made[0].shape[-2] != tokens:
        return "attends within windows, over channels or at several resolutions"
    if any(matrix.shape[-2] != tokens for matrix in made[:-1]):
        return "has cross-attention between its blocks"
    if reading.convolved:
        return "mixes positions by convolutions too"
    places = [(one.grid, one.prefix) for one in layouts(model, pixels).of.values() if one.grid]
    fitting = [(grid, prefix) for grid, prefix in places if grid[0] * grid[1] + prefix == tokens]
    if not fitting:
        return "has tokens that form no grid"
    pairs = _with_gradients(model, pixels, lambda logits: model.objective(logits, logits.argmax(1)))
    touched = (pairs[-1][1] != 0).any(3).any(1)[0] if len(pairs) == len(made) else torch.zeros(1)
    if not touched.any():
        return "has class scores that do not depend on its last attention"
    return Attended(*fitting[0], tuple(touched.nonzero()[:, 0].tolist()))


def _over(matrix: Tensor, tokens: int) -> bool:
    """Whether a matrix of one image has that many columns; an image's windows count as images of their own."""
    return matrix.shape[-1] == tokens and (matrix.ndim == 3 or (matrix.ndim == 4 and len(matrix) == 1))
