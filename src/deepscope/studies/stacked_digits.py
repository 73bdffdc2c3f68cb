"""Beyond chapter 4 of the source: how many of a thousand modes a DCGAN finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.errors import InputError
from deepscope.gans import Architecture, Recipe
from deepscope.results import Provenance, Result
from deepscope.session import Session
from deepscope.studies import generation_shown as shown
from deepscope.studies.generation_runs import Arm, Trained, train_all
from deepscope.studies.study import Answer, Budget, Study, answers

_PLAIN, _PACKED = "stacked", "stacked-packed"


@dataclass(frozen=True)
class StackedDigits(Study):
    """How many of a thousand modes a DCGAN finds: three random digits in the colours of each image.

    Every training and measurement is kept (below --out, else in the cache): the same command goes on where it was
    stopped.

    Attributes:
        seeds: trainings of each arm, with the session's seed and the next ones.
        epochs: of each training.
        width: of the networks.
        rate: learning rate.
        images: training digits, and as many stacks of them; all where no number is given.
        samples: by which each arm is measured; 26,000 are usual.
        judge: folder of `gan judge`; else the one in the package, else one is trained first.
    """

    chapter: ClassVar[str] = "4 Generative adversarial networks"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.4, "full": 120}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 10
    width: int = 32
    rate: float = 2e-3
    images: int | None = None
    samples: int = 26_000
    judge: Path | None = None

    @classmethod
    def within(cls, budget: Budget) -> StackedDigits:
        """Two epochs of small networks on a thousand stacks from one seed, or everything."""
        return cls() if budget == "full" else cls(seeds=1, epochs=2, width=8, rate=5e-4, images=1000, samples=2600)

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits, and the judge."""
        return [home / "data" / "mnist", *([self.judge] if self.judge else [])]

    @property
    def arms(self) -> list[Arm]:
        """The plain network, and one whose discriminator judges two images together."""
        recipe = Recipe(epochs=self.epochs, rate=self.rate)
        return [
            Arm(_PLAIN, Architecture(width=self.width), recipe, stacked=True),
            Arm(_PACKED, Architecture(width=self.width, packing=2), recipe, stacked=True),
        ]

    def run(self, session: Session) -> Result:
        """Train both from every seed, and count."""
        if min(self.epochs, self.width) < 1 or self.rate <= 0:
            raise InputError("--epochs and --width are at least 1, --rate is above 0")
        names = [arm.name for arm in self.arms]
        trained = train_all(
            self.arms,
            session,
            seeds=self.seeds,
            images=self.images,
            samples=self.samples,
            judge=self.judge,
            needed=names,
        )
        return Result(
            title="Modes among stacked digits",
            metrics=shown.metrics(trained),
            blocks=(
                answers([self._answer(trained)]),
                shown.quality(trained),
                *shown.along(trained, names),
                *shown.notes(trained),
            ),
            provenance=Provenance(data=trained.data),
        )

    def _answer(self, trained: Trained) -> Answer:
        found = [
            f"{trained.mean(arm, 'modes')} modes with KL {trained.mean(arm, 'kl')} {words}"
            for arm, words in ((_PLAIN, "plain"), (_PACKED, "with pairs judged together"))
        ]
        question = "5. modes of 1000, three digits in the colours"
        published = "DCGAN 99, VEEGAN 150, PacDCGAN2 1000 modes (Lin et al. 2018)"
        if self.images is not None:
            few = f"{self.images} digits and {self.samples} samples: others take all of MNIST and 26,000"
            return Answer(question, published, "; ".join(found), "not measured here", few)
        return Answer(
            question, published, "; ".join(found), "answered", f"{self.samples} samples, {self.epochs} epochs"
        )
