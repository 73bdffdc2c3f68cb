"""What the studies of generation have in common: they train arms on MNIST from several seeds, and measure samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.gans import Recipe
from deepscope.results import Block, Provenance, Result
from deepscope.session import Session
from deepscope.studies import generation_shown as shown
from deepscope.studies.generation_runs import Arm, Trained, train_all
from deepscope.studies.study import Answer, Study, answers


@dataclass(frozen=True)
class GenerationStudy(Study):
    """GANs on MNIST, trained and measured.

    Attributes:
        seeds: trainings of each arm, with the session's seed and the next ones.
        epochs: of each training.
        batch_size: images a turn.
        images: training digits; all where no number is given.
        samples: by which each arm is measured.
        judge: folder of `gan judge`; else the one in the package, else one is trained first.
    """

    chapter: ClassVar[str] = "4 Generative adversarial networks"
    title: ClassVar[str]
    scored: ClassVar[Sequence[str]] = ()
    """Arms that are also measured by a classifier trained on their samples."""

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 20
    batch_size: int = Recipe.batch_size
    images: int | None = None
    samples: int = 10_000
    judge: Path | None = None

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits, and the judge."""
        return [home / "data" / "mnist", *([self.judge] if self.judge else [])]

    @property
    @abstractmethod
    def arms(self) -> list[Arm]:
        """What to train. Raises DeepscopeError where a setting is out of range."""

    @property
    def needed(self) -> Sequence[str]:
        """Names of the arms that must not diverge, whose trainings are drawn: all."""
        return [arm.name for arm in self.arms]

    @abstractmethod
    def answered(self, trained: Trained) -> list[Answer]:
        """The questions, with what was measured."""

    def drawn(self, trained: Trained, session: Session) -> list[Block]:
        """Images of the trained generators."""
        del trained, session
        return []

    def run(self, session: Session) -> Result:
        """Train and measure every arm from every seed, and answer the questions."""
        trained = train_all(
            self.arms,
            session,
            self.name,
            seeds=self.seeds,
            images=self.images,
            samples=self.samples,
            judge=self.judge,
            needed=self.needed,
            scored=self.scored,
        )
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
