"""`deepscope gan directions`: directions of z found without labels, and a page of sliders that move z along them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from deepscope.command import Command
from deepscope.gans import latent_directions
from deepscope.gans.directions import Method
from deepscope.presenters.gan_directions import present
from deepscope.render import drafts
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Positive, Range

PAGE = "directions.html"


@dataclass(frozen=True)
class GanDirections(Command):
    """Find directions of z that change the images most, without labels, and show images along them.

    Into --out it also writes directions.html: a page that needs no server and no network, with a slider per direction.

    Attributes:
        folder: the folder that `gan train` wrote.
        method: "sefa" reads the directions from the first layer's weights; "pca" finds them in its outputs.
        count: number of directions, strongest first.
        samples: images that move together.
        reach: how far a slider moves z, in standard deviations.
        steps: places of a slider; odd.
        label: the class or cluster of all images; by default classes in turn.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "directions"
    example: ClassVar[str] = "deepscope gan directions digits/ --label 3 --out directions/"

    folder: Path
    _: KW_ONLY
    method: Method = "sefa"
    count: Count = 6
    samples: Count = 16
    reach: Positive = 3.0
    steps: Annotated[int, Range(3)] = 13
    label: str | None = None

    def run(self, session: Session) -> Result:
        """Find the directions, generate along each, and write the page."""
        found = latent_directions(
            self.folder,
            method=self.method,
            count=self.count,
            samples=self.samples,
            reach=self.reach,
            steps=self.steps,
            label=self.label,
            session=session,
        )
        with drafts(session.out) as scratch:
            (scratch / PAGE).write_text(found.page(), encoding="utf-8")
        return replace(present(found), files=(PAGE,) if session.out else ())
