"""The base of the studies of generation: train arms on MNIST from several seeds, and measure samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.errors import SettingError
from deepscope.gans import Recipe
from deepscope.results import Block, Provenance, Result
from deepscope.session import Session
from deepscope.studies import generation_shown as shown
from deepscope.studies.generation_runs import Arm, Plan, TrainedGANs, train_all
from deepscope.studies.study import Answer, Study, answers


def require(study: Study, **least: int) -> None:
    """Raises SettingError where a setting of the study is below its least value."""
    for name, value in least.items():
        if getattr(study, name) < value:
            raise SettingError(name, f"must be at least {value}", got=getattr(study, name))


@dataclass(frozen=True)
class GenerationStudy(Study):
    """GANs on MNIST, trained and measured.

    Attributes:
        seeds: trainings per arm, with consecutive seeds.
        epochs: epochs per training.
        batch_size: images per update.
        images: number of training digits; by default all.
        samples: generated images that each arm is measured on.
        evaluator: folder that `gan evaluator` wrote; by default the one in the package, else one is trained.
    """

    chapter: ClassVar[str] = "4 Generative adversarial networks"
    title: ClassVar[str]
    scored: ClassVar[Sequence[str]] = ()
    """Arms that are also measured by a classifier trained on their samples."""
    renamed: ClassVar[Mapping[str, str]] = {"judge": "evaluator"}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 20
    batch_size: int = Recipe.batch_size
    images: int | None = None
    samples: int = 10_000
    evaluator: Path | None = None

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits, and the evaluator."""
        return [home / "data" / "mnist", *([self.evaluator] if self.evaluator else [])]

    @property
    @abstractmethod
    def arms(self) -> list[Arm]:
        """What to train. Raises SettingError where a setting is out of range."""

    @property
    def needed(self) -> Sequence[str]:
        """Names of the arms that must not diverge, whose trainings are drawn: all."""
        return [arm.name for arm in self.arms]

    @abstractmethod
    def answered(self, trained: TrainedGANs) -> list[Answer]:
        """The questions, with what was measured."""

    def drawn(self, trained: TrainedGANs, session: Session) -> list[Block]:
        """Images of the trained generators."""
        del trained, session
        return []

    def run(self, session: Session) -> Result:
        """Train and measure every arm from every seed, and answer the questions."""
        plan = Plan(self.seeds, self.images, self.samples, self.evaluator, self.needed, self.scored)
        trained = train_all(self.arms, session, self.name, plan)
        return Result(
            title=self.title,
            metrics=shown.metrics(trained),
            blocks=(
                answers(self.answered(trained)),
                shown.quality(trained),
                *shown.along(trained, self.needed),
                *self.drawn(trained, session),
                *shown.notes(trained),
            ),
            provenance=Provenance(data=trained.data),
        )
