"""`deepscope data`: list and download datasets, and audit folders of images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.data.audit import NEAR, audit
from deepscope.data.listing import install_dataset, list_datasets
from deepscope.presenters.data import present, present_installed, present_list
from deepscope.results import Result
from deepscope.session import Session


@dataclass(frozen=True)
class DataList(Command):
    """List the datasets: content, whether they are installed, and how to get them."""

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "list"
    example: ClassVar[str] = "deepscope data list"

    def run(self, session: Session) -> Result:
        """See which files are installed."""
        return present_list(list_datasets(session))


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
        return present_installed(install_dataset(self.dataset, session))


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
