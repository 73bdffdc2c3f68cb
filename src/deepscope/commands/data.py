"""`deepscope data`: list and download datasets, and audit folders of images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.data import Dataset
from deepscope.data.audit import NEAR, audit
from deepscope.data.download import get
from deepscope.errors import UnsupportedError, unknown
from deepscope.presenters.data import present
from deepscope.results import Column, Note, Result, Table
from deepscope.session import Session


@dataclass(frozen=True)
class DataList(Command):
    """List the datasets: content, whether they are installed, and how to get them."""

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "list"
    example: ClassVar[str] = "deepscope data list"

    def run(self, session: Session) -> Result:
        """See which files are installed."""
        datasets = list(Dataset.members().values())
        lacks = {dataset.name: dataset.missing(session.home) for dataset in datasets}
        rows = tuple((d.name, d.summary, d.holds, "no" if lacks[d.name] else "yes") for d in datasets)
        columns = tuple(Column(name) for name in ("dataset", "what", "holds", "here"))
        licences = tuple((d.name, d.licence) for d in datasets)
        return Result(
            title="Datasets",
            metrics={"datasets": len(rows), "here": sum(not missing for missing in lacks.values())},
            blocks=(
                Table(columns, rows, caption=f"Data is in {session.home / 'data'}."),
                *(Note(f"{name}: {missing}.", "Not installed") for name, missing in lacks.items() if missing),
                Table((Column("dataset"), Column("licence")), licences, title="Licences"),
                Note("For your own images, give a folder with one folder of images per class."),
            ),
        )


@dataclass(frozen=True)
class DataGet(Command):
    """Download a dataset into the home folder, with resumption and SHA-256 verification.

    Attributes:
        dataset: any name that `deepscope data list` says can be downloaded.
    """

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "get"
    example: ClassVar[str] = "deepscope data get mnist"

    dataset: str

    def run(self, session: Session) -> Result:
        """Get each of the dataset's files."""
        if self.dataset not in Dataset.members():
            raise unknown("dataset", self.dataset, Dataset.members(), listing="`deepscope data list`")
        dataset = Dataset.member(self.dataset)
        if not dataset.sources:
            raise UnsupportedError(
                f"{dataset.name} comes with deepscope: there is nothing to download", what=dataset.name
            )
        got = [get(source, session) for source in dataset.sources]
        rows = tuple((str(item.path), item.checked, item.sha256 or None) for item in got)
        return Result(
            title=f"{dataset.name} is installed",
            metrics={"files": len(rows)},
            blocks=(
                Table((Column("path"), Column("checked"), Column("SHA-256")), rows),
                Note(f"{dataset.licence}.", "Licence"),
            ),
        )


@dataclass(frozen=True)
class DataAudit(Command):
    """Audit a folder of images: corrupt files, copies, near-copies, and leaks from train to test.

    Splits and classes are read from the folders' names: FOLDER/CLASS/..., or FOLDER/train/CLASS/... with test or val
    beside train. Of several exact copies, one is kept and the others are listed with it.

    Attributes:
        folder: folder to audit, with all subfolders.
        near: most bits of the 255-bit perceptual hash in which near-copies differ; 0 finds only the closest.
        figures: most pairs that the figure shows.
    """

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "audit"
    example: ClassVar[str] = "deepscope data audit my-photos/ --out audit/"

    folder: Path
    _: KW_ONLY
    near: int = NEAR
    figures: int = 8

    def run(self, session: Session) -> Result:
        """Audit every image."""
        return present(audit(self.folder, session, near=self.near, figures=self.figures))
