"""`deepscope data corrupt`: damaged copies of images, to measure a classifier on."""

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
            raise SettingError("out", "must name a folder for the damaged copies")
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
