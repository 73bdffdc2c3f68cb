"""Words of kept results: numbers are cut to their intervals."""

from __future__ import annotations

import re

from deepscope.statistics import Estimate

_INTERVAL = re.compile(r"(?<![\w.])([-+]?\d+\.\d+) \[([-+]?\d+\.\d+), ([-+]?\d+\.\d+)\](?!\d)")


def supported(text: str) -> str:
    """Figures with the digits that their intervals support: "24 [-27, 75]" for "23.940 [-27.441, 75.322]".

    No figure gets more digits than it has.
    """
    return _INTERVAL.sub(_cut, text)


def _cut(found: re.Match[str]) -> str:
    value, low, high = found.groups()
    written = min(len(part.partition(".")[2]) for part in found.groups())
    places = min(written, Estimate(float(value), float(low), float(high)).decimals())
    first, *ends = (f"{round(float(part), places) + 0.0:{'+' * (part[0] == '+')}.{places}f}" for part in found.groups())
    return f"{first} [{', '.join(ends)}]"
