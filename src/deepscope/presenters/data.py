"""How the results of `deepscope data` are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepscope.data.audit import Audit, Pair
from deepscope.data.fingerprint import BITS
from deepscope.data.listing import DatasetList, InstalledDataset
from deepscope.names import counted, short
from deepscope.presenters.shown import missing, skipped_blocks, thumbnail
from deepscope.render import presents
from deepscope.results import Block, Column, ImageGrid, Note, Picture, Provenance, Result, Table


@presents(DatasetList)
def present_list(found: DatasetList) -> Result:
    """A table of the datasets, how to get those that are missing, and their licences."""
    lacks = dict(zip((dataset.name for dataset in found.datasets), found.missing, strict=True))
    rows = tuple((d.name, d.summary, d.holds, "no" if lacks[d.name] else "yes") for d in found.datasets)
    licences = tuple((d.name, d.licence) for d in found.datasets)
    return Result(
        title="Datasets",
        metrics={"datasets": len(found), "here": sum(not missing for missing in found.missing)},
        blocks=(
            Table(
                tuple(Column(name) for name in ("dataset", "what", "holds", "here")),
                rows,
                caption=f"Data is in {found.home / 'data'}.",
            ),
            *(Note(f"{name}: {missing}.", "Not installed") for name, missing in lacks.items() if missing),
            Table((Column("dataset"), Column("licence")), licences, title="Licences"),
            Note("For your own images, give a folder with one folder of images per class."),
        ),
    )


@presents(InstalledDataset)
def present_installed(found: InstalledDataset) -> Result:
    """A row per file, and the licence."""
    rows = tuple((str(file.path), file.checked, file.sha256 or None) for file in found.files)
    return Result(
        title=f"{found.dataset.name} is installed",
        metrics={"files": len(rows)},
        blocks=(
            Table((Column("path"), Column("checked"), Column("SHA-256")), rows),
            Note(f"{found.dataset.licence}.", "Licence"),
        ),
    )


@presents(Audit)
def present(found: Audit) -> Result:
    """The problems found, and how to fix them."""
    exact, near = found.worst[: len(found.exact)], found.worst[len(found.exact) :]
    return Result(
        title=f"Audit of {short(str(found.root))}: {counted(found.images + len(found.corrupt), 'image')}",
        metrics={
            "images": found.images,
            "corrupt": len(found.corrupt),
            "duplicates/exact": len(exact),
            "duplicates/exact-across-splits": sum(pair.across_splits for pair in exact),
            "duplicates/exact-across-classes": sum(pair.across_classes for pair in exact),
            "duplicates/near": len(near),
            "duplicates/near-across-splits": sum(pair.across_splits for pair in near),
            "duplicates/near-across-classes": sum(pair.across_classes for pair in near),
        },
        blocks=(*_advice(found), *_tables(exact, near), *skipped_blocks(found.corrupt), *_figure(found)),
        provenance=Provenance(data=f"{counted(found.images, 'image')}, sha256 {found.sha256}"),
    )


def _advice(found: Audit) -> list[Block]:
    """What to do, worst first."""
    notes: list[Block] = []
    if mislabelled := [pair for pair in found.exact if pair.across_classes]:
        first = f"{mislabelled[0].first} and {mislabelled[0].second}"
        more = f" (and {len(mislabelled) - 1} more pairs in the table)" if len(mislabelled) > 1 else ""
        text = f"{first}{more} are the same image in two classes: one label is wrong. Remove one."
        notes.append(Note(text, "One image, two classes", "warning"))
    if leaked := len(found.leaked):
        text = (
            f"{leaked} held-out {'images are' if leaked > 1 else 'image is'} in the training folder too: accuracy on "
            "them measures memory. Remove them from the held-out images, or report accuracy with and without them."
        )
        notes.append(Note(text, "Train and test share images", "warning"))
    if within := sum(not pair.across_splits for pair in found.exact):
        are = "copies are" if within > 1 else "copy is"
        text = f"{within} {are} in the same split as the original and count twice: remove them."
        notes.append(Note(text, "Copies"))
    if near := sum(pair.across_splits for pair in found.near):
        text = f"{near} pair{'s' if near > 1 else ''} of near-copies cross the splits: inspect the figure, then decide."
        notes.append(Note(text, "Near-copies across the splits", "warning"))
    if not (found.exact or found.near or found.corrupt):
        notes.append(Note("No corrupt file, no copy, no near-copy.", level="verdict"))
    return notes


def _tables(exact: Sequence[Pair], near: Sequence[Pair]) -> list[Block]:
    def crossed(pair: Pair) -> str:
        return ", ".join(
            name for name, yes in (("classes", pair.across_classes), ("splits", pair.across_splits)) if yes
        )

    names = Column("keep"), Column("copy"), Column("crosses")
    blocks: list[Block] = []
    if exact:
        rows = tuple((str(pair.first), str(pair.second), crossed(pair), pair.same) for pair in exact)
        blocks.append(Table((*names, Column("same")), rows, title="Exact copies"))
    if near:
        rows = tuple((str(pair.first), str(pair.second), crossed(pair), pair.distance) for pair in near)
        caption = (
            f"Distance: bits in which the perceptual hashes differ, of {BITS}; unrelated images differ in about 120."
        )
        columns = Column("one"), Column("other"), Column("crosses"), Column("distance", "d")
        blocks.append(Table(columns, rows, title="Near-copies", caption=caption))
    return blocks


def _figure(found: Audit) -> list[Block]:
    shown = [pair for pair in found.worst if {pair.first, pair.second} <= found.pictures.keys()]
    if not shown:
        return []
    left_out = f"; the worst {len(shown)} of {len(found.worst)} pairs" if len(shown) < len(found.worst) else ""
    rows = tuple((_picture(found, pair.first), _picture(found, pair.second)) for pair in shown)
    return [ImageGrid(rows, title="Copies and near-copies", caption=f"One pair per row{left_out}.")]


def _picture(found: Audit, path: Path) -> Picture:
    image = found.pictures[path]
    return missing(caption=str(path)) if image is None else thumbnail(image, caption=str(path))
