"""`Summary`: what a job in parts found, without its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscope.batch.job import Job
from deepscope.batch.tally import Tally
from deepscope.models import VisionModel
from deepscope.render import Presented


@dataclass(frozen=True, eq=False)
class Summary(Presented):
    """A job whose parts are all finished.

    Attributes:
        job: what was computed.
        model: the classifier.
        folder: where the parts are, one Parquet file per shard.
        files: their names.
        tally: the statistics of all images, with the counts "images" and "skipped".
        skipped: the first images that could not be read, and why.
        computed: parts that were computed now; the others were finished before.
        digest: SHA-256 over the names of the parts, which carry the digests of their bytes.
    """

    job: Job
    model: VisionModel
    folder: Path
    files: tuple[str, ...]
    tally: Tally
    skipped: tuple[tuple[str, str], ...]
    computed: int
    digest: str

    def __len__(self) -> int:
        return self.tally["images"]

    @property
    def metrics(self) -> Mapping[str, float]:
        """The figures of the whole job."""
        counts = {"images": self.tally["images"], "skipped": self.tally["skipped"], "parts": len(self.files)}
        return {**counts, **self.job.metrics(self.tally)}

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per example: the most telling images. All rows are in the Parquet files."""
        found = self.tally.examples
        return {
            "image": [path for _, _, path, _ in found],
            "sha256": [digest for _, digest, _, _ in found],
            "finding": [text for *_, text in found],
            "telling": [score for score, *_ in found],
        }
