"""Beyond chapter 4 of the report (Delefosse and Vin): how many of a thousand modes a DCGAN finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from deepscope.command import Headline
from deepscope.errors import SettingError
from deepscope.gans import Architecture, Recipe
from deepscope.results import Block, Result
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import generation_shown as shown
from deepscope.studies.generation_runs import Arm, TrainedGANs
from deepscope.studies.generation_study import GenerationStudy, require
from deepscope.studies.study import Answer, Budget, Verdict

_PLAIN, _PACKED = "stacked", "stacked-packed"
_MODES = 1000
_NEAR = _MODES / 20
"""Modes within which a count is reproduced."""
_PUBLISHED = {_PLAIN: 99, _PACKED: 1000}


@dataclass(frozen=True)
class StackedDigits(GenerationStudy):
    """How many of a thousand modes a DCGAN finds: three random digits in the colours of each image.

    There are as many stacks as digits; 26,000 samples are usual. All trainings are kept (in the output folder, else in
    the cache), and the same command resumes an interrupted study.

    Attributes:
        seeds: trainings per arm, with consecutive seeds.
        epochs: epochs per training.
        batch_size: images per update.
        images: number of training digits; by default all.
        samples: generated images that each arm is measured on.
        evaluator: folder that `gan evaluator` wrote; by default the one in the package, else one is trained.
        width: width of the networks.
        rate: learning rate.
    """

    title: ClassVar[str] = "Modes among stacked digits"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.25, "full": 50}

    _: KW_ONLY
    epochs: int = 10
    samples: int = 26_000
    width: int = 32
    rate: float = 2e-3

    @classmethod
    def within(cls, budget: Budget) -> StackedDigits:
        """A small network on two thousand stacks from one seed, or everything."""
        return cls() if budget == "full" else cls(seeds=1, epochs=2, batch_size=16, images=2000, samples=2600, width=8)

    @property
    def arms(self) -> list[Arm]:
        """The plain network, and one whose discriminator classifies two images together (Lin et al. 2018)."""
        require(self, epochs=1, width=1)
        if self.rate <= 0:
            raise SettingError("rate", "must be above 0", got=self.rate)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, rate=self.rate)
        plain = Architecture(width=self.width)
        return [
            Arm(_PLAIN, plain, recipe, stacked=True),
            Arm(_PACKED, replace(plain, packing=2), recipe, stacked=True),
        ]

    def drawn(self, trained: TrainedGANs, session: Session) -> list[Block]:
        """Stacks of both."""
        return shown.grids(trained, [arm.name for arm in self.arms], session)

    def answered(self, trained: TrainedGANs) -> list[Answer]:
        """The number of modes, compared with published figures of other networks."""
        because = f"{self.samples} samples; within 50 modes counts as reproduced; VEEGAN finds 150 (Lin et al. 2018)"
        if self.images is not None:
            because = f"{self.images} digits and {self.samples} samples: others take all of MNIST and 26,000"
        answers = []
        for arm, words in ((_PLAIN, "plain"), (_PACKED, "in pairs (PacGAN)")):
            published = _PUBLISHED[arm]
            found = trained.mean(arm, "modes")
            verdict: Verdict = "reproduced" if abs(found.value - published) <= _NEAR else "differs"
            answers.append(
                Answer(
                    f"5. modes of {_MODES}, three digits in the colours: {words}",
                    str(published),
                    f"{found.value:.0f}, KL {trained.mean(arm, 'kl')}",
                    "not measured here" if self.images else verdict,
                    because,
                )
            )
        return answers

    def headline(self, result: Result) -> Headline:
        """How many modes each network finds."""
        plain, packed = (Estimate.of(result.metrics, f"modes/{arm}") for arm in (_PLAIN, _PACKED))
        held = abs(plain.value - _PUBLISHED[_PLAIN]) <= _NEAR
        few = f" {self.images} images train it here, where others take 60,000." if self.images else ""
        return Headline(
            f"Of {_MODES} combinations of three digits, a plain DCGAN draws {plain.value:.0f}, and {packed.value:.0f} "
            f"where its discriminator sees two images at a time. Lin et al. (2018) report {_PUBLISHED[_PLAIN]} and "
            f"{_PUBLISHED[_PACKED]} for networks of their own.{few}",
            f"of {_MODES} modes are drawn by a plain DCGAN",
            plain,
            form="count",
            published=str(_PUBLISHED[_PLAIN]),
            verdict="" if self.images else "reproduced" if held else "differs",
            tone="good" if held else "attention",
            picture=result.figure(_PLAIN),
        )
