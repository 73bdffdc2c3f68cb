"""DeepLIFT: the difference to a baseline, carried back through the network without loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from deepscope.attributions.attribution import Attribution, baseline_pixels
from deepscope.attributions.engine import batches
from deepscope.errors import UnsupportedError
from deepscope.models.vision_model import VisionModel

ELEMENTWISE = {
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "hardswish", "hardsigmoid", "sigmoid", "logsigmoid", "tanh", "softplus", "softsign", "hardshrink", "softshrink",
    "tanhshrink", "threshold", "clamp", "clamp_min", "clamp_max", "abs", "exp", "log", "sqrt", "rsqrt", "square",
    "pow", "reciprocal", "sin", "cos", "erf",
}  # fmt: skip
"""Functions of one value at a time, by the name PyTorch calls them."""
_KEPT_BITS = {torch.float64: 40, torch.float32: 19}
"""Of a number's 53 or 24 bits, those that do not depend on the order in which a convolution adds."""
TOLERANCE = 0.01
"""Largest completeness error, relative to the logits, before an operation without a rule is suspected."""


@dataclass(frozen=True)
class DeepLIFT(Attribution):
    """Each channel's share of the score's difference to a baseline, by the rescale rule; the shares add up to it.

    Activation functions are followed wherever they are called, as modules, reused modules or plain functions.
    Products of two activations (squeeze-and-excitation, vectors over their length) share their difference evenly, max
    pooling gives it to the position that makes it. Nothing is patched: the rules hold for one forward pass.

    Shrikumar, Greenside and Kundaje 2017, "Learning Important Features Through Propagating Activation Differences".

    Attributes:
        baseline: the reference image: black, or mid-grey.
    """

    signed: ClassVar[bool] = True

    baseline: Literal["black", "grey"] = "black"

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, 3, H, W) shares; each image's add up to its logit minus the baseline's.

        Raises:
            UnsupportedError: the network has an operation that DeepLIFT has no rule for.
        """
        shares = torch.empty_like(pixels)
        reference = baseline_pixels(self.baseline, pixels[:1])
        for rows, part in batches(
            len(pixels), pixels.device, lambda rows: _shares(model, pixels[rows], reference, target[rows])
        ):
            shares[rows] = part
        return shares


def _shares(model: VisionModel, pixels: Tensor, reference: Tensor, target: Tensor) -> Tensor:
    inputs = torch.cat([pixels, reference]).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        with _Rescale(len(pixels)):
            logits = model(inputs)
        (multipliers,) = torch.autograd.grad(model.objective(logits[:-1], target).sum(), inputs)
    scores = logits.detach()
    logit, without = model.objective(scores[:-1], target), model.objective(scores[-1:].expand(len(target), -1), target)
    shares = multipliers[:-1] * (pixels - reference)
    error = (shares.sum((1, 2, 3)) - (logit - without)).abs()
    if bool((error > TOLERANCE * torch.maximum(logit.abs(), without.abs())).any()):
        raise UnsupportedError(
            f"DeepLIFT has no rule for an operation of {model.name}: its shares miss the difference of the logits by "
            f"{float(error.max()):.3g}; use integrated-gradients or occlusion, which need no rules",
            what="deep-lift",
        )
    return shares


class _Rescale(TorchFunctionMode):
    """Inside it, gradients are DeepLIFT's multipliers.

    A batch holds `images` images and then their one baseline. In the backward pass, whatever is not linear is replaced
    by the linear map that turns the difference of its inputs into the difference of its outputs.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        plain = name if name.startswith("__") else name.rstrip("_")
        if plain not in _HANDLED or not any(isinstance(a, Tensor) and a.requires_grad for a in args[:2]):
            return func(*args, **keywords)
        if not self._has_rows(args[:2]):  # what no image is in: the noise that tells logits from probabilities
            return func(*args, **keywords)
        in_place = plain != name or keywords.get("inplace", False)
        if plain != name:
            func = getattr(Tensor, plain)
        elif in_place:
            keywords["inplace"] = False
        operand = args[0].clone() if in_place else args[0]
        output = self._linear(plain, func, operand, args[1:], keywords)
        return args[0].copy_(output) if in_place else output

    def _linear(self, name: str, func: Callable[..., Any], first: Any, rest: Sequence[Any], keywords: dict) -> Any:
        if name in ELEMENTWISE:
            return self._elementwise(lambda x: func(x, *rest, **keywords), first)
        if name in ("max_pool2d", "adaptive_max_pool2d"):
            return self._max_pool(lambda x: func(x, *rest, **{**keywords, "return_indices": True}), first)
        if name == "normalize":
            return self._normalized(first, **keywords)
        if name in ("__rdiv__", "__rtruediv__"):
            return self._product(rest[0], self._elementwise(torch.reciprocal, first))
        if name in ("div", "true_divide", "__truediv__"):
            if not (isinstance(rest[0], Tensor) and rest[0].requires_grad):
                return func(first, *rest, **keywords)
            return self._product(first, self._elementwise(torch.reciprocal, rest[0]))
        return self._product(first, rest[0])

    def _elementwise(self, func: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Slope: difference of the outputs over difference of the inputs, the derivative where those agree."""
        value = func(x.detach())
        difference = self._difference(x.detach())
        leaf = x.detach().requires_grad_()
        (derivative,) = torch.autograd.grad(func(leaf).sum(), leaf)
        same = difference.abs() <= 1e-4 * x.detach().abs()  # below this, rounding drowns the quotient
        slope = torch.where(same, derivative, self._difference(value) / difference)
        return _StandIn.apply(x * slope, value)

    def _max_pool(self, func: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
        """All of the difference goes to the position that makes it: the new maximum, or the lost one."""
        value, (_, index) = func(x.detach())[0], func(_without_last_bits(x.detach()))
        change = self._difference(value)
        index = torch.where(
            change >= 0, index, self._of_baseline(index).expand_as(self._rows(index)).reshape(index.shape)
        )
        moved = self._difference(x.detach()).flatten(2).gather(2, index.flatten(2)).view_as(value)
        slope = torch.where(moved == 0, 1.0, change / moved)
        return _StandIn.apply(x.flatten(2).gather(2, index.flatten(2)).view_as(value) * slope, value)

    def _normalized(self, x: Tensor, p: float, dim: int, eps: float, out: None = None) -> Tensor:
        """Vectors over their lengths: squares, a sum, a root and a quotient."""
        if p != 2:
            return functional.normalize(x, p, dim, eps)  # without a rule, which the check on completeness finds out
        energy = self._elementwise(torch.square, x).sum(dim, keepdim=True)
        length = self._elementwise(lambda squares: squares.sqrt().clamp_min(eps), energy)
        return self._product(x, self._elementwise(torch.reciprocal, length))

    def _product(self, a: Any, b: Any) -> Tensor:
        """ab - a'b' = (a - a')(b + b')/2 + (b - b')(a + a')/2, where a' and b' are the baseline's."""
        varies = [isinstance(factor, Tensor) and factor.requires_grad for factor in (a, b)]
        if not all(varies):
            return a * b
        mean_a, mean_b = (factor.detach() - self._difference(factor.detach()) / 2 for factor in (a, b))
        return _StandIn.apply(a * mean_b + mean_a * b, a.detach() * b.detach())

    def _has_rows(self, operands: Sequence[Any]) -> bool:
        sizes = [len(one) for one in operands if isinstance(one, Tensor) and one.requires_grad and one.ndim]
        return all(size % (self.images + 1) == 0 for size in sizes)

    def _rows(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.images + 1, -1))

    def _of_baseline(self, x: Tensor) -> Tensor:
        return self._rows(x)[-1:]

    def _difference(self, x: Tensor) -> Tensor:
        return (self._rows(x) - self._of_baseline(x)).flatten(0, 1)


def _without_last_bits(x: Tensor) -> Tensor:
    """Rounded, so that equal values, as a plain baseline gives, stay equal whatever the batch: the first one counts."""
    if x.dtype not in _KEPT_BITS:
        return x
    mantissa, exponent = torch.frexp(x)
    kept = 2.0 ** _KEPT_BITS[x.dtype]
    return torch.ldexp((mantissa * kept).round() / kept, exponent)


_HANDLED = ELEMENTWISE | {
    "max_pool2d", "adaptive_max_pool2d", "mul", "multiply", "div", "true_divide", "__truediv__", "__rdiv__",
    "__rtruediv__", "normalize",
}  # fmt: skip


class _StandIn(torch.autograd.Function):
    """`value` in the forward pass, its linear stand-in in the backward pass."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None
