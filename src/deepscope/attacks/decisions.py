"""What attacks that see decisions alone share: a first success among noise, moved to the boundary by bisection."""

from __future__ import annotations

from deepscope.errors import SettingError

BISECTIONS = 10
"""Queries of a bisection between an original and a success."""


def require_queries(queries: int, starts: int) -> None:
    """Raises SettingError where the queries are spent before the first bisection is done."""
    if queries <= (needed := starts + BISECTIONS):
        problem = f"must be more than {needed}: {starts} for {{starts}}, {BISECTIONS} for the first bisection"
        raise SettingError("queries", problem, got=queries)
