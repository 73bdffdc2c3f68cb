"""`run_shard`: a shard of images to one part, a pure function."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from deepscope.batch.job import Job, Run
from deepscope.batch.tally import Tally
from deepscope.devices import one_thread, repeatable
from deepscope.inputs import Given, Read, labelled_answers, read
from deepscope.inputs.given import Item
from deepscope.inputs.places import Place, opened, unpacked
from deepscope.inputs.truth import Known
from deepscope.models import VisionModel, load_model
from deepscope.session import Session

_READ = 32
"""Images that are read ahead."""
_REASONS = 12
"""Unreadable images that a part names in its statistics; its rows name all."""


@dataclass(frozen=True)
class Shard:
    """Consecutive images of a job, named and not read.

    Attributes:
        number: its place among the shards.
        count: its images.
        content: the images' places, packed.
        known: what their folders say of them.
    """

    number: int
    count: int
    content: bytes
    known: Known = Known({})

    @property
    def places(self) -> list[Place]:
        """Where the images lie."""
        return unpacked(self.content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the images' names, sizes and times, and of what is known of them."""
        said = json.dumps(dict(self.known.folders), sort_keys=True)
        return hashlib.sha256(zlib.decompress(self.content) + said.encode()).hexdigest()


@dataclass
class Part:
    """What was computed of a shard.

    Attributes:
        columns: one value per row, by column: path, sha256, error, and those of the job.
        tally: statistics of the images, with the counts "images" and "skipped".
        skipped: the first images that could not be read, and why.
    """

    columns: dict[str, list[Any]]
    tally: Tally = field(default_factory=Tally)
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @classmethod
    def of(cls, job: Job) -> Part:
        """An empty part."""
        return cls({name: [] for name in ("path", "sha256", "error", *job.columns())})

    def take(self, batch: Read, run: Run) -> None:
        """Add the rows of a batch of images."""
        for one in batch.skipped:
            self._row(one.path, None, one.reason, {})
            self.tally.count("skipped")
            self.skipped += [(one.path, one.reason)][: _REASONS - len(self.skipped)]
        if not batch.rows:
            return
        rows = run(batch)
        self.tally.count("images", len(batch.rows))
        self.tally.add(rows.tally)
        for place, image in enumerate(rows.images):
            values = {name: column[place] for name, column in rows.columns.items()}
            self._row(str(batch.paths[image]), batch.digests[image].hex(), None, values)

    def _row(self, path: str, digest: str | None, error: str | None, values: Mapping[str, Any]) -> None:
        row = {"path": path, "sha256": digest, "error": error, **values}
        for name, column in self.columns.items():
            column.append(row.get(name))


@dataclass(frozen=True)
class OpenJob:
    """A job whose model is loaded.

    Attributes:
        job: what is computed.
        model: the classifier.
        session: device, precision and seed.
        run: computes a batch.
    """

    job: Job
    model: VisionModel
    session: Session
    run: Run

    @classmethod
    def of(cls, job: Job, session: Session, model: VisionModel | None = None) -> OpenJob:
        """Load the model, unless it is given, and prepare it.

        Raises:
            DeepscopeError: a setting or the model cannot be used.
        """
        if session.device.type == "cuda":
            repeatable()
        quiet = replace(session, quiet=True)
        model = model or load_model(job.model, session)
        with one_thread():
            return cls(job, model, quiet, job.open(model, quiet))


def run_shard(opened: OpenJob, shard: Shard) -> Part:
    """Compute a shard. The part depends on its images, the job, the model and the seed, and on nothing else.

    It runs in one thread: with several, a network's last digits depend on their number.

    Raises:
        FileError: a tar file or a table is damaged, or the machine cannot read any more.
    """
    part, model = Part.of(opened.job), opened.model
    given = Given(_labelled(model, shard))
    with one_thread():
        for batch in read(model, given, opened.session, batch_size=_READ):
            part.take(batch, opened.run)
    return part


def _labelled(model: VisionModel, shard: Shard) -> Iterator[Item]:
    """The images, each with the classes that are right answers."""
    by_wnid = {wnid: index for index, wnid in enumerate(model.wnids)}
    meant = cache(lambda label: labelled_answers(model, [label])[0])
    for place, (source, label) in zip(shard.places, opened(shard.places), strict=True):
        answer, folder = None, None if place.name else shard.known.class_folder(place.path)
        named = folder if label is None or isinstance(label, tuple) else str(label)
        if isinstance(label, tuple):
            answer = _shown(model, [meant(one) for one in label])
        elif model.head.kind != "multilabel":  # one class is not all that an image of several labels shows
            answer = shard.known.answer(place.path, by_wnid) if label is None and not place.name else None
            answer = answer if label is None else meant(label)
        yield Item(source, place.path, answer, named)


def _shown(model: VisionModel, answers: Sequence[frozenset[int]]) -> frozenset[int] | None:
    """The classes of an image with several labels; None where a model of several labels does not know one of them."""
    if model.head.kind == "multilabel" and not all(answers):
        return None
    return frozenset[int]().union(*answers)
