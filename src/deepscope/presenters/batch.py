"""How the summary of a job in parts is shown, whatever the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepscope.batch import Job, Sharding, Summary, run
from deepscope.batch.parts import FOLDER
from deepscope.images import Skipped
from deepscope.names import counted
from deepscope.presenters.shown import skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, Note, Provenance, Result, Table
from deepscope.session import Session


def in_parts(
    job: Job, named: Sequence[str | Path], settings: Mapping[str, Any], session: Session, *, limit: int | None = None
) -> Result:
    """Run a job in parts, and show its summary.

    Args:
        job: what is computed.
        named: the images.
        settings: those of `Sharding` that a person gave.
        session: how.
        limit: most images, drawn at random.
    """
    return present(run(job, named, session, sharding=Sharding(**settings), limit=limit))


@presents(Summary)
def present(found: Summary) -> Result:
    """The figures of all images, where the rows are, and the most telling images."""
    count, parts = len(found), len(found.files)
    metrics = found.metrics
    return Result(
        title=f"{found.job.name} with {found.model.name} on {counted(count, 'image')}",
        metrics=metrics,
        blocks=(
            Note(
                f"{counted(parts, 'Parquet file')} in {FOLDER}/, one row per image or more: pandas, "
                f"DuckDB and Spark read them together as {FOLDER}/*.parquet. {found.computed} of them "
                f"{'was' if found.computed == 1 else 'were'} computed now.",
                "Parts",
            ),
            _figures(metrics),
            *_examples(found),
            *_skipped(found),
        ),
        provenance=origin_of(found),
    )


def origin_of(found: Summary) -> Provenance:
    """What was used: the data's digest covers the names of the parts, which carry the digests of their bytes."""
    count, parts = len(found), len(found.files)
    return Provenance(
        models={found.model.name: found.model.fingerprint},
        data=f"{counted(count, 'image')} in {counted(parts, 'part')}, sha256 {found.digest}",
        sha256=found.digest,
    )


def _figures(metrics: Mapping[str, float]) -> Table:
    rows = tuple(
        (name, value, metrics.get(f"{name}/low", ""), metrics.get(f"{name}/high", ""))
        for name, value in metrics.items()
        if not name.endswith(("/low", "/high"))
    )
    columns = (Column("figure"), *(Column(name, ".4g") for name in ("value", "95 % from", "to")))
    return Table(columns, rows, title="All images")


def _examples(found: Summary) -> tuple[Block, ...]:
    own = found.columns()
    rows = tuple((Path(path).name, text) for path, text in zip(own["image"], own["finding"]))
    return (Table((Column("image"), Column("finding")), rows, title=found.job.telling()),) if rows else ()


def _skipped(found: Summary) -> tuple[Block, ...]:
    number = found.tally["skipped"]
    if not number:
        return ()
    _, table = skipped_blocks([Skipped(path, reason) for path, reason in found.skipped])
    text = f"{counted(number, 'input')} could not be read; their rows have an error. The first ones:"
    return (Note(text, "Skipped", "warning"), table)
