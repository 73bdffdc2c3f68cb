"""`deepscope data corrupt`: damaged copies of images, to see what a classifier makes of them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope import images
from deepscope.commands.command import Command
from deepscope.commands.output import refuse_data
from deepscope.commands.shown import missing, provenance, skipped_blocks, thumbnail
from deepscope.data import ClassFolders, DigitSplit, load_any
from deepscope.data.corruptions import Corruption, GaussianNoise, write_corrupted
from deepscope.errors import DeepscopeError
from deepscope.results import ImageGrid, Note, Result
from deepscope.session import Session


@dataclass(frozen=True)
class DataCorrupt(Command):
    """Write damaged copies of images: noise, blur, lost contrast, and so on, at the strengths of ImageNet-C.

    Class folders and train and test folders are kept, so that the copies can be given wherever the images can: to
    `classify`, to `check`, or as the target of `adapt fit`. Shorter sides above 256 pixels shrink to that, the size
    the strengths are made for.

    Attributes:
        data: a folder of images, with class folders or not; or a dataset's name.
        corruption: what happens to the images.
        figures: how many images the figure shows, at most.
    """

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "corrupt"
    example: ClassVar[str] = "deepscope data corrupt gaussian-blur my-photos/ --severity 4 --out blurred/"

    data: str
    _: KW_ONLY
    corruption: Corruption = GaussianNoise()
    figures: int = 4

    def run(self, session: Session) -> Result:
        """Damage every image that can be read."""
        if session.out is None:
            raise DeepscopeError("the damaged copies need a folder: name one with --out")
        refuse_data(session.out, self, session)
        found = load_any(self.data, session)
        if isinstance(found, DigitSplit):
            raise DeepscopeError(f"{self.data} holds digits, not image files: give a folder of images")
        paths = found.everything.paths if isinstance(found, ClassFolders) else found.paths
        folder = session.out / "images"
        unreadable = write_corrupted(paths, self.corruption, folder, session)
        bad = {item.path for item in unreadable}
        kept = [path for path in paths if str(path) not in bad]
        skipped = (*found.skipped, *unreadable)
        return Result(
            title=f"{len(kept)} images after {self.corruption.name} of severity {self.corruption.severity}",
            metrics={"images": len(kept), "skipped": len(skipped)},
            blocks=(
                Note(f"The copies are in {folder}: give that folder to any command.", "Saved"),
                *self._figure(kept, session),
                *skipped_blocks(skipped),
            ),
            provenance=provenance([], kept),
        )

    def _figure(self, paths: list[Path], session: Session) -> list[ImageGrid]:
        """Images from the whole list, each beside all severities of the corruption."""
        shown = [paths[row] for row in np.linspace(0, len(paths) - 1, min(self.figures, len(paths))).astype(int)]
        grades = [
            replace(self.corruption, severity=place) for place, _ in enumerate(self.corruption.strengths, start=1)
        ]
        rows = []
        for path in shown:
            try:
                image = images.decode(path)
            except images.UnreadableImage:  # gone since its copy was written
                rows.append((missing(caption=path.name), *(missing() for _ in grades)))
                continue
            damaged = [grade(image, session.rng("figure", grade.name)) for grade in grades]
            rows.append((thumbnail(image, caption=path.name), *map(thumbnail, damaged)))
        headings = ("image", *(f"severity {grade.severity}" for grade in grades))
        return [ImageGrid(tuple(rows), f"What {self.corruption.name} does", columns=headings)] if rows else []
