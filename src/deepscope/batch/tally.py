"""Statistics that are merged: those of a whole job are those of its parts, whatever the parts and their order."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from deepscope.statistics import Estimate

_UNIT = 2.0**40
"""Measured values are summed as whole multiples of 1 / 2^40: such sums are exact, and the same in every order."""
MOST = 12
"""Examples that are kept."""

Example = tuple[float, str, str, str]
"""How telling it is, the image's digest, its path, and what there is to say of it."""


@dataclass
class Tally:
    """Counts, sums and the most telling examples of some images.

    Attributes:
        counts: how many images something is true of.
        sums: number of values, their sum, and the sum of their squares, in whole units.
        examples: the most telling ones.
    """

    counts: dict[str, int] = field(default_factory=dict[str, int])
    sums: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    examples: list[Example] = field(default_factory=list[Example])

    def count(self, name: str, number: int = 1) -> None:
        """Count `number` more."""
        self.counts[name] = self.counts.get(name, 0) + int(number)

    def measure(self, name: str, value: float) -> None:
        """Add a measured value; one that is not finite is left out."""
        if math.isfinite(value):
            self._add(name, (1, round(value * _UNIT), round(value * value * _UNIT)))

    def example(self, telling: float, digest: bytes, path: object, text: str) -> None:
        """Keep an image if it is among the most telling ones; NaN has no place in the order, and is left out."""
        if not math.isnan(telling):
            self._keep([(float(telling), digest.hex(), str(path), text)])

    def add(self, other: Tally) -> None:
        """Merge the statistics of other images."""
        for name, number in other.counts.items():
            self.count(name, number)
        for name, numbers in other.sums.items():
            self._add(name, numbers)
        self._keep(other.examples)

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    def mean(self, name: str) -> Estimate:
        """A mean with its 95 % interval by the normal approximation; NaN where nothing was measured.

        The interval of a single value is infinite, as in `statistics.mean`.
        """
        number, total, squares = self.sums.get(name, (0, 0, 0))
        if not number:
            return Estimate(math.nan, math.nan, math.nan)
        value = total / number / _UNIT
        if number == 1:
            return Estimate(value, -math.inf, math.inf)
        variance = max(0.0, squares / number / _UNIT - value * value)
        half = NormalDist().inv_cdf(0.975) * math.sqrt(variance / (number - 1))
        return Estimate(value, value - half, value + half)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"counts": self.counts, "sums": self.sums, "examples": self.examples}

    @classmethod
    def from_json(cls, found: Any) -> Tally:
        """What `to_json` gave."""
        return cls(
            {str(name): int(number) for name, number in found["counts"].items()},
            {str(name): [int(number) for number in numbers] for name, numbers in found["sums"].items()},
            [(float(told), str(digest), str(path), str(text)) for told, digest, path, text in found["examples"]],
        )

    def _add(self, name: str, numbers: Iterable[int]) -> None:
        self.sums[name] = [a + b for a, b in zip(self.sums.get(name, [0, 0, 0]), numbers, strict=True)]

    def _keep(self, examples: Iterable[Example]) -> None:
        self.examples = heapq.nlargest(MOST, {*self.examples, *examples})
