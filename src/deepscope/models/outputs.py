"""What a network returns: logits with one column per category, or an error that says what is wrong."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from deepscope.errors import ModelError, SettingError, out_of_memory
from deepscope.models.heads import Head
from deepscope.models.returned import scores_in

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
    "T",
    "Transpose",
    "Permute",
    "Clone",
    "ToCopy",
)
_MISTAKES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)
"""What networks raise for an input that they cannot take; others, such as those of a connection, pass through."""


class Outputs:
    """Turns what a network returns into logits, of which the head makes the network's own probabilities.

    A network may return a tensor, or a tuple, list, dict or object that holds one. Logits pass as they are. One logit
    per image for two categories becomes (0, logit), less the logit at a binary head's threshold. Probabilities become
    their logarithms, those of several labels their logits. A network returns probabilities if its rows sum to 1 on the
    first images and on random inputs, of several labels if they lie between 0 and 1; what cannot be told apart is
    refused.

    Args:
        name: the model's, for errors.
        classes: number of categories.
        head: what the scores mean.

    Attributes:
        kind: what the network returns; None until that is decided.
        single: whether it has been seen to return one value per image for two categories.
    """

    def __init__(self, name: str, classes: int, head: Head = Head()) -> None:
        self.name, self.classes, self.head = name, classes, head
        self.kind: Kind | None = None
        self.single = False

    def __call__(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Normalised (N, C, H, W) -> finite (N, classes) logits of the same dtype.

        Raises:
            ModelError: the network cannot run on such inputs, its output is not (N, classes),
                holds NaN or infinity, holds percentages, or may be either logits or probabilities.
            SettingError: it holds independent probabilities of several labels, and the head is not multilabel.
        """
        found = self._run(network, inputs)
        if found.is_meta or torch.compiler.is_compiling():  # there are no numbers to look at
            return self._scores(found, self.kind or "logits")
        self._require_finite(found)
        kind = self.kind
        if kind is None:
            kind, probed = self._decide(network, inputs, found)
            if probed:  # hooks on the network's layers must have seen these inputs last
                found = self._run(network, inputs)
        elif kind == "probabilities":
            self._require_probabilities(found)
        return self._scores(found, kind)

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
        labels = self._labels
        widths = (labels,) if labels else (1, 2) if self.classes == 2 else (self.classes,)
        found = scores_in(output, self.name, images, widths)
        self._require_width(found.shape[1])
        return found

    @property
    def _labels(self) -> int:
        """How many labels the network has; 0 where its classes exclude each other."""
        return self.head.labels or (self.classes if self.head.kind == "multilabel" else 0)

    def _require_width(self, width: int) -> None:
        if self._labels == 2 and width == 1:
            raise SettingError("head", f"must be binary: {self.name} returns one logit per image")
        if self._labels and width != self._labels:
            raise ModelError(f"{self.name} returns {width} logits per image and has {self._labels} labels")
        if self._labels:
            return
        if self.head.kind == "binary" and width != 1:
            raise SettingError("head", f"cannot be binary: {self.name} returns {width} logits per image, and not one")
        if width == 1 and self.classes != 2:
            raise ModelError(
                f"{self.name} returns a single logit per image, which decides between two categories, "
                f"and has {self.classes}: name both, the negative one first"
            )
        if width not in (1, self.classes):
            raise ModelError(f"{self.name} returns {width} logits per image and has {self.classes} categories")
        self.single = width == 1

    def _require_finite(self, found: Tensor) -> None:
        finite = found.isfinite()
        if not finite.all():
            bad = int((~finite.all(1)).sum())
            raise ModelError(
                f"{self.name} returns logits that are NaN or infinite for {bad} of {len(found)} images: its training "
                "has diverged, its weights are damaged, or its numbers overflow"
            )

    def _require_probabilities(self, found: Tensor) -> None:
        alone = self._labels or found.shape[1] == 1
        if not (_within(found, _LOOSE) if alone else _is_close(_total(found, _LOOSE), 1, _LOOSE)):
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
        if self._labels:
            return self._kind_of_labels(found, seen, last), True
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
            raise SettingError(
                "head",
                f"must be multilabel: {self.name} returns values between 0 and 1 that do not sum to 1, probabilities "
                "of several labels per image (a sigmoid per class)",
            )
        return self.kind, True

    def _kind_of_labels(self, found: Tensor, seen: Tensor, last: str) -> Kind:
        """What the values of several labels are, all of which lie between 0 and 1 for the images."""
        if last == "Softmax" or (last not in _BOUNDED and self._labels > 1 and _excluding(torch.cat([seen, found]))):
            raise SettingError(
                "head",
                f"must be softmax: the values that {self.name} returns always sum to 1: its classes exclude each other",
            )
        if last in _LINEAR or not len(seen) or not _within(seen, _STRICT):
            self.kind = "logits"
            return "logits"
        if last not in _BOUNDED and _is_constant(seen) and _between(seen).any():
            return "logits"  # so far: a sigmoid would saturate on the noise
        self.kind = "probabilities"
        return "probabilities"

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

    def _scores(self, found: Tensor, kind: Kind) -> Tensor:
        """What the network returns as logits of the head."""
        if self.head.label is not None:
            found = found[:, self.head.label, None]
        elif self._labels:
            return found if kind == "logits" else found.clamp(0, 1).logit(torch.finfo(found.dtype).eps)
        if found.shape[1] == 1:
            found = torch.cat([torch.zeros_like(found) if kind == "logits" else 1 - found, found], 1)
        logits = found if kind == "logits" else found.clamp_min(torch.finfo(found.dtype).tiny).log()
        if self.head.kind == "binary" and self.head.offset:
            logits = logits - logits.new_tensor([0.0, self.head.offset])
        return logits


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


def _between(values: Tensor) -> Tensor:
    """Which values are neither 0 nor 1, as those of a sigmoid that saturates are."""
    return (values > _LOOSE) & (values < 1 - _LOOSE)


def _excluding(rows: Tensor) -> bool:
    """Whether rows of shares that are not saturated all sum to 1; one such row, and saturated ones, may by chance."""
    undecided = rows[_between(rows).any(1)]
    return len(undecided) > 1 and _is_close(_total(undecided, _STRICT), 1, _STRICT)


def _is_close(value: float, wanted: float, error: float) -> bool:
    return abs(value - wanted) <= error * wanted


def _is_constant(rows: Tensor) -> bool:
    return not len(rows) or bool((rows - rows[:1]).abs().amax() < _STRICT)


def _last_operation(found: Tensor) -> str:
    """The operation, in autograd's words, that computed a tensor; "" where autograd does not say."""
    step: Any = found.grad_fn
    while step is not None:
        name = type(step).__name__.rstrip("0123456789").removesuffix("Backward")
        if name not in _RESHAPING:
            return name
        step = step.next_functions[0][0] if step.next_functions else None
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
