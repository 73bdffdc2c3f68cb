"""Arms: what a study trains from several seeds, and what was measured of each training."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from deepscope.session import Session
from deepscope.statistics import Estimate, gap_over_seeds, over_seeds
from deepscope.training import Diverged, History

ONE_THREAD = 32
"""Digits per update up to which trainings run on one thread: quick budgets.

On an AMD EPYC the quick `generation-questions` takes 49 s on one thread; on two it takes 47 s, and 62 s of processor
time.
"""


class Named(Protocol):
    """Settings of a training, with a name that describes them."""

    @property
    def name(self) -> str:
        """Of the arm."""
        ...


Arm = TypeVar("Arm", bound=Named)
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Arm, Result]):
    """An arm, trained from one seed and measured.

    Attributes:
        arm: what was trained.
        seed: of the training.
        figures: what was measured, by name.
        history: along the training.
        trained: what the training gave.
    """

    arm: Arm
    seed: int
    figures: Mapping[str, float]
    history: History
    trained: Result = field(repr=False)


@dataclass(frozen=True, eq=False)
class Trained(Generic[Arm, Result]):
    """Every arm from every seed.

    Attributes:
        outcomes: by the arm's name, one per seed.
        diverged: descriptions of trainings that diverged.
        data: description of the training data.
    """

    outcomes: Mapping[str, list[Outcome[Arm, Result]]]
    diverged: tuple[str, ...]
    data: str

    def mean(self, arm: str, figure: str) -> Estimate:
        """A figure of an arm over its seeds, with Student's interval."""
        values = [run.figures[figure] for run in self.outcomes[arm] if figure in run.figures]
        if math.inf in values:  # an infinite divergence has no spread
            return Estimate(math.inf, -math.inf, math.inf)
        return over_seeds(values)

    def gap(self, arm: str, other: str, figure: str, *, confidence: float = 0.95) -> Estimate:
        """How far a figure of an arm lies above another arm's, seed by seed, with Student's interval."""
        theirs = {run.seed: run.figures[figure] for run in self.outcomes[other]}
        shared = [run for run in self.outcomes[arm] if run.seed in theirs]
        pairs = [run.figures[figure] for run in shared], [theirs[run.seed] for run in shared]
        return gap_over_seeds(*pairs, confidence=confidence)


def train_arms(
    arms: Sequence[Arm],
    train: Callable[[Arm, Session], Outcome[Arm, Result]],
    session: Session,
    *,
    seeds: int,
    needed: Collection[str],
    data: str,
) -> Trained[Arm, Result]:
    """Train every arm from the session's seed and the next ones.

    Args:
        arms: what to train.
        train: trains one arm, with the seed of the session that it is given.
        session: the first seed, and progress.
        seeds: trainings per arm.
        needed: names of the arms that must not diverge.
        data: description of the training data.

    Raises:
        Diverged: a needed arm did.
    """
    outcomes: dict[str, list[Outcome[Arm, Result]]] = {}
    diverged: list[str] = []
    planned = [(arm, session.seed + number) for number in range(seeds) for arm in arms]
    for arm, seed in session.track(planned, "training"):
        try:
            outcome = train(arm, replace(session, seed=seed, quiet=True))
        except Diverged as error:
            if arm.name in needed:
                raise
            diverged.append(f"{arm.name}, seed {seed}: {error}")
        else:
            outcomes.setdefault(arm.name, []).append(outcome)
    return Trained(outcomes, tuple(diverged), data)
