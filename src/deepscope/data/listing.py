"""The named datasets: what there is, what is installed, and how to install one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscope.data.dataset import Dataset
from deepscope.data.download import Got, get
from deepscope.errors import UnsupportedError, unknown
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class DatasetList(Presented):
    """Every named dataset.

    Attributes:
        home: the folder whose `data` holds them.
        datasets: in the order of their names.
        missing: of each, how to get what is missing; empty where it is installed.
    """

    home: Path
    datasets: tuple[type[Dataset], ...]
    missing: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.datasets)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per dataset."""
        return {
            "dataset": [dataset.name for dataset in self.datasets],
            "what": [dataset.summary for dataset in self.datasets],
            "holds": [dataset.holds for dataset in self.datasets],
            "here": [not missing for missing in self.missing],
            "licence": [dataset.licence for dataset in self.datasets],
        }


@dataclass(frozen=True, eq=False)
class InstalledDataset(Presented):
    """A dataset that is installed.

    Attributes:
        dataset: which.
        files: its files and folders, and how each was checked.
    """

    dataset: type[Dataset]
    files: tuple[Got, ...]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per file or folder."""
        return {
            "path": [file.path for file in self.files],
            "checked": [file.checked for file in self.files],
            "sha256": [file.sha256 for file in self.files],
        }


def list_datasets(session: Session) -> DatasetList:
    """See which datasets there are, and which are installed in the session's home."""
    datasets = tuple(Dataset.members().values())
    return DatasetList(session.home, datasets, tuple(dataset.missing(session.home) for dataset in datasets))


def install_dataset(name: str, session: Session) -> InstalledDataset:
    """Download what a dataset lacks into the session's home, and verify it.

    Raises:
        DataError: no dataset has that name.
        UnsupportedError: it comes with the package.
        FileError: a file cannot be downloaded, or is not the published one.
    """
    if name not in Dataset.members():
        raise unknown("dataset", name, Dataset.members(), listing="`deepscope data list`")
    dataset = Dataset.member(name)
    if not dataset.sources:
        raise UnsupportedError(f"{dataset.name} comes with deepscope: there is nothing to download", what=dataset.name)
    return InstalledDataset(dataset, tuple(get(source, session) for source in dataset.sources))
