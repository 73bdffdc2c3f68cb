"""What a network's output means: scores with one column per category, or an error that says what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from deepscope.errors import ModelError, out_of_memory

Kind = Literal["logits", "probabilities"]

_SCALES = (1.0, 10.0, 1000.0)
"""Of the noise that a network is probed with: logits grow with it, probabilities stay between 0 and 1."""
_LOOSE, _STRICT = 0.02, 1e-3
"""Errors of probabilities that are allowed on a user's images, perhaps in bfloat16, and on noise in full precision."""
_LINEAR = ("Addmm", "Mm", "Linear", "Convolution", "MkldnnConvolution")
_BOUNDED = ("Softmax", "Sigmoid", "Hardsigmoid")
_MAIN = ("logits", "out", "output", "prediction")
"""Names of the logits in a container that holds other matrices as well."""
_RESHAPING = (
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Select",
    "T",
    "Transpose",
    "Permute",
    "Clone",
    "ToCopy",
)
_MISTAKES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)
"""What networks raise for an input that they cannot take; others, such as those of a connection, pass through."""


class Outputs:
    """Turns what a network returns into logits, whose softmax are the network's own probabilities.

    A network may return a tensor, or a tuple, list, dict or object that holds one. Logits pass as they are. One logit
    per image for two categories becomes (0, logit). Probabilities become their logarithms. A network returns
    probabilities if its rows sum to 1 on the first images and on random inputs; what cannot be told apart is refused.

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
            ModelError: the network cannot run on such inputs, its output is not (N, classes),
                holds NaN or infinity, holds independent probabilities of several labels or percentages, or may be
                either logits or probabilities.
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
        elif kind == "probabilities":
            self._require_probabilities(found)
        return _scores(found, kind)

    def _run(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """(N, classes), or (N, 1) of a binary classifier."""
        try:
            output = network(inputs)
        except _MISTAKES as error:
            if self.kind is not None or out_of_memory(error):
                raise
            shape = tuple(inputs.shape[1:])
            raise ModelError(f"{self.name} cannot run on an input of shape {shape}: {_first_line(error)}") from error
        return self._matrix(output, inputs.shape[0]).to(inputs.dtype)  # len() would fix the size in an export

    def _matrix(self, output: Any, images: int) -> Tensor:
        found = output if isinstance(output, Tensor) else self._logits_in(output, images)
        if not _is_dense(found):
            raise ModelError(f"{self.name} returns a sparse, nested or quantized tensor: return dense logits")
        if found.ndim > 2 and found.shape[2:].numel() == 1:  # a head that is a 1 x 1 convolution
            found = found.flatten(1)
        if found.ndim != 2 or found.shape[0] != images or not found.is_floating_point():
            raise ModelError(
                f"{self.name} returns {_described(found)} for {images} images: a classifier returns floating-point "
                f"logits of shape ({images}, {self.classes})"
            )
        width = found.shape[1]
        if width == 1 and self.classes != 2:
            raise ModelError(
                f"{self.name} returns a single logit per image, which decides between two categories, "
                f"and has {self.classes}: name both, the negative one first"
            )
        if width not in (1, self.classes):
            raise ModelError(f"{self.name} returns {width} logits per image and has {self.classes} categories")
        return found

    def _logits_in(self, output: Any, images: int) -> Tensor:
        """The one tensor of logits in a container."""
        held = dict(_held(output))
        if isinstance(held.get("logits"), Tensor):
            return held["logits"]
        tensors = {key: value for key, value in held.items() if isinstance(value, Tensor) and _is_dense(value)}
        matrices = {key: value for key, value in tensors.items() if _is_matrix(value, images)}
        found = matrices or tensors
        if len(found) == 1:
            return next(iter(found.values()))
        widths = (1, 2) if self.classes == 2 else (self.classes,)
        fitting = [key for key, value in matrices.items() if value.shape[1] in widths]
        if len(fitting) == 1 and fitting[0] in (*_MAIN, "0"):  # "0": the first of a tuple
            return matrices[fitting[0]]
        kind = type(output).__name__
        if not found:
            raise ModelError(f"{self.name} returns {kind}, which holds no dense tensor: return the logits")
        listed = " and ".join(f"{key!r} {tuple(value.shape)}" for key, value in list(found.items())[:4])
        raise ModelError(f"{self.name} returns {kind} in which {listed} may each be the logits: return one of them")

    def _require_finite(self, found: Tensor) -> None:
        finite = found.isfinite()
        if not finite.all():
            bad = int((~finite.all(1)).sum())
            raise ModelError(
                f"{self.name} returns logits that are NaN or infinite for {bad} of {len(found)} images: its training "
                "has diverged, its weights are damaged, or its numbers overflow"
            )

    def _require_probabilities(self, found: Tensor) -> None:
        if not (_within(found, _LOOSE) if found.shape[1] == 1 else _is_close(_total(found, _LOOSE), 1, _LOOSE)):
            raise ModelError(
                f"{self.name} returned probabilities for earlier images, and returns values that do not sum to 1 "
                "or do not lie between 0 and 1 for these: return logits"
            )

    def _decide(self, network: nn.Module, inputs: Tensor, found: Tensor) -> tuple[Kind, bool]:
        """What the network returns, and whether it was run on other inputs to find out."""
        total = _total(found, _LOOSE)
        if not (total or _within(found, _LOOSE)):
            self.kind = "logits"
            return "logits", False
        seen, last = self._probe(network, inputs)
        seen = seen[seen.isfinite().all(1)]
        if found.shape[1] == 1:
            self.kind = self._kind_of_one(seen, last)
            return self.kind, True
        probed = _total(seen, _STRICT) if len(seen) else total
        if total and _is_close(probed, total, _LOOSE):
            if last in _LINEAR and _is_constant(seen):
                return "logits", True  # a head that ignores its input so far
            self.kind = self._kind_of_shares(probed)
        elif last in _LINEAR or not _within(found, _LOOSE) or not (len(seen) and _within(seen, _STRICT)):
            self.kind = "logits"
        elif not (found.any() or seen.any()):
            return "logits", True  # zeros so far: no probabilities, and perhaps a ReLU
        elif last not in _BOUNDED and _is_constant(seen):
            return "logits", True  # small logits that hardly move: a sigmoid would saturate on the noise
        else:
            raise ModelError(
                f"{self.name} returns values between 0 and 1 that do not sum to 1: probabilities of several labels per "
                "image (a sigmoid per class), which are not supported; return logits of classes that exclude each other"
            )
        return self.kind, True

    def _kind_of_one(self, seen: Tensor, last: str) -> Kind:
        """What a single value per image is, which lies between 0 and 1 for the images."""
        if last in _BOUNDED:
            return "probabilities"
        if last in _LINEAR or (len(seen) and not _within(seen, _STRICT)):
            return "logits"
        raise ModelError(
            f"{self.name} returns one value between 0 and 1 per image, which may be a logit or a probability: "
            "return logits, or end the network with torch.sigmoid"
        )

    def _kind_of_shares(self, total: float) -> Kind:
        """What non-negative rows are that always have this sum."""
        if _is_close(total, 1, _STRICT):
            return "probabilities"
        raise ModelError(
            f"{self.name} returns values that always sum to {total:.4g}, like percentages: return logits, "
            "or probabilities that sum to 1"
        )

    def _probe(self, network: nn.Module, inputs: Tensor) -> tuple[Tensor, str]:
        """Outputs for noise of several scales, in full precision, and the last operation that made them.

        The noise does not depend on the number of inputs, so that one image is read as many are. It passes at most
        two images at once, so that the graph stays small, and one where a network may be made for one.
        """
        rng = torch.Generator().manual_seed(0)
        seen, last = [], ""
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
            for scale in _SCALES:
                noise = torch.randn((2, *inputs.shape[1:]), generator=rng).to(inputs.device, inputs.dtype) * scale
                for part in noise.split(min(2, len(inputs))):
                    found = self._run(network, part.clone().requires_grad_())
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
    """Whether all lie between 0 and 1; rounding makes 1 - p slightly negative."""
    low, high = values.aminmax()
    return bool((low >= -error) & (high <= 1 + error))


def _total(rows: Tensor, error: float) -> float:
    """The sum that all rows of non-negative values have, up to a relative error; 0 if there is none."""
    sums = rows.detach().double().sum(1)
    total = float(sums.mean())
    allowed = error * total
    same = total > 0 and bool(((sums - total).abs() <= allowed).all() & (rows >= -allowed).all())
    return total if same else 0.0


def _is_close(value: float, wanted: float, error: float) -> bool:
    return abs(value - wanted) <= error * wanted


def _is_constant(rows: Tensor) -> bool:
    return not len(rows) or bool((rows - rows[:1]).abs().amax() < _STRICT)


def _is_dense(value: Tensor) -> bool:
    return value.layout == torch.strided and not (value.is_nested or value.is_quantized)


def _is_matrix(value: Tensor, images: int) -> bool:
    """Whether it has one row per image, perhaps of a 1 x 1 convolution, and so may be the logits."""
    shaped = value.ndim == 2 or (value.ndim > 2 and value.shape[2:].numel() == 1)
    return shaped and value.shape[0] == images and value.is_floating_point()


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
