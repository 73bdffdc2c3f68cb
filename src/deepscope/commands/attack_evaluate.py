"""`deepscope attack evaluate`: robustness of a network to several attacks, at several radii."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.attacks import Attack, Conditions, evaluate_attacks
from deepscope.attacks.evaluate_job import AttackEvaluateJob
from deepscope.attacks.workflow import FOLDER
from deepscope.batch import Sharding
from deepscope.command import Command
from deepscope.devices import first_process
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.attack_evaluate import present
from deepscope.presenters.batch import in_parts
from deepscope.render import drafts
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides, number


@dataclass(frozen=True)
class AttackEvaluate(Command):
    """Measure the robustness of a model: success rate, distortion and cost of attacks, accuracy by radius, transfer.

    All methods use their default settings. An image on which a method succeeds at one radius is not attacked again at
    larger ones. Shared methods (patch, universal) learn from a random half of the images and are evaluated on the
    other half.

    Attributes:
        folder: folder of images; the class is read from folder or file names, else the prediction counts as true.
        methods: names of attacks, separated by spaces or commas.
        radii: Linf radii of the curve, numbers or fractions such as 4/255.
        l2_radii: Euclidean radii of the curve, pixels in [0, 1].
        target: class to be predicted, or "random" for a random one per image; by default any class but the true
            one. Of a model with several labels per image, the label to attack, which must be named.
        model: the network under attack.
        transfer_to: networks to test the adversarial examples on.
        limit: most images to use, drawn at random; by default all.
        batch_size: images per batch; the result does not depend on it.
        parts: how a large job is cut into parts, and what computes them; defences are left out then.
    """

    name: ClassVar[str] = "evaluate"
    area: ClassVar[str] = "attack"
    example: ClassVar[str] = "deepscope attack evaluate photos/ --methods fgsm,pgd,deepfool --radii 1/255,2/255,4/255"

    folder: Path
    _: KW_ONLY
    methods: tuple[str, ...] = ("fgsm", "pgd", "deepfool", "ddn")
    radii: tuple[str, ...] = ("1/255", "2/255", "4/255", "8/255")
    l2_radii: tuple[str, ...] = ("0.25", "0.5", "1", "2")
    target: str | None = None
    model: str = DEFAULT
    transfer_to: tuple[str, ...] = ()
    limit: Count | None = None
    batch_size: Count = 16
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any])

    def run(self, session: Session) -> Result:
        """Run every method on every image that the network gets right."""
        methods = [Attack.named(name) for name in _words(self.methods)]
        radii, l2_radii = _numbers("radii", self.radii), _numbers("l2_radii", self.l2_radii)
        if self.parts:
            if self.transfer_to:
                raise SettingError("transfer_to", "cannot be combined with {shard_size}, {workers} or {cluster}")
            job = AttackEvaluateJob(
                self.model,
                self.batch_size,
                methods=tuple(methods),
                radii=tuple(radii),
                l2_radii=tuple(l2_radii),
                target=self.target,
            )
            return in_parts(job, [self.folder], self.parts, session, limit=self.limit)
        out = session.out if first_process() else None
        with drafts(out) as scratch:
            found = evaluate_attacks(
                load_model(self.model, session),
                self.folder,
                methods,
                Conditions(
                    radii, l2_radii=l2_radii, transfer_to=[load_model(name, session) for name in self.transfer_to]
                ),
                target=self.target,
                save_to=scratch / FOLDER if out else None,
                limit=self.limit,
                batch_size=self.batch_size,
                session=session,
            )
        return present(found)


def _words(texts: Sequence[str]) -> list[str]:
    return [part for text in texts for part in text.replace(",", " ").split()]


def _numbers(setting: str, texts: Sequence[str]) -> list[float]:
    """Raises SettingError where a text is not a number."""
    return [number(text, setting) for text in _words(texts)]
