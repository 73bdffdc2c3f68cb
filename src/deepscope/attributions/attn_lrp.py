"""AttnLRP: layer-wise relevance propagation through attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.engine import batches, target_logit
from deepscope.attributions.propagation import (
    ATTENTION,
    ELEMENTWISE,
    INVERTED,
    MATRIX_PRODUCTS,
    PRODUCTS,
    QUOTIENTS,
    Propagation,
    varies,
)
from deepscope.errors import UnsupportedError
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.feature_map import require_layers
from deepscope.models.vision_model import VisionModel

_STABILISER = 1e-10
"""Added to what is divided by."""


@dataclass(frozen=True)
class AttnLRP(Attribution):
    """Each channel's share of the class score, by relevance that is passed back through attention.

    Linear layers and sums pass relevance on in proportion to what their inputs contribute (epsilon rule), products
    of two activations halve it (uniform rule), activation functions and norms keep it (identity rule), and a softmax
    is replaced by its first-order expansion. What biases and softmaxes contribute belongs to no pixel, so that shares
    do not add up to the score. One forward and one backward pass; for networks with attention of any kind.

    Achtibat et al. 2024, "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers".

    Example:
        >>> import torch
        >>> import deepscope as ds
        >>> from timm.models import VisionTransformer
        >>> network = VisionTransformer(64, 16, num_classes=2, embed_dim=24, depth=2, num_heads=2)
        >>> model = ds.wrap(network, ["cat", "dog"], preprocessing=ds.models.Preprocessing(64, 64))
        >>> AttnLRP()(model, torch.rand(1, 3, 64, 64), torch.tensor([0])).shape
        torch.Size([1, 3, 64, 64])
    """

    needs: ClassVar[Needs] = GRADIENTS | LAYERS
    signed: ClassVar[bool] = True
    of_transformers: ClassVar[bool] = True
    example_flags: ClassVar[str] = "--model torchvision:vit_b_16"

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, 3, H, W) shares of the target logit.

        Raises:
            UnsupportedError: the network has no attention, or is TorchScript.
        """
        require_layers(model)
        mean = torch.tensor(model.preprocessing.mean, dtype=pixels.dtype, device=pixels.device).view(-1, 1, 1)
        shares = torch.empty_like(pixels)
        for rows, gradient in batches(
            len(pixels), pixels.device, lambda rows: _gradient(model, pixels[rows], target[rows])
        ):
            shares[rows] = gradient * (pixels[rows] - mean)  # relevance of the normalised input
        return shares


def _gradient(model: VisionModel, pixels: Tensor, target: Tensor) -> Tensor:
    leaf = pixels.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        with _Relevance() as rules:
            logit = target_logit(model, leaf, target)
        if not rules.attended:
            raise UnsupportedError(
                f"{model.name} has no attention, and the method is made for it: choose a method for any network, such "
                "as saliency or integrated-gradients",
                what="attention",
            )
        return torch.autograd.grad(logit.sum(), leaf)[0]


class _Relevance(Propagation):
    """Inside it, gradients times inputs are relevance.

    Attributes:
        attended: whether the pass met attention.
    """

    ruled = (
        ELEMENTWISE
        | PRODUCTS
        | QUOTIENTS
        | INVERTED
        | MATRIX_PRODUCTS
        | ATTENTION
        | {"softmax", "layer_norm", "rms_norm", "group_norm", "normalize"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.attended = False

    def propagate(self, name: str, func: Callable[..., Any], first: Any, rest: Sequence[Any], keywords: Any) -> Any:
        """The rules of the paper, as factors of the gradient."""
        if name in ATTENTION:
            self.attended = True
            return _attention(func, first, rest, keywords)
        if name == "softmax":  # the gradient is its first-order expansion
            self.attended |= first.ndim > 2
            return func(first, *rest, **keywords)
        if name == "rsqrt":  # of a norm that is written out
            return func(first.detach(), *rest, **keywords)
        if name in ELEMENTWISE:
            return _identity(func, first, *rest, **keywords)
        if name in INVERTED:
            return _shared(torch.mul, _identity(torch.reciprocal, first), rest[0])
        if name in QUOTIENTS and varies(rest[0]):
            if not varies(first):
                return _shared(torch.mul, _identity(torch.reciprocal, rest[0]), first)
            return func(first, rest[0].detach(), *rest[1:], **keywords)
        if name in QUOTIENTS:
            return func(first, *rest, **keywords)
        if name in PRODUCTS or name in MATRIX_PRODUCTS:
            return _shared(func, first, *rest, **keywords)
        return _NORMS[name](first, *rest, **keywords)


def _attention(func: Callable[..., Any], query: Tensor, rest: Sequence[Any], keywords: Any) -> Any:
    """The product with the values halves relevance, and that of queries and keys does again.

    Their gradients are scaled, so that PyTorch computes the attention itself, by its fast kernels.
    """
    rest = list(rest)
    key, value = (rest.pop(0) if rest else keywords.pop(name) for name in ("key", "value"))
    inner = 0.5 if varies(query) and varies(key) else 1.0
    outer = 0.5 if varies(value) and (varies(query) or varies(key)) else 1.0
    query, key, value = _scaled(query, inner * outer), _scaled(key, inner * outer), _scaled(value, outer)
    return func(query, key, value, *rest, **keywords)


def _shared(func: Callable[..., Any], *operands: Any, **settings: Any) -> Any:
    """A product of several activations, which share relevance evenly."""
    factors = sum(varies(one) for one in operands)
    return _scaled(func(*operands, **settings), 1 / max(1, factors))


def _scaled(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied by a factor."""
    if factor == 1 or not varies(x):
        return x
    seen = x.view_as(x)
    seen.register_hook(lambda gradient: gradient * factor)
    return seen


def _layer_norm(x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Centred, which is linear, and over a constant."""
    over = tuple(range(-len(shape), 0))
    centred = x - x.mean(over, keepdim=True)
    return _affine(centred * (x.detach().var(over, unbiased=False, keepdim=True) + eps).rsqrt(), weight, bias)


def _rms_norm(x: Tensor, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Tensor:
    over = tuple(range(-len(shape), 0))
    energy = x.detach().square().mean(over, keepdim=True)
    return _affine(x * (energy + (torch.finfo(x.dtype).eps if eps is None else eps)).rsqrt(), weight, None)


def _group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    grouped = x.unflatten(1, (groups, -1))
    normed = _layer_norm(grouped, grouped.shape[2:], eps=eps).view_as(x)
    weight, bias = (None if one is None else one.view(-1, *[1] * (x.ndim - 2)) for one in (weight, bias))
    return _affine(normed, weight, bias)


def _normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **_: Any) -> Tensor:
    return x / x.detach().norm(p, dim, keepdim=True).clamp_min(eps)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


_NORMS = {"layer_norm": _layer_norm, "rms_norm": _rms_norm, "group_norm": _group_norm, "normalize": _normalize}


class _Identity(torch.autograd.Function):
    """A function of x that gives x the quotient of both as its gradient, so that x keeps the relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, func: Callable[[Tensor], Tensor]) -> Tensor:
        value = func(x)
        ctx.save_for_backward(value / torch.where(x < 0, x - _STABILISER, x + _STABILISER))
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


def _identity(func: Callable[..., Any], x: Tensor, *rest: Any, **settings: Any) -> Tensor:
    return _Identity.apply(x, lambda x: func(x, *rest, **settings))  # pyright: ignore[reportReturnType]
