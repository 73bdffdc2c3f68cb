"""Passes that are watched: every batch is reported with its rows, and a watcher ends the computation."""

from __future__ import annotations

import pytest

from deepscope.models.batching import batches, watched


def _rows(size: int = 4) -> list[tuple[slice, int]]:
    return list(batches(10, lambda rows: rows.stop - rows.start, size=size))


def test_every_batch_is_reported_with_all_rows() -> None:
    seen = list[tuple[int, int]]()
    with watched(lambda rows, total: seen.append((rows, total))):
        found = _rows()
    assert seen == [(4, 10), (4, 10), (2, 10)] == [(count, 10) for _, count in found]
    _rows()
    assert len(seen) == 3, "nobody watches any more"


def test_what_a_watcher_raises_ends_the_computation() -> None:
    seen = list[int]()

    def stop(rows: int, total: int) -> None:
        seen.append(rows)
        raise KeyError

    with pytest.raises(KeyError), watched(stop):
        _rows()
    assert seen == [4]
