"""What the scores of a class layer mean: here alone scores become probabilities, and targets become objectives."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.errors import SettingError
from deepscope.models import documents
from deepscope.names import Names

HeadKind = Literal["softmax", "multilabel", "binary", "features"]
"""Classes that exclude each other; labels of which an image may have several; one logit for two classes; none."""

BINARY = ("negative", "positive")
"""Names of the two classes of a binary head, where nothing names them."""
_THRESHOLD = 0.5


@dataclass(frozen=True)
class Head:
    """What the scores of a network mean.

    Attributes:
        kind: "softmax", "multilabel", "binary" or "features".
        thresholds: probabilities above which a label is predicted: one per label of a multilabel head, one for the
            positive class of a binary head; empty for 0.5.
        label: the label that this binary head reads of a network with several; see `VisionModel.for_label`.
        labels: how many labels that network has.
        abstain_below: the confidence below which the classifier gives no answer; 0 where it answers always.
    """

    kind: HeadKind = "softmax"
    thresholds: tuple[float, ...] = ()
    label: int | None = None
    labels: int = 0
    abstain_below: float = field(default=0.0, repr=False)  # no part of what the scores mean

    def __post_init__(self) -> None:
        if self.kind not in get_args(HeadKind):
            raise SettingError("head", f"must be {', '.join(get_args(HeadKind)[:-1])} or features", got=self.kind)
        if self.thresholds and self.kind not in ("multilabel", "binary"):
            raise SettingError("thresholds", f"are for multilabel and binary heads, and this head is {self.kind}")
        if not all(0 < threshold < 1 for threshold in self.thresholds):
            raise SettingError("thresholds", "must lie between 0 and 1", got=", ".join(map(str, self.thresholds)))
        if not 0 <= self.abstain_below <= 1:
            raise SettingError("abstain_below", "must be a confidence from 0 to 1", got=self.abstain_below)
        if self.abstain_below and self.kind not in ("softmax", "binary"):
            raise SettingError("abstain_below", f"is for models of one class per image, and this head is {self.kind}")

    def threshold(self, label: int) -> float:
        """The probability above which a label, or the positive class, is predicted."""
        if not self.thresholds:
            return _THRESHOLD
        return self.thresholds[label if self.kind == "multilabel" else 0]

    @property
    def offset(self) -> float:
        """The logit at the threshold of a binary head."""
        threshold = self.threshold(0)
        return math.log(threshold / (1 - threshold))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, C) logits -> (N, C) probabilities. Those of a multilabel head are independent of each other."""
        return logits.sigmoid() if self.kind == "multilabel" else self._own(logits).softmax(1)

    def log_probability(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N,) the logarithms of the probabilities of the classes (N,), exact where a probability rounds to 0 or 1."""
        found = functional.logsigmoid(logits) if self.kind == "multilabel" else self._own(logits).log_softmax(1)
        return _of(found, classes)

    def objective(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N,) what is explained or maximised for the classes (N,): their logits.

        A binary head has one logit, which is that of the positive class; that of the negative class is its negative.
        """
        own = _of(logits, classes)
        if self.kind != "binary":
            return own
        return own - _of(logits, 1 - classes) + self.offset * (2 * classes - 1).to(logits)

    def predictions(self, logits: Tensor) -> Tensor:
        """(N, C) bool: the labels above their thresholds; without a multilabel head, the one class of each image."""
        if self.kind == "multilabel":
            return logits.sigmoid() > logits.new_tensor(self.thresholds or (_THRESHOLD,))
        return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, logits.argmax(1, keepdim=True), True)

    def _own(self, logits: Tensor) -> Tensor:
        """The network's own logits: those of a binary head are given relative to its threshold."""
        if self.kind != "binary" or not self.offset:
            return logits
        return logits + logits.new_tensor([0.0, self.offset])


def _of(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes[:, None])[:, 0]


Thresholds = float | str | Mapping[str, float] | Sequence[float] | None
"""One probability for all labels, one per label, or some by name: a mapping, or a text such as "cat=0.3, dog=0.6"."""


def head_of(kind: str, thresholds: Thresholds, categories: Sequence[str]) -> Head:
    """The head of that kind, with a threshold for each of the categories.

    Raises:
        SettingError: there is no such kind, it does not fit the categories, or a threshold is out of range.
    """
    head = Head(cast(HeadKind, kind))
    if head.kind == "binary" and len(categories) != 2:
        raise SettingError("head", f"cannot be binary: there are {len(categories)} classes, and one logit decides on 2")
    return Head(head.kind, _read(thresholds, categories[-1:] if head.kind == "binary" else categories))


def _read(given: Thresholds, labels: Sequence[str]) -> tuple[float, ...]:
    text = in_words(given)
    if not text:
        return ()
    found = _parsed(text)
    if isinstance(found, Mapping):
        return _named(found, labels)
    values = tuple(found) if isinstance(found, list) else (found,) * len(labels)
    if not all(isinstance(value, (int, float)) for value in values):
        raise SettingError("thresholds", "must be numbers", got=text[:80])
    if len(values) != len(labels):
        raise SettingError("thresholds", f"must be one number, or {len(labels)}, one per label", got=len(values))
    return tuple(map(float, values))


def _parsed(text: str) -> float | list[float] | dict[str, float]:
    """A text as a person writes it: "0.3", "cat=0.3, dog=0.6", or JSON."""
    try:
        if text.lstrip().startswith(("{", "[")):
            return documents.parse(text)
        if "=" not in text:
            values = [float(part) for part in text.split(",")]
            return values[0] if len(values) == 1 else values
        pairs = [part.rpartition("=") for part in text.split(",")]
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        problem = "must be a probability, one per label, or pairs such as 'cat=0.3, dog=0.6'"
        raise SettingError("thresholds", problem, got=text[:80]) from None


def _named(given: Mapping[str, float], labels: Sequence[str]) -> tuple[float, ...]:
    known, values = Names(labels), [_THRESHOLD] * len(labels)
    for name, value in given.items():
        places = known.places(str(name))
        if len(places) != 1:
            what = "the name of several labels" if places else "not a label"
            raise SettingError("thresholds", f"name {str(name)[:60]!r}, which is {what}")
        if not isinstance(value, (int, float)):
            raise SettingError("thresholds", f"must be numbers; that of {str(name)[:60]!r} is {str(value)[:60]!r}")
        values[places[0]] = float(value)
    return tuple(values)


def in_words(thresholds: Thresholds) -> str:
    """Thresholds as a text that `head_of` reads."""
    if thresholds is None or isinstance(thresholds, str):
        return thresholds or ""
    try:
        if isinstance(thresholds, Mapping):
            return json.dumps({str(name): float(value) for name, value in thresholds.items()})
        if isinstance(thresholds, (int, float)):
            return str(float(thresholds))
        return json.dumps([float(value) for value in thresholds])
    except (TypeError, ValueError):
        raise SettingError("thresholds", "must be numbers", got=str(cast(Any, thresholds))[:80]) from None
