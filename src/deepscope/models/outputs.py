"""What a network's output means: scores with one column per category, or an error that says what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from deepscope.errors import InputError

Kind = Literal["logits", "probabilities"]

_SCALES = (1.0, 10.0, 1000.0)
"""Of the noise that a network is probed with: logits grow with it, probabilities stay between 0 and 1."""
_LOOSE, _STRICT = 0.02, 1e-3
"""Errors of probabilities that are allowed on a user's images, perhaps in bfloat16, and on noise in full precision."""
_LINEAR = ("Addmm", "Mm", "Linear", "Convolution", "MkldnnConvolution")
_BOUNDED = ("Softmax", "Sigmoid", "Hardsigmoid")
_RESHAPING = (
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Select",
    "Clone",
    "ToCopy",
)


class Outputs:
    """Turns what a network returns into logits, whose softmax are the network's own probabilities.

    A network may return a tensor, or a tuple, list, dict or object that holds one. Logits pass as they are. One logit
    per image for two categories becomes (0, logit). Probabilities become their logarithms; whether a network returns
    probabilities is decided once, on its first forward pass, and confirmed on random inputs.

    Args:
        name: the model's, for errors.
        classes: number of categories.

    Attributes:
        kind: what the network returns; None until that is decided.
    """

    def __init__(self, name: str, classes: int) -> None:
        self.name, self.classes = name, classes
        self.kind: Kind | None = None

    def __call__(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Normalised (N, C, H, W) -> finite (N, classes) logits of the same dtype.

        Raises:
            InputError: the network cannot run on such inputs, its output is no matrix with one column per category,
                holds NaN or infinity, or holds independent probabilities of several labels.
        """
        found = self._run(network, inputs)
        if found.is_meta or torch.compiler.is_compiling():  # there are no numbers to look at
            return _scores(found, self.kind or "logits")
        self._require_finite(found)
        kind = self.kind
        if kind is None:
            kind, probed = self._decide(network, inputs, found)
            if probed:  # hooks on the network's layers must have seen these inputs last
                found = self._run(network, inputs)
        return _scores(found, kind)

    def _run(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """(N, classes), or (N, 1) of a binary classifier."""
        try:
            output = network(inputs)
        except RuntimeError as error:
            shortage = isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error) or "memory" in str(error)
            if self.kind is not None or shortage:
                raise
            shape = tuple(inputs.shape[1:])
            raise InputError(f"{self.name} cannot run on an input of shape {shape}: {_first_line(error)}") from None
        return self._matrix(output, inputs.shape[0]).to(inputs.dtype)  # len() would fix the size in an export

    def _matrix(self, output: Any, images: int) -> Tensor:
        found = output if isinstance(output, Tensor) else self._logits_in(output, images)
        if found.ndim > 2 and found.shape[2:].numel() == 1:  # a head that is a 1 x 1 convolution
            found = found.flatten(1)
        if found.ndim != 2 or found.shape[0] != images or not found.is_floating_point():
            raise InputError(
                f"{self.name} returns {_described(found)} for {images} images: a classifier returns floating-point "
                f"logits of shape ({images}, {self.classes})"
            )
        width = found.shape[1]
        if width == 1 and self.classes != 2:
            raise InputError(
                f"{self.name} returns a single logit per image, which decides between two categories, "
                f"and has {self.classes}: name both, the negative one first"
            )
        if width not in (1, self.classes):
            raise InputError(f"{self.name} returns {width} logits per image and has {self.classes} categories")
        return found

    def _logits_in(self, output: Any, images: int) -> Tensor:
        """The one tensor of logits in a container."""
        held = dict(_held(output))
        if isinstance(held.get("logits"), Tensor):
            return held["logits"]
        tensors = {key: value for key, value in held.items() if isinstance(value, Tensor)}
        fitting = {key: value for key, value in tensors.items() if tuple(value.shape) == (images, self.classes)}
        found = fitting or tensors
        if len(found) == 1:
            return next(iter(found.values()))
        kind = type(output).__name__
        if not found:
            raise InputError(f"{self.name} returns {kind}, which holds no tensor: return the logits")
        listed = " and ".join(f"{key!r} {tuple(value.shape)}" for key, value in list(found.items())[:4])
        raise InputError(f"{self.name} returns {kind} in which {listed} may each be the logits: return one of them")

    def _require_finite(self, found: Tensor) -> None:
        finite = found.isfinite()
        if not finite.all():
            bad = int((~finite.all(1)).sum())
            raise InputError(
                f"{self.name} returns logits that are NaN or infinite for {bad} of {len(found)} images: its training "
                "has diverged, its weights are damaged, or its numbers overflow"
            )

    def _decide(self, network: nn.Module, inputs: Tensor, found: Tensor) -> tuple[Kind, bool]:
        """What the network returns, and whether it was run on other inputs to find out."""
        if not _within(found, _LOOSE):
            self.kind = "logits"
            return "logits", False
        seen, last = self._probe(network, inputs)
        seen = seen[seen.isfinite().all(1)]
        if last in _LINEAR or not len(seen) or not _within(seen, _STRICT):
            self.kind = "logits"
        elif last not in _BOUNDED and (seen - seen[:1]).abs().amax() < _STRICT:
            return "logits", True  # constant so far: nothing to decide by
        elif seen.shape[1] == 1 or _sums_to_one(seen, _STRICT):
            self.kind = "probabilities"
        else:
            raise InputError(
                f"{self.name} returns values between 0 and 1 that do not sum to 1: probabilities of several labels per "
                "image (a sigmoid per class), which are not supported; return logits of classes that exclude each other"
            )
        return self.kind, True

    def _probe(self, network: nn.Module, inputs: Tensor) -> tuple[Tensor, str]:
        """Outputs for noise of several scales, in full precision, and the last operation that made them.

        Of two images, like the first two inputs, so that the graph stays small.
        """
        rng = torch.Generator().manual_seed(0)
        seen, last = [], ""
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
            for scale in _SCALES:
                noise = torch.randn(inputs[:2].shape, generator=rng).to(inputs.device, inputs.dtype) * scale
                found = self._run(network, noise.requires_grad_())
                last = _last_operation(found)
                seen.append(found.detach())
        return torch.cat(seen), last


def _scores(found: Tensor, kind: Kind) -> Tensor:
    if found.shape[1] == 1:
        found = torch.cat([torch.zeros_like(found) if kind == "logits" else 1 - found, found], 1)
    return found if kind == "logits" else found.clamp_min(torch.finfo(found.dtype).tiny).log()


def _held(output: Any) -> Iterator[tuple[str, Any]]:
    """The names and values in a container; nothing in what is none."""
    if isinstance(output, Mapping):
        yield from ((str(key), value) for key, value in cast("Mapping[Any, Any]", output).items())
    elif hasattr(output, "_fields"):
        yield from zip(output._fields, output)
    elif dataclasses.is_dataclass(output):
        yield from ((field.name, getattr(output, field.name)) for field in dataclasses.fields(output))
    elif isinstance(output, (tuple, list)):
        yield from ((str(place), value) for place, value in enumerate(cast("tuple[Any, ...]", output)))
    elif hasattr(output, "logits"):
        yield "logits", output.logits


def _within(values: Tensor, error: float) -> bool:
    """Whether all lie between 0 and 1; no rounding makes a probability negative."""
    low, high = values.aminmax()
    return bool((low >= 0) & (high <= 1 + error))


def _sums_to_one(values: Tensor, error: float) -> bool:
    return bool(((values.sum(1) - 1).abs() <= error).all())


def _last_operation(found: Tensor) -> str:
    """The operation, in autograd's words, that computed a tensor; "" where autograd does not say."""
    step: Any = found.grad_fn
    while step is not None:
        name = type(step).__name__.rstrip("0123456789").removesuffix("Backward")
        if name not in _RESHAPING:
            return name
        step = step.next_functions[0][0] if step.next_functions else None
    return ""


def _described(found: Tensor) -> str:
    return f"{str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
