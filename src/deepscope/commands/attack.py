"""`deepscope attack METHOD`: adversarial examples of your own images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.attacks import Attack, attack
from deepscope.attacks.job import AttackJob
from deepscope.attacks.workflow import FOLDER
from deepscope.batch import Sharding
from deepscope.command import Command
from deepscope.data.photographs import bundled_photographs
from deepscope.devices import first_process
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.attack import present
from deepscope.presenters.batch import in_parts
from deepscope.render import drafts
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides


@dataclass(frozen=True)
class AttackImages(Command):
    """Create adversarial examples: change images until the network predicts another class.

    An example counts only after it was clipped, rounded to 8 bits, saved as PNG, read back and classified. Images that
    the network misclassifies without an attack are reported and not counted. A patch or a universal perturbation is
    learnt from a random half of the images and evaluated on the other half.

    Attributes:
        method: the attack.
        paths: image files and folders; without any, the photographs that come with the installation.
        target: class to be predicted, by name or number, or "random"; by default any class but the true one. Of a model
            with several labels per image, the label to attack, which must be named.
        model: the network under attack; `deepscope models` lists them.
        limit: most images to use, drawn at random; by default all.
        figures: most images that the figure shows.
        animate: show how the probability changes with each query, for the first image.
        batch_size: images per batch; the result does not depend on it.
        parts: how a large job is cut into parts, and what computes them.
    """

    name: ClassVar[str] = "attack"
    example: ClassVar[str] = "deepscope attack pgd photos/ --target toaster --out fooled/"

    method: Attack
    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    target: str | None = None
    model: str = DEFAULT
    limit: Count | None = None
    figures: int = 8
    animate: bool = False
    batch_size: Count = 16
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any])

    def run(self, session: Session) -> Result:
        """Attack every image that the network gets right."""
        if self.parts:
            if self.animate:
                raise SettingError("animate", "cannot be combined with {shard_size}, {workers} or {cluster}")
            job = AttackJob(self.model, self.batch_size, method=self.method, target=self.target)
            return in_parts(job, self.paths or bundled_photographs().paths, self.parts, session, limit=self.limit)
        out = session.out if first_process() else None
        with drafts(out) as scratch:
            found = attack(
                load_model(self.model, session),
                self.paths or bundled_photographs().paths,
                self.method,
                target=self.target,
                save_to=scratch / FOLDER if out else None,
                trace=self.animate,
                limit=self.limit,
                batch_size=self.batch_size,
                session=session,
            )
        return present(found, figures=self.figures)
