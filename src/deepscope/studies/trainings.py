"""What studies that train have in common: arms, each trained from several seeds, and what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepscope.errors import SettingError
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.training import Diverged, History


class Arm(Protocol):
    """One thing to train."""

    @property
    def name(self) -> str:
        """What is special about it."""
        ...


AnArm = TypeVar("AnArm", bound=Arm)
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[AnArm, Made]):
    """An arm, trained from one seed and measured.

    Attributes:
        arm: what was trained.
        seed: of the training.
        made: the trained network.
        history: along the training.
        figures: what was measured in the end, by name.
        trouble: in plain words; empty where all went well.
    """

    arm: AnArm
    seed: int
    made: Made = field(repr=False)
    history: History = field(repr=False)
    figures: Mapping[str, float]
    trouble: tuple[str, ...] = ()

    def by_epoch(self, figure: str) -> NDArray[np.float64]:
        """A recorded figure after each epoch."""
        return self.history.column(figure)[1]


@dataclass(frozen=True, eq=False)
class Trained(Generic[AnArm, Made]):
    """Every arm from every seed.

    Attributes:
        outcomes: by the arm's name, one per seed.
        diverged: trainings that did not end, in words.
        data: what was trained on, in words.
    """

    outcomes: Mapping[str, list[Outcome[AnArm, Made]]]
    diverged: tuple[str, ...]
    data: str

    def mean(self, arm: str, figure: str) -> Estimate:
        """A figure of an arm over its seeds, with Student's interval."""
        values = [run.figures[figure] for run in self.outcomes[arm] if figure in run.figures]
        if math.inf in values:  # an infinite divergence has no spread
            return Estimate(math.inf, -math.inf, math.inf)
        return over_seeds(values)

    def gap(self, arm: str, other: str, figure: str) -> Estimate:
        """How far a figure of an arm lies above another arm's, seed by seed, with Student's interval."""
        theirs = {run.seed: run.figures[figure] for run in self.outcomes[other]}
        return over_seeds([run.figures[figure] - theirs[run.seed] for run in self.outcomes[arm] if run.seed in theirs])

    def last(self, arm: str, figure: str) -> Estimate:
        """A recorded figure of an arm after its last step, over its seeds."""
        return over_seeds([run.by_epoch(figure)[-1] for run in self.outcomes[arm]])


def train_arms(
    arms: Sequence[AnArm],
    train: Callable[[AnArm, Session], Outcome[AnArm, Made]],
    session: Session,
    *,
    seeds: int,
    needed: Collection[str],
    data: str,
) -> Trained[AnArm, Made]:
    """Train every arm from the session's seed and the next ones.

    Args:
        arms: what to train.
        train: trains one arm with the seed of its session, resumes it, or reads what was trained before.
        session: how trainings are computed.
        seeds: trainings per arm.
        needed: names of the arms that must not diverge.
        data: what is trained on, in words.

    Raises:
        SettingError: there are no seeds.
        Diverged: a needed arm did.
    """
    if seeds < 1:
        raise SettingError("seeds", "must be at least 1", got=seeds)
    outcomes: dict[str, list[Outcome[AnArm, Made]]] = {}
    diverged = []
    planned = [(arm, session.seed + seed) for seed in range(seeds) for arm in arms]
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
