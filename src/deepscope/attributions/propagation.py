"""What methods that propagate shares by rules have in common: PyTorch's functions, intercepted for one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

ELEMENTWISE = frozenset(
    {
        "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
        "hardswish", "hardsigmoid", "sigmoid", "logsigmoid", "tanh", "softplus", "softsign", "hardshrink",
        "softshrink", "tanhshrink", "threshold", "clamp", "clamp_min", "clamp_max", "abs", "exp", "log", "sqrt",
        "rsqrt", "square", "pow", "reciprocal", "sin", "cos", "erf",
    }
)  # fmt: skip
"""Functions of one value at a time, by the name PyTorch calls them."""
PRODUCTS = frozenset({"mul", "multiply"})
QUOTIENTS = frozenset({"div", "true_divide", "__truediv__"})
INVERTED = frozenset({"__rdiv__", "__rtruediv__"})
"""Quotients whose second operand comes first."""
MATRIX_PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "einsum"})
ATTENTION = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward"})


OPERANDS = ("input", "query", "key", "value", "other", "mat2")
"""What PyTorch calls operands, in their order, where they are given by name."""


class Propagation(TorchFunctionMode, ABC):
    """Inside it, the functions that have a rule are replaced by ones whose backward pass follows the rule.

    The network stays as it is, and layers, modules that are used twice and plain functions are all seen. A function
    without a rule is differentiated as usual, which is right for linear ones.
    """

    ruled: frozenset[str]
    """Functions that have a rule, by the name PyTorch calls them, without the underscore of those in place."""

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
        if plain not in self.ruled or not self.follows(plain, [*args, *keywords.values()]):
            return func(*args, **keywords)
        args = (*args, *(keywords.pop(name) for name in OPERANDS if name in keywords))
        in_place = plain != name or keywords.get("inplace", False)
        if plain != name:
            func = getattr(Tensor, plain, None) or getattr(torch, plain)
        elif in_place:
            keywords["inplace"] = False
        operand = args[0].clone() if in_place else args[0]
        output = self.propagate(plain, func, operand, args[1:], keywords)
        return args[0].copy_(output) if in_place else output

    def follows(self, name: str, values: Sequence[Any]) -> bool:
        """Whether a function of these values is on the way from the pixels to the scores."""
        return any(varies(value) for value in values)

    @abstractmethod
    def propagate(self, name: str, func: Callable[..., Any], first: Any, rest: Sequence[Any], keywords: Any) -> Any:
        """What a function that has a rule returns, with the rule as its backward pass."""


def varies(value: Any) -> bool:
    """Whether a value depends on the pixels."""
    return isinstance(value, Tensor) and value.requires_grad
