"""`settings.check`: the numbers of a dataclass are of the kind, and in the range, that its types declare."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from deepscope.errors import SettingError
from deepscope.settings import Count, Share, check


@dataclass(frozen=True)
class Settings:
    count: Count = 1
    limit: Count | None = None
    share: Share | None = 0.5
    side: int | str = 8
    scale: int | float = 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"limit": 3},
        {"limit": np.int64(3)},
        {"share": None},
        {"share": 1},
        {"share": np.float32(0.5)},
        {"side": "any"},
        {"scale": 0.5},
    ],
)
def test_numbers_of_the_declared_kind_pass(changes: dict[str, Any]) -> None:
    check(replace(Settings(), **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 1.5}, "count must be a whole number (got 1.5)"),
        ({"count": None}, "count must be a whole number (got None)"),
        ({"limit": 1.5}, "limit must be a whole number (got 1.5)"),
        ({"limit": "3"}, "limit must be a whole number (got '3')"),
        ({"limit": True}, "limit must be a whole number (got True)"),
        ({"limit": 0}, "limit 0 is out of range"),
        ({"share": "half"}, "share must be a number (got 'half')"),
        ({"scale": "1"}, "scale must be a whole number or a number (got '1')"),
    ],
)
def test_others_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        check(replace(Settings(), **changes))
