"""Faster backward passes through a network on a CPU: the same sums, without the work that the usual ways waste."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from deepscope.errors import DeepscopeError
from deepscope.models.convolution_norms import METADATA, Norm, Watch, tensors_of
from deepscope.models.fast_functions import BatchNorm, StridedConvolution
from deepscope.models.folding import folded
from deepscope.models.packed import Matrices
from deepscope.models.stamps import Stamp, stamp
from deepscope.models.vision_model import VisionModel

FEW_CHANNELS = 4
"""Libraries compute gradients by blocks of 8 or 16 input channels; three colours leave most of a block empty."""
WORTH_PREPARING = 16
"""Gradients that repay `FastBackward.of`, which costs two to three of them."""
FEW_ROWS = 256
"""Rows of a product with a weight below which laying the weight out for it takes as long as it saves."""
SAME_LOGITS, SAME_GRADIENTS = 1e-4, 2e-2
"""Relative differences above which a prepared network counts as another one.

A wrongly paired layer moves both by 0.1 and more. Rounding moves logits by 1e-6, and gradients by up to 1e-2 where a
ReLU's input is almost zero: plain float32 is as far from float64 there.
"""


class FastBackward:
    """Runs a network so that gradients with respect to its input come faster on a CPU; parameters get none.

    Forward passes are faster too: products with weights that do not change are those of `packed`. Made by `of`, it also
    leaves out the batch norms that follow a convolution: their scale and shift are in the convolution's weights. The
    model itself stays as it is. Whatever was prepared from a weight that changed is left out from then on. Under
    `torch.func` and forward-mode differentiation the network runs as it is.

    Args:
        enabled: where False, `run` runs the network as it is.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._convolutions = WeakTensorKeyDictionary()  # a parameter -> what runs in its place
        self._norms = WeakTensorKeyDictionary()  # the weight of a folded convolution -> its batch norm
        self._stamps = WeakTensorKeyDictionary()  # a parameter -> stamps of what its replacement was made from
        self._matrices = Matrices(FEW_ROWS)

    @classmethod
    def on(cls, device: torch.device) -> FastBackward:
        """With nothing prepared; away from the CPU, the network runs as it is."""
        return cls(enabled=device.type == "cpu")

    @classmethod
    def of(cls, model: VisionModel, pixels: Tensor) -> FastBackward:
        """For many gradients of one model at images such as `pixels` (N, 3, H, W).

        The prepared network is compared with the plain one, on the first image; where logits or gradients differ by
        more than rounding, nothing is prepared.
        """
        fast = cls.on(pixels.device)
        if not (fast.enabled and model.capabilities.gradients) or _transformed():
            return fast
        with torch.inference_mode(False), torch.enable_grad():
            leaf = pixels[:1].clone(memory_format=torch.channels_last).requires_grad_()
            with Watch() as watch:
                logits = model(leaf)
            if not logits.requires_grad:
                return fast
            (slope,) = torch.autograd.grad(logits.square().sum(), leaf)
            fast._prepare(watch, own={id(t) for t in (*model.network.parameters(), *model.network.buffers())})
            try:
                found = fast.run(lambda: model(leaf))
                (fast_slope,) = torch.autograd.grad(found.square().sum(), leaf)
            except RuntimeError:  # of a network that runs parts of itself again on the way back
                return cls(enabled=False)
        same = _close(found, logits, SAME_LOGITS) and _close(fast_slope, slope, SAME_GRADIENTS)
        return fast if same else cls(enabled=False)

    def run(self, forward: Callable[[], Tensor]) -> Tensor:
        """What `forward` returns, its operations on the faster paths.

        A network that takes another way than it took when it was prepared (one that branches on its input, say) runs
        a second time, without what was prepared.
        """
        if not self.enabled or _transformed():
            return forward()
        self._leave_out_changed()
        try:
            with _Faster(self._convolutions, self._norms, self._matrices) as faster:
                output = forward()
            faster.require_all_normed()
        except (_OtherWay, DeepscopeError):  # or its logits are NaN, because something read a stand-in unseen
            if not len(self._norms):
                raise
            with _Faster(WeakTensorKeyDictionary(), WeakTensorKeyDictionary(), self._matrices):
                return forward()
        return output

    def _prepare(self, watch: Watch, own: set[int]) -> None:
        """Fold and lay out what the pass showed. `own`: ids of the network's tensors, which outlive this call."""
        self._matrices.least = 1  # many passes follow
        for weight, bias in watch.convolutions():
            if id(weight) in own:  # a weight made anew in each pass is another tensor in the next
                self._convolutions[weight] = Replacement(_channels_last(weight.detach()), bias, bias)
        for weight, bias, norm in watch.pairs():
            if id(weight) in own and id(norm.mean) in own:
                made = folded(_channels_last(weight.detach()), bias, *norm)
                self._convolutions[weight] = Replacement(_channels_last(made[0]).detach(), made[1].detach(), bias)
                self._norms[weight] = norm
        for weight in self._convolutions:
            self._stamps[weight] = self._stamps_of(weight)

    def _stamps_of(self, weight: Tensor) -> tuple[Stamp, ...]:
        norm = self._norms.get(weight)
        made_of = (weight, self._convolutions[weight].own_bias, *norm[:4]) if norm else (weight,)
        return tuple(stamp(tensor) for tensor in made_of if tensor is not None)

    def _leave_out_changed(self) -> None:
        changed = [weight for weight, known in self._stamps.items() if known != self._stamps_of(weight)]
        for weight in changed:
            for known in (self._convolutions, self._norms, self._stamps):
                known.pop(weight, None)


class Replacement(NamedTuple):
    """What runs in the place of a convolution with this weight.

    Attributes:
        weight, bias: of the convolution that runs.
        own_bias: that the convolution had when this was prepared.
    """

    weight: Tensor
    bias: Tensor | None
    own_bias: Tensor | None


def _transformed() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work, which the faster operations do not support."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class _OtherWay(Exception):
    """The output of a folded convolution went elsewhere than into its batch norm."""


class _Faster(TorchFunctionMode):
    """Convolutions, linear layers and batch norms on the faster paths, one pass long.

    The network sees a stand-in of NaN for the output of a folded convolution. Its batch norm alone gets the output
    itself; any other operation that is given the stand-in ends the pass.
    """

    def __init__(
        self, convolutions: WeakTensorKeyDictionary, norms: WeakTensorKeyDictionary, matrices: Matrices
    ) -> None:
        super().__init__()
        self._convolutions, self._norms, self._matrices = convolutions, norms, matrices
        self._waiting = WeakTensorKeyDictionary()  # stand-in -> output of the convolution, its batch norm
        self._folded = self._normed = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = kwargs or {}
        if func is F.batch_norm and (found := self._waiting.get(args[0])) is not None:
            output, norm = found
            if settings["training"] or not norm.same(Norm.of(args, settings)):
                raise _OtherWay
            self._normed += 1
            return output
        if len(self._waiting) and func not in METADATA and self._reads_stand_in((*args, *settings.values())):
            raise _OtherWay
        if func is torch.conv2d and len(args) == 7 and not settings:  # as nn.Conv2d calls it
            return self._convolution(*args)
        if func is F.linear and len(args) == 3 and not settings:  # as nn.Linear calls it
            output = self._matrices.linear(*args)
            return func(*args) if output is None else output
        if func is F.batch_norm:
            return _batch_norm(args[0], args[1], args[2], **settings)
        return func(*args, **settings)

    def _reads_stand_in(self, values: Sequence[Any]) -> bool:
        return any(tensor in self._waiting for tensor in tensors_of(values))

    def _convolution(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        found = self._convolutions.get(weight)
        known = found if found and found.own_bias is bias else None
        ready, ready_bias = known[:2] if known else (weight, bias)
        steps, zeros = _pair(stride), _pair(padding)
        strided = len(zeros) == 2 and steps[0] == steps[1] > 1
        plain = strided and _pair(dilation) == (1, 1) and groups == 1 and x.device.type == "cpu"
        of_pixels = weight.shape[2:] == (1, 1) and steps == (1, 1) and zeros == (0, 0) and groups == 1
        output: Any = self._matrices.convolution(x, ready, ready_bias) if of_pixels else None
        if output is None and plain and x.shape[1] <= FEW_CHANNELS and x.requires_grad and _constant(ready, ready_bias):
            output = StridedConvolution.apply(x, ready, ready_bias, steps[0], zeros)
        if output is None:
            output = torch.conv2d(x, ready, ready_bias, stride, padding, dilation, groups)
        if not known or weight not in self._norms:
            return output
        stand_in = output.new_full((), torch.nan).expand_as(output)
        self._waiting[stand_in] = output, self._norms[weight]
        self._folded += 1
        return stand_in

    def require_all_normed(self) -> None:
        """Raises _OtherWay where a folded convolution's batch norm did not follow."""
        if self._folded != self._normed:
            raise _OtherWay


def _batch_norm(x: Tensor, mean: Tensor | None, variance: Tensor | None, **settings: Any) -> Tensor:
    weight, bias = settings["weight"], settings["bias"]
    fixed = not settings["training"] and mean is not None and x.requires_grad and x.device.type == "cpu"
    if fixed and _constant(mean, variance, weight, bias):
        return BatchNorm.apply(x, mean, variance, weight, bias, settings["eps"])  # pyright: ignore[reportReturnType]
    return F.batch_norm(x, mean, variance, **settings)


def _pair(setting: Any) -> tuple[int, ...]:
    """Of height and width, where PyTorch also takes one number for both; empty for the name of a padding."""
    if isinstance(setting, str):
        return ()
    sizes = (setting,) if isinstance(setting, int) else tuple(setting)
    return sizes * 2 if len(sizes) == 1 else sizes


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _constant(*tensors: Tensor | None) -> bool:
    """Whether none of them depends on the input: the faster paths give them no gradient."""
    return not any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether the relative difference is within the tolerance; NaN never is."""
    return bool((found - expected).norm() <= tolerance * expected.norm())
