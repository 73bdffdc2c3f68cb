"""`deepscope data corrupt`: corrupted copies of images, to measure a classifier on."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.commands.command import Command
from deepscope.commands.output import refuse_data
from deepscope.commands.shown import missing, origin, skipped_blocks, thumbnail
from deepscope.data.corrupt import Corrupted, corrupt
from deepscope.data.corruptions import Corruption, GaussianNoise
from deepscope.errors import SettingError
from deepscope.render import presents
from deepscope.results import ImageGrid, Note, Picture, Result
from deepscope.session import Session


@dataclass(frozen=True)
class DataCorrupt(Command):
    """Write corrupted copies of images: noise, blur, contrast and others, at the severities of ImageNet-C.

    Class folders and splits are kept, so that the copies can replace the images in `classify`, `check`, or as the
    target of `adapt fit`. Images are scaled down to a shorter side of 256 pixels, the size for which the severities
    are defined.

    Attributes:
        data: a folder of images, with class folders or not; or a dataset's name.
        corruption: what happens to the images.
        figures: most images that the figure shows.
    """

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "corrupt"
    example: ClassVar[str] = "deepscope data corrupt gaussian-blur my-photos/ --severity 4 --out blurred/"

    data: str
    _: KW_ONLY
    corruption: Corruption = GaussianNoise()
    figures: int = 4

    def run(self, session: Session) -> Result:
        """Corrupt every image that can be read."""
        if session.out is None:
            raise SettingError("out", "must name a folder for the corrupted copies")
        refuse_data(session.out, self, session)
        folder = session.out / "images"
        return present(corrupt(self.data, self.corruption, folder=folder, figures=self.figures, session=session))


@presents(Corrupted)
def present(found: Corrupted) -> Result:
    """Where the copies are, and what the corruption does."""
    return Result(
        title=f"{len(found)} images after {found.corruption.name} of severity {found.corruption.severity}",
        metrics={"images": len(found), "skipped": len(found.skipped)},
        blocks=(
            Note(f"The copies are in {found.folder}: give that folder to any command.", "Saved"),
            *_figure(found),
            *skipped_blocks(found.skipped),
        ),
        provenance=origin([], found.copies.paths, found.copies.digests),
    )


def _figure(found: Corrupted) -> list[ImageGrid]:
    grades = range(1, len(found.corruption.strengths) + 1)
    rows: list[tuple[Picture, ...]] = []
    for example in found.examples:
        if example.image is None:
            rows.append((missing(caption=example.path.name), *(missing() for _ in grades)))
        else:
            rows.append((thumbnail(example.image, caption=example.path.name), *map(thumbnail, example.damaged)))
    headings = ("image", *(f"severity {grade}" for grade in grades))
    return [ImageGrid(tuple(rows), f"What {found.corruption.name} does", columns=headings)] if rows else []
