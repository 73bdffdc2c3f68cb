"""Comparing names as people type them."""

from __future__ import annotations


def plain(text: str) -> str:
    """A name without case, and with spaces where it has hyphens or underscores: `Bee_eater` -> `bee eater`."""
    return " ".join(text.casefold().replace("_", " ").replace("-", " ").split())
