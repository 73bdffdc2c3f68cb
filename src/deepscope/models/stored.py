"""A network in two files of a folder: JSON says what it is, safetensors holds its weights, and a digest ties them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from deepscope.devices import first_process
from deepscope.errors import DeepscopeError, FileError
from deepscope.files import matching, replace_together
from deepscope.models import documents
from deepscope.models.weights import checked
from deepscope.records import retire


@dataclass(frozen=True)
class Format:
    """A kind of saved network. Every description also names its format, its version and the digest of its weights.

    Attributes:
        kind: of network, in a word: "classifier".
        description: name of the JSON file.
        weights: name of the safetensors file.
        made_by: the command that writes one: "transfer fit".
        version: that is written, and the newest that is read.
        formerly: the format that took this one's place in an earlier release, which is still read.
    """

    kind: str
    description: str
    weights: str
    made_by: str
    version: int = 1
    formerly: Format | None = None

    @property
    def name(self) -> str:
        """What the description calls its format."""
        return f"deepscope-{self.kind}"

    def write(
        self,
        folder: Path,
        weights: Mapping[str, Tensor],
        about: Mapping[str, Any],
        *,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        """Write both files. Under `torchrun` the first process writes.

        A write that is killed leaves the earlier network or the new one. The result of an earlier command in the folder
        is removed, because it belongs to the earlier network.

        Args:
            folder: made where it does not exist.
            weights: tensors by name, on any device.
            about: the description, ready for JSON.
            forget: removes what else belongs to the earlier network; called right before it is replaced.

        Raises:
            OSError: the disk is full, say; the earlier network is left as it was.
        """
        if not first_process():
            return
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        said = {"format": self.name, "version": self.version, **about}
        replace_together(
            folder / self.weights,
            lambda path: path.write_bytes(safetensors.torch.save(tensors)),
            folder / self.description,
            lambda digest: json.dumps({**said, "weights_sha256": digest}, indent=1, ensure_ascii=False) + "\n",
            retire=lambda: (retire(folder), forget()),
        )
        if self.formerly:  # of an earlier network
            for name in (self.formerly.description, self.formerly.weights):
                (folder / name).unlink(missing_ok=True)

    def read(self, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The description, of which only format, version and digest have been checked, and the weights.

        Raises:
            FileError: a file is missing, damaged, changed, or of a newer version.
        """
        older = self.formerly
        if older and (folder / older.description).is_file() and not (folder / self.description).is_file():
            return older.read(folder)
        about = self.describe(folder)
        path = folder / self.weights
        found = matching(path, about.get("weights_sha256"))
        if found is None and not path.is_file():
            raise FileError(
                f"{folder} is not whole: {self.weights} is missing; copy the folder again, or {self._again}", path=path
            )
        if found is None:
            raise FileError(
                f"{path} is not the file that was saved: its SHA-256 differs from {self.description}'s", path=path
            )
        with self.building(folder):
            return about, checked(safetensors.torch.load_file(found))

    @contextmanager
    def building(self, folder: Path) -> Iterator[None]:
        """A block that builds a network from what was read: whatever goes wrong in it is a `FileError` in one line."""
        try:
            yield
        except DeepscopeError as error:
            text = str(error)
            raise FileError(text if str(folder) in text else f"{folder}: {text}", path=folder) from None
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            path = folder / self.description
            raise FileError(f"{path} does not describe its weights ({reason}): {self._again}", path=path) from None

    def describe(self, folder: Path) -> dict[str, Any]:
        """The description, of which only format and version have been checked.

        Raises:
            FileError: it is missing, damaged, or of a newer version.
        """
        path = folder / self.description
        if not path.is_file():
            raise FileError(
                f"{folder} holds no saved {self.kind}: {self.description} is missing; "
                f"`deepscope {self.made_by}` writes one",
                path=path,
            )
        try:
            about = documents.read(path)
        except (ValueError, OSError) as error:
            raise FileError(
                f"{path} cannot be read ({error}): copy the folder again, or {self._again}", path=path
            ) from None
        version = about.get("version") if isinstance(about, dict) else None
        if type(version) is not int or about.get("format") != self.name:
            raise FileError(
                f"{path} describes no {self.kind} of deepscope: name a folder that `deepscope {self.made_by}` wrote",
                path=path,
            )
        if version > self.version:
            raise FileError(
                f"{folder} was saved by a newer deepscope (format {version}, {self.version} here): upgrade deepscope",
                path=path,
            )
        return about

    @property
    def _again(self) -> str:
        return f"run `deepscope {self.made_by}` again"
