"""The rules by which DeepLIFT carries differences to a baseline back through a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

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
from deepscope.models.attention import explicit_attention

_KEPT_BITS = {torch.float64: 40, torch.float32: 19}
"""Of a number's 53 or 24 bits, those that do not depend on the order in which a convolution adds."""


class Rescale(Propagation):
    """Inside it, gradients are DeepLIFT's multipliers.

    A batch holds `images` images and then their one baseline. In the backward pass, whatever is not linear is replaced
    by the linear map that turns the difference of its inputs into the difference of its outputs.
    """

    ruled = (
        ELEMENTWISE
        | PRODUCTS
        | QUOTIENTS
        | INVERTED
        | MATRIX_PRODUCTS
        | ATTENTION
        | {"max_pool2d", "adaptive_max_pool2d", "normalize", "softmax", "layer_norm", "rms_norm", "group_norm"}
    )

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images

    def follows(self, name: str, values: Sequence[Any]) -> bool:
        """Whether the values hold the images: noise that tells logits from probabilities does not."""
        axis = int(name == "multi_head_attention_forward")  # its first axis is that of the tokens
        sizes = [one.shape[axis] for one in values if varies(one) and one.ndim > axis]
        return bool(sizes) and all(size % (self.images + 1) == 0 for size in sizes)

    def propagate(self, name: str, func: Callable[..., Any], first: Any, rest: Sequence[Any], keywords: Any) -> Any:
        """The rescale rule; products share their difference evenly between their factors."""
        if name in ELEMENTWISE:
            return self._elementwise(lambda x: func(x, *rest, **keywords), first)
        if name in ("max_pool2d", "adaptive_max_pool2d"):
            return self._max_pool(lambda x: func(x, *rest, **{**keywords, "return_indices": True}), first)
        if name in INVERTED:
            return self._product(torch.mul, rest[0], self._reciprocal(first))
        if name in QUOTIENTS:
            if not varies(rest[0]):
                return func(first, *rest, **keywords)
            return self._product(torch.mul, first, self._reciprocal(rest[0]))
        if name == "einsum":
            return self._product(lambda *factors: func(first, *factors), *rest)
        if name in PRODUCTS or name in MATRIX_PRODUCTS:
            return self._product(func, first, *rest)
        return _OTHERS[name](self, func, first, *rest, **keywords)

    def _elementwise(self, func: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Slope: difference of the outputs over difference of the inputs, the derivative where those agree."""
        value = func(x.detach())
        difference = self._difference(x.detach())
        leaf = x.detach().requires_grad_()
        (derivative,) = torch.autograd.grad(func(leaf).sum(), leaf)
        same = difference.abs() <= 1e-4 * x.detach().abs()  # below this, rounding drowns the quotient
        slope = torch.where(same, derivative, self._difference(value) / difference)
        return _stands_for(x * slope, value)

    def _reciprocal(self, x: Tensor) -> Tensor:
        """1/x - 1/x' = -(x - x')/(xx'), without the quotient of small differences."""
        plain = x.detach()
        return _stands_for(-x / (plain * self._baseline(plain)), 1 / plain)

    def _max_pool(self, func: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
        """All of the difference goes to the position that makes it: the new maximum, or the lost one."""
        value, (_, index) = func(x.detach())[0], func(_without_last_bits(x.detach()))
        change = self._difference(value)
        index = torch.where(
            change >= 0, index, self._of_baseline(index).expand_as(self._rows(index)).reshape(index.shape)
        )
        moved = self._difference(x.detach()).flatten(2).gather(2, index.flatten(2)).view_as(value)
        slope = torch.where(moved == 0, 1.0, change / moved)
        return _stands_for(x.flatten(2).gather(2, index.flatten(2)).view_as(value) * slope, value)

    def _normalize(
        self, func: Callable[..., Tensor], x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **_: Any
    ) -> Tensor:
        """Vectors over their lengths: squares, a sum, a root and a quotient."""
        if p != 2:
            return func(x, p, dim, eps)  # without a rule, which the check on completeness finds out
        energy = self._elementwise(torch.square, x).sum(dim, keepdim=True)
        length = self._elementwise(lambda squares: squares.sqrt().clamp_min(eps), energy)
        return self._product(torch.mul, x, self._reciprocal(length))

    def _product(self, func: Callable[[Any, Any], Tensor], a: Any, b: Any) -> Tensor:
        """ab - a'b' = (a - a')(b + b')/2 + (a + a')/2 (b - b'), where a' and b' are the baseline's."""
        if not (varies(a) and varies(b)):
            return func(a, b)
        linear = func(a, self._middle(b)) + func(self._middle(a), b)
        return _stands_for(linear, func(a.detach(), b.detach()))

    def _softmax(self, func: Callable[..., Tensor], x: Tensor, dim: int = -1, *rest: Any, **keywords: Any) -> Tensor:
        """Exponentials by the rescale rule, times the reciprocal of their sum: both factors share the difference."""
        value = func(x, dim, *rest, **keywords).detach()
        plain = x.detach().to(value.dtype)
        base = self._baseline(plain)
        top = torch.maximum(plain, base).amax(dim, keepdim=True)  # a softmax does not depend on it
        here, there = (plain - top).exp(), (base - top).exp()
        gap = torch.where(plain == base, 0.0, plain - base)  # also where both are -inf
        slope = torch.where(gap == 0, here, there * torch.expm1(gap) / gap)
        parts, other = here.sum(dim, keepdim=True), there.sum(dim, keepdim=True)
        change = x * slope
        of_sum = -change.sum(dim, keepdim=True) / (parts * other)
        return _stands_for(change * (1 / parts + 1 / other) / 2 + of_sum * (here + there) / 2, value)

    def _layer_norm(
        self,
        func: Callable[..., Tensor],
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        over = tuple(range(-len(shape), 0))
        value = func(x, shape, weight, bias, eps).detach()
        return _stands_for(_times(self._normed(x - x.mean(over, keepdim=True), over, eps), weight), value)

    def _rms_norm(
        self,
        func: Callable[..., Tensor],
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        over, value = tuple(range(-len(shape), 0)), func(x, shape, weight, eps).detach()
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return _stands_for(_times(self._normed(x, over, eps), weight), value)

    def _group_norm(
        self,
        func: Callable[..., Tensor],
        x: Tensor,
        groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        value, grouped = func(x, groups, weight, bias, eps).detach(), x.unflatten(1, (groups, -1))
        over = tuple(range(2, grouped.ndim))
        normed = self._normed(grouped - grouped.mean(over, keepdim=True), over, eps).view_as(x)
        return _stands_for(_times(normed, None if weight is None else weight.view(-1, *[1] * (x.ndim - 2))), value)

    def _normed(self, x: Tensor, over: tuple[int, ...], eps: float) -> Tensor:
        """x over the root of its mean square, as a linear map: both factors share the difference."""
        middle = self._middle(x)
        root = (x.detach().square().mean(over, keepdim=True) + eps).rsqrt()
        other = self._baseline(root)
        energy = 2 * (x * middle).mean(over, keepdim=True)  # its difference is that of the mean squares
        of_root = -energy * (root * other).square() / (root + other)
        return x * (root + other) / 2 + of_root * middle

    def _attention(self, func: Callable[..., Tensor], *operands: Any, **keywords: Any) -> Tensor:
        with self:  # its products and its softmax have rules
            weights, values = explicit_attention(*operands, **keywords)
            return weights @ values

    def _multi_head(self, func: Callable[..., Any], *operands: Any, **keywords: Any) -> Any:
        """PyTorch's own attention, as its four projections and the attention between them."""
        query, key, value, _, heads, weight, bias, bias_k, _, zeros, _, out_weight, out_bias = operands[:13]
        masks = keywords.get("key_padding_mask"), keywords.get("attn_mask"), keywords.get("is_causal")
        if weight is None or bias_k is not None or zeros or any(masks):
            return func(*operands, **keywords)  # without a rule, which the check on completeness finds out
        offsets = (None,) * 3 if bias is None else bias.chunk(3)
        parts = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weight.chunk(3), offsets)]
        query, key, value = (part.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for part in parts)
        mixed = self._attention(func, query, key, value)  # (images, heads, tokens, channels of a head)
        return F.linear(mixed.permute(2, 0, 1, 3).flatten(2), out_weight, out_bias), None

    def _rows(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.images + 1, -1))

    def _of_baseline(self, x: Tensor) -> Tensor:
        return self._rows(x)[-1:]

    def _baseline(self, x: Tensor) -> Tensor:
        """The baseline's values, for every image."""
        return self._of_baseline(x).expand_as(self._rows(x)).flatten(0, 1)

    def _difference(self, x: Tensor) -> Tensor:
        return (self._rows(x) - self._of_baseline(x)).flatten(0, 1)

    def _middle(self, x: Tensor) -> Tensor:
        """Half-way between the values and the baseline's."""
        return x.detach() - self._difference(x.detach()) / 2


_OTHERS: dict[str, Callable[..., Any]] = {
    "normalize": Rescale._normalize,
    "softmax": Rescale._softmax,
    "layer_norm": Rescale._layer_norm,
    "rms_norm": Rescale._rms_norm,
    "group_norm": Rescale._group_norm,
    "scaled_dot_product_attention": Rescale._attention,
    "multi_head_attention_forward": Rescale._multi_head,
}


def _times(x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else x * weight


def _without_last_bits(x: Tensor) -> Tensor:
    """Rounded, so that equal values, as a plain baseline gives, stay equal whatever the batch: the first one counts."""
    if x.dtype not in _KEPT_BITS:
        return x
    mantissa, exponent = torch.frexp(x)
    kept = 2.0 ** _KEPT_BITS[x.dtype]
    return torch.ldexp((mantissa * kept).round() / kept, exponent)


class _StandIn(torch.autograd.Function):
    """`value` in the forward pass, its linear stand-in in the backward pass."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None


def _stands_for(linear: Tensor, value: Tensor) -> Tensor:
    return _StandIn.apply(linear, value)  # pyright: ignore[reportReturnType]
