"""Images below an address of fsspec, such as `s3://bucket/photos`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from deepscope import addresses, images
from deepscope.errors import FileError
from deepscope.inputs.container import Container, Inside, Label


class RemoteFolder(Container):
    """A folder of images; the folder directly below it that an image is in names its class."""

    suffix: ClassVar[str] = ""

    def entries(self, path: Path) -> Iterator[tuple[str, int, int, Label]]:
        """Each image; what is hidden is passed over. Of the address of a single image, that image."""
        suffixes = images.suffixes()
        for name, size in addresses.below(path):
            *folders, last = name.split("/")
            if Path(last).suffix.lower() in suffixes and not any(part.startswith(".") for part in (*folders, last)):
                yield name, 0, size, folders[0] if folders else None

    def contents(self, path: Path, inside: Sequence[Inside]) -> Iterator[tuple[bytes, Label]]:
        """Each image's bytes, as they are now."""
        for one in inside:
            try:
                yield addresses.content(path / one.name), None
            except OSError as error:
                name = f"{path / one.name}"
                raise FileError(f"{name} cannot be read ({error}): run the same command again", path=name) from None
