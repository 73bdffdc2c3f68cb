"""`deepscope attack certify`: certificates by randomised smoothing, beside an attack."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.attacks.certify import RADII, certify
from deepscope.attacks.smoothing import Smoothing
from deepscope.command import Command
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.attack_certify import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Positive, ProperShare


@dataclass(frozen=True)
class AttackCertify(Command):
    """Certify by randomised smoothing that no change within an L2 radius changes a prediction.

    The network votes on noisy copies of each image; the vote certifies a radius (Cohen et al. 2019). PGD attacks the
    same smoothed classifier, and both accuracies are drawn over the radius. Networks that were not trained with noise
    certify little.

    Attributes:
        folder: folder of images; the class is read from folder or file names, else the prediction counts as true.
        sigma: standard deviation of the noise, pixels in [0, 1].
        samples: noisy copies per image that certify its class.
        first: noisy copies per image that choose the class before.
        alpha: largest probability that a certificate is wrong.
        radii: L2 radii of the attack, pixels in [0, 1].
        steps: gradient steps of the attack.
        model: the network that votes.
        limit: most images to use, drawn at random; by default all.
        batch_size: noisy copies per forward pass.
    """

    name: ClassVar[str] = "certify"
    area: ClassVar[str] = "attack"
    example: ClassVar[str] = "deepscope attack certify photos/ --sigma 0.12"

    folder: Path
    _: KW_ONLY
    sigma: Positive = Smoothing.sigma
    samples: Count = Smoothing.samples
    first: Count = Smoothing.first
    alpha: ProperShare = Smoothing.alpha
    radii: tuple[Positive, ...] = RADII
    steps: Count = 20
    model: str = DEFAULT
    limit: Count | None = None
    batch_size: Count = 64

    def run(self, session: Session) -> Result:
        """Certify and attack every image."""
        return present(
            certify(
                load_model(self.model, session),
                self.folder,
                Smoothing(self.sigma, self.samples, self.first, self.alpha),
                radii=self.radii,
                steps=self.steps,
                limit=self.limit,
                batch_size=self.batch_size,
                session=session,
            )
        )
