"""`deepscope attack auto`: accuracy in the worst case over the standard sequence of attacks."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from deepscope.attacks import Strength, worst_case
from deepscope.attacks.workflow import FOLDER
from deepscope.command import Command
from deepscope.devices import first_process
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.attack_auto import present
from deepscope.render import drafts
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Positive


@dataclass(frozen=True)
class AttackAuto(Command):
    """Measure accuracy in the worst case over strong attacks: AutoPGD twice, FAB and Square, as published.

    Each attack runs on the images that withstood those before it. An example counts only after it was saved as an 8-bit
    image, read back and classified.

    Attributes:
        folder: folder of images; the class is read from folder or file names, else the prediction counts as true.
        norm: in which the change is bounded: linf, l2 or l1.
        radius: largest length of the change, pixels in [0, 1]; by default 4/255 in linf, 1 in l2, 12 in l1.
        steps: gradient steps of each start of AutoPGD, and projections per class of FAB.
        targets: classes that the targeted attacks aim at, the most probable first.
        queries: of Square, per image.
        draws: forward passes to average per query, for a model that draws random numbers.
        target: class to be predicted, or "random" for a random one per image; by default any class but the true
            one. Of a model with several labels per image, the label to attack, which must be named.
        model: the network under attack.
        limit: most images to use, drawn at random; by default all.
        batch_size: images per batch; the result does not depend on it.
    """

    name: ClassVar[str] = "auto"
    area: ClassVar[str] = "attack"
    example: ClassVar[str] = "deepscope attack auto photos/ --norm linf --radius 4/255"

    folder: Path
    _: KW_ONLY
    norm: Literal["linf", "l2", "l1"] = "linf"
    radius: Positive | None = None
    steps: Count = 100
    targets: Count = 9
    queries: Count = 5000
    draws: Count = 1
    target: str | None = None
    model: str = DEFAULT
    limit: Count | None = None
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Run the sequence on every image that the network gets right."""
        out = session.out if first_process() else None
        with drafts(out) as scratch:
            found = worst_case(
                load_model(self.model, session),
                self.folder,
                norm=self.norm,
                radius=self.radius,
                strength=Strength(self.steps, self.targets, self.queries),
                draws=self.draws,
                target=self.target,
                save_to=scratch / FOLDER if out else None,
                limit=self.limit,
                batch_size=self.batch_size,
                session=session,
            )
        return present(found)
