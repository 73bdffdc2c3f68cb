"""The trainings of the studies of domain adaptation, and the figures kept of each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.adaptation import (
    PAPER,
    SOURCE,
    TARGET,
    Adaptation,
    Adapted,
    DomainNetwork,
    Domains,
    Labelled,
    Recipe,
    Record,
    SourceOnly,
    adapt_network,
    load_domains,
    proxy_a_distance,
    run,
)
from deepscope.data import first_here
from deepscope.devices import one_thread
from deepscope.errors import SettingError
from deepscope.kept import training_folder
from deepscope.models import DEFAULT
from deepscope.session import Session
from deepscope.statistics import Estimate, gap_over_seeds, over_seeds
from deepscope.studies.arms import ONE_THREAD, Outcome, Trained, train_arms

SOURCE_ACCURACY, TARGET_ACCURACY = "accuracy/source", "accuracy/target"
"""Figures of every outcome: on held-out images, at the epoch that was chosen without labels."""

_SAMPLE = 500


@dataclass(frozen=True)
class AdaptationArm:
    """One thing to train.

    Attributes:
        name: a path: the recipe, then what is special.
        method: how the target takes part.
        recipe: how it is trained.
        on_target: the upper bound: its source is the target with labels.
    """

    name: str
    method: Adaptation
    recipe: Recipe
    on_target: bool = False


AdaptationOutcome: TypeAlias = "Outcome[AdaptationArm, Adapted]"
"""The history's "accuracy/target" was recorded and never acted on."""


@dataclass(frozen=True, eq=False)
class AdaptationsTrained:
    """Every arm from every seed, and the two domains.

    Attributes:
        runs: the trainings.
        pair: the domains.
    """

    runs: Trained[AdaptationArm, Adapted]
    pair: Domains

    @property
    def outcomes(self) -> Mapping[str, list[AdaptationOutcome]]:
        """By the arm's name, one per seed."""
        return self.runs.outcomes

    def last(self, arm: str, figure: str) -> Estimate:
        """A recorded figure of an arm after its last step, over its seeds."""
        return over_seeds([along(run, figure)[-1] for run in self.outcomes[arm]])

    def last_gap(self, arm: str, other: str, figure: str) -> Estimate:
        """How far a recorded figure lies above another arm's after the last step, seed by seed."""
        theirs = {run.seed: along(run, figure)[-1] for run in self.outcomes[other]}
        shared = [run for run in self.outcomes[arm] if run.seed in theirs]
        return gap_over_seeds([along(run, figure)[-1] for run in shared], [theirs[run.seed] for run in shared])


@dataclass(frozen=True)
class Trust:
    """How far a validator can be trusted.

    Attributes:
        correlation: rank correlation of its score with target accuracy; None where the score never changes.
        regret: target accuracy that choosing by it loses.
    """

    correlation: float | None
    regret: float


def recipes(epochs: int, paper_epochs: int, batch_size: int | None) -> tuple[Recipe, Recipe]:
    """The modern recipe and the paper's; each has its own batches where no size is given."""
    modern, paper = Recipe(epochs=epochs), replace(PAPER, epochs=paper_epochs)
    if batch_size is None:
        return modern, paper
    return replace(modern, batch_size=batch_size), replace(paper, batch_size=batch_size)


def train_all(
    arms: Sequence[AdaptationArm], session: Session, *, seeds: int, images: int | None, needed: Collection[str]
) -> AdaptationsTrained:
    """Train every arm from the session's seed and the next ones, on MNIST and MNIST-M or the extracts in the package.

    Args:
        arms: what to train.
        session: where trainings are kept, and how they are computed.
        seeds: trainings per arm.
        images: training images of each domain; None uses all.
        needed: names of the arms that must not diverge.

    Raises:
        SettingError: there are fewer than one seed or 100 images.
        Diverged: a needed arm did.
    """
    if seeds < 1:
        raise SettingError("seeds", "must be at least 1", got=seeds)
    if images is not None and images < 100:
        raise SettingError("images", "must be at least 100", got=images)
    target = first_here(["mnist-m", "mnist-m-extract"], session)
    source = "mnist" if target == "mnist-m" else "mnist-extract"
    pair = _fewer(load_domains(source, target, DEFAULT, session), images)
    bound = _fewer(load_domains(target, target, DEFAULT, session), images)

    def one(arm: AdaptationArm, own: Session) -> AdaptationOutcome:
        return train(arm, bound if arm.on_target else pair, own, run_folder(session, arm, own.seed, images))

    data = f"{len(pair.source)} images of the source, {len(pair.target)} of the target"
    return AdaptationsTrained(train_arms(arms, one, session, seeds=seeds, needed=needed, data=data), pair)


def _fewer(domains: Domains, images: int | None) -> Domains:
    if images is None:
        return domains
    source = Labelled(domains.source.inputs[:images], domains.source.labels[:images])
    return replace(domains, source=source, target=domains.target[:images])


def train(arm: AdaptationArm, domains: Domains, session: Session, folder: Path | None) -> AdaptationOutcome:
    """Train one arm, resume it, or read what was trained before."""
    test = domains.target_test
    assert test is not None

    def watch(network: DomainNetwork) -> Mapping[str, float]:
        features, logits = run(network, test.inputs, TARGET, session)
        source_features, source_logits = run(network, domains.source_test.inputs, SOURCE, session)
        return {
            TARGET_ACCURACY: _accuracy(logits, test.labels),
            SOURCE_ACCURACY: _accuracy(source_logits, domains.source_test.labels),
            "a-distance": proxy_a_distance(source_features[:_SAMPLE], features[:_SAMPLE]),
            **_pseudo_labels(logits, test.labels),
        }

    with one_thread() if arm.recipe.batch_size <= ONE_THREAD else nullcontext():
        adapted = adapt_network(
            lambda: domains.network(arm.recipe, arm.method),
            domains.source,
            domains.target,
            method=arm.method,
            recipe=arm.recipe,
            session=session,
            validator="source-accuracy" if isinstance(arm.method, SourceOnly) else "info-max",
            record=Record(folder, watch),
        )
    row = next(row for row in adapted.history.rows if row["step"] == adapted.chosen)
    figures = {name: row[name] for name in (SOURCE_ACCURACY, TARGET_ACCURACY)}
    return Outcome(arm, session.seed, figures, adapted.history, adapted)


def over_views(outcome: AdaptationOutcome, domains: Domains, session: Session) -> float:
    """Target accuracy of the model that `adapt fit` saves, which averages over views of each image."""
    test = domains.target_test
    assert test is not None
    _, logits = run(outcome.trained.network, test.inputs, TARGET, session, domains.views(outcome.arm.recipe))
    return _accuracy(logits, test.labels)


def along(outcome: AdaptationOutcome, figure: str) -> NDArray[np.float64]:
    """A recorded figure after each epoch."""
    return outcome.history.column(figure)[1]


def trust(outcomes: Iterable[AdaptationOutcome]) -> dict[str, Trust]:
    """How far each validator can be trusted, by name.

    Every epoch of every adapted arm is a candidate, and the choice is made seed by seed. Both figures are means over
    seeds; the regret is the best candidate's accuracy less the chosen one's.
    """
    from scipy.stats import rankdata

    candidates = [o for o in outcomes if o.arm.method.uses_target and not o.arm.on_target]
    names = {name for o in candidates for name in o.history.rows[-1] if name.startswith("validator/")}
    found = {}
    for name in sorted(names):
        correlations, losses = [], []
        for seed in {o.seed for o in candidates}:
            runs = [o for o in candidates if o.seed == seed]
            accuracy = np.concatenate([along(o, TARGET_ACCURACY) for o in runs])
            score = np.concatenate([along(o, name) for o in runs])
            if np.ptp(accuracy) and np.ptp(score):
                correlations.append(np.corrcoef(rankdata(score), rankdata(accuracy))[0, 1])
            losses.append(float(accuracy.max() - accuracy[score.argmax()]))
        correlation = float(np.mean(correlations)) if correlations else None
        found[name.removeprefix("validator/")] = Trust(correlation, float(np.mean(losses)))
    return found


def run_folder(session: Session, arm: AdaptationArm, seed: int, images: int | None) -> Path:
    """Where an arm's training is kept: an interrupted study resumes, and both studies share what they train alike."""
    root = training_folder(session, "domain-adaptation", "deepscope.adaptation")
    trained = hashlib.sha256(repr((arm.method, arm.recipe, arm.on_target)).encode()).hexdigest()[:12]
    return root / f"{images or 'all'}-images" / f"{arm.method.name}-{trained}" / f"seed-{seed}"


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


def _pseudo_labels(logits: Tensor, labels: Tensor, *, confidence: float = 0.9) -> dict[str, float]:
    """How many predictions are confident, and how many of those are right; there is no precision without any."""
    probability, predicted = logits.softmax(1).max(1)
    sure = probability >= confidence
    figures = {"confident/coverage": float(sure.float().mean())}
    if sure.any():
        figures["confident/precision"] = float((predicted == labels)[sure].float().mean())
    return figures


def sample_features(outcome: AdaptationOutcome, domains: Domains, session: Session) -> tuple[Tensor, Tensor, Tensor]:
    """Features, classes and domains (0 source, 1 target) of a few hundred test images of each domain."""
    test = domains.target_test
    assert test is not None
    parts = ((SOURCE, domains.source_test), (TARGET, test))
    features = [run(outcome.trained.network, part.inputs[:_SAMPLE], domain, session)[0] for domain, part in parts]
    labels = torch.cat([part.labels[:_SAMPLE] for _, part in parts])
    return torch.cat(features), labels, torch.cat([torch.full((len(f),), d) for d, f in enumerate(features)])
