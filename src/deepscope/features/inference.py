"""A network optimised for features only: batch norms folded, channels last, bfloat16 on request.

On CUDA, in bfloat16, a convolution and the ReLU after it are one kernel. Each rewrite is compared with the network
before it, and dropped where features differ.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.models.classifier import Backbone
from deepscope.models.folding import folded

_SAME, _SAME_HALF = 1e-3, 1e-2
"""Relative differences of features above which a rewritten network counts as another one, in float32 and in bfloat16.

Fused and separate kernels round differently: VGG16's features differ by 1e-4 in bfloat16.
"""


def accelerated(backbone: Backbone, pixels: Tensor, *, bfloat16: bool) -> Backbone:
    """A copy that computes the same features faster.

    Args:
        backbone: is left as it is.
        pixels: (N, 3, H, W) example, to see in what order modules run.
        bfloat16: also halve the numbers' precision.
    """
    with torch.no_grad():
        wanted = backbone(pixels)  # weights that a hook makes in each pass can be copied after it
        quick = copy.deepcopy(backbone)
        _fold_batch_norms(quick, pixels)
        if not _all_close(quick(pixels), wanted, _SAME):
            quick = copy.deepcopy(backbone)  # its modules are joined in a way that folding does not see
        quick.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if not bfloat16:
            return quick
        quick.to(torch.bfloat16)
        return _with_fused_relus(quick, pixels) if _fuses(pixels) else quick


class ConvolutionRelu(nn.Module):
    """A convolution and the ReLU after it, as one kernel of cuDNN: what lies between them is never written."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, h, w)."""
        own = self.convolution
        steps = list(own.stride), [int(p) for p in own.padding], list(own.dilation)
        return torch.cudnn_convolution_relu(x, own.weight, own.bias, *steps, own.groups)


def _fuses(pixels: Tensor) -> bool:
    """Whether cuDNN computes there."""
    return pixels.is_cuda and torch.backends.cudnn.is_available() and torch.version.hip is None


def _with_fused_relus(backbone: Backbone, pixels: Tensor) -> Backbone:
    """A copy whose convolutions do the work of the ReLUs after them; the backbone itself where that is not the same."""
    fused = copy.deepcopy(backbone)
    names = {module: name for name, module in fused.network.named_modules()}
    for relu, convolution in _followers(fused, pixels, nn.ReLU):
        plain = type(relu) is nn.ReLU and type(convolution) is nn.Conv2d and convolution.padding_mode == "zeros"
        if plain and convolution.groups == 1 and not isinstance(convolution.padding, str):
            fused.network.set_submodule(names[convolution], ConvolutionRelu(convolution))
            fused.network.set_submodule(names[relu], nn.Identity())
    try:
        same = _all_close(fused(pixels), backbone(pixels), _SAME_HALF)
    except Exception:  # of cuDNN, for a shape that it has no kernel for, or of a network that looks at its own layers
        return backbone
    return fused if same else backbone


def _fold_batch_norms(backbone: Backbone, pixels: Tensor) -> None:
    """Scale and shift of a batch norm that follows a convolution go into the convolution's own weights."""
    names = {module: name for name, module in backbone.network.named_modules()}
    for norm, convolution in _followers(backbone, pixels, nn.BatchNorm2d):
        assert isinstance(norm, nn.BatchNorm2d)
        if norm.running_var is not None:
            _fold(norm, convolution)
            inside = OrderedDict(norm.named_children())  # timm puts dropout and activation into it
            backbone.network.set_submodule(names[norm], nn.Sequential(inside))


def _followers(backbone: Backbone, pixels: Tensor, kind: type[nn.Module]) -> Iterator[tuple[nn.Module, nn.Conv2d]]:
    """Each module of that kind that is given a convolution's output, and the convolution.

    Both run once, the weights are fixed, and the convolution's own output is not asked for.
    """
    wanted = {backbone.network.get_submodule(name) for name, _ in backbone.layers}
    runs: dict[nn.Module, int] = {}
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    follows: dict[nn.Module, nn.Conv2d] = {}

    def before(module: nn.Module, inputs: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        if isinstance(module, kind) and id(inputs[0]) in outputs:
            follows[module] = outputs[id(inputs[0])][0]

    def after(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            outputs[id(output)] = (module, output)  # held, so that no other tensor gets its id

    modules = [m for m in backbone.network.modules() if isinstance(m, (nn.Conv2d, kind))]
    handles = [m.register_forward_pre_hook(before) for m in modules]
    handles += [m.register_forward_hook(after) for m in modules]
    try:
        backbone(pixels[:1])
    finally:
        for handle in handles:
            handle.remove()
    for module, convolution in follows.items():
        once = runs[module] == runs[convolution] == len(backbone.views)
        # a weight that is made anew in each pass cannot be replaced
        if once and convolution not in wanted and "weight" in convolution._parameters:
            yield module, convolution


def _fold(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = folded(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps
    )
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)


def _all_close(found: list[Tensor], expected: list[Tensor], error: float) -> bool:
    """Whether every vector of features is the expected one but for rounding, whatever its size; NaN never is."""
    pairs = zip(found, expected, strict=True)
    return all(bool(((a - b).norm(dim=1) <= error * b.norm(dim=1)).all()) for a, b in pairs)
