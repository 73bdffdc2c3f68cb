"""The small networks and pictures that tests of transfer use, too."""

from __future__ import annotations

from transfer.conftest import pictures, session, tiny

__all__ = ["pictures", "session", "tiny"]
