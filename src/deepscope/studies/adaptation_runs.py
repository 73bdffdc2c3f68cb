"""What the studies of domain adaptation train, and what they keep of each training."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

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
    Labelled,
    Recipe,
    SourceOnly,
    adapt,
    proxy_a_distance,
    run,
)
from deepscope.commands.domains import Domains, load_domains
from deepscope.data import first_here
from deepscope.errors import DeepscopeError
from deepscope.kept import workspace
from deepscope.models import DEFAULT
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.training import Diverged

Judges: TypeAlias = "dict[str, tuple[float | None, float]]"
"""For each validator: its rank correlation with target accuracy, and the accuracy that choosing by it loses."""

_SAMPLE = 500


@dataclass(frozen=True)
class Arm:
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


@dataclass(frozen=True, eq=False)
class Outcome:
    """An arm, trained from one seed. Accuracies are on held-out images, at the epoch chosen without labels.

    Attributes:
        arm: what was trained.
        seed: its seed.
        source, target: accuracies.
        adapted: network and history; the history's "accuracy/target" was recorded and never acted on.
    """

    arm: Arm
    seed: int
    source: float
    target: float
    adapted: Adapted = field(repr=False)

    @property
    def by_epoch(self) -> NDArray[np.float64]:
        """Target accuracy after each epoch."""
        return self.adapted.history.column("accuracy/target")[1]


@dataclass(frozen=True, eq=False)
class Trained:
    """Every arm from every seed.

    Attributes:
        pair: the two domains.
        outcomes: by the arm's name, one a seed.
        diverged: what did not come to an end, in words.
    """

    pair: Domains
    outcomes: Mapping[str, list[Outcome]]
    diverged: tuple[str, ...]

    @property
    def data(self) -> str:
        """What was trained on, in words."""
        return f"{len(self.pair.source)} images of the source, {len(self.pair.target)} of the target"

    def mean(self, name: str, domain: Literal["source", "target"] = "target") -> Estimate:
        """Accuracy of an arm over its seeds, with Student's interval."""
        return over_seeds([getattr(run, domain) for run in self.outcomes[name]])

    def last(self, name: str, figure: str) -> Estimate:
        """A recorded figure of an arm after its last step, over its seeds."""
        return over_seeds([run.adapted.history.column(figure)[1][-1] for run in self.outcomes[name]])


def recipes(epochs: int, paper_epochs: int, batch_size: int | None) -> tuple[Recipe, Recipe]:
    """The modern recipe and the paper's; each has its own batches where no size is given."""
    modern, paper = Recipe(epochs=epochs), replace(PAPER, epochs=paper_epochs)
    if batch_size is None:
        return modern, paper
    return replace(modern, batch_size=batch_size), replace(paper, batch_size=batch_size)


def train_all(
    arms: Sequence[Arm], session: Session, *, seeds: int, images: int | None, needed: Collection[str]
) -> Trained:
    """Train every arm from the session's seed and the next ones, on MNIST and MNIST-M or the extracts in the package.

    Args:
        arms: what to train.
        session: where trainings are kept, and how they are computed.
        seeds: trainings of each arm.
        images: training images of each domain; None takes all.
        needed: names of the arms that must not diverge.

    Raises:
        DeepscopeError: there are fewer than one seed or 100 images.
        Diverged: a needed arm did.
    """
    if seeds < 1 or (images is not None and images < 100):
        raise DeepscopeError("--seeds is at least 1, --images at least 100")
    target = first_here(["mnist-m", "mnist-m-extract"], session)
    source = "mnist" if target == "mnist-m" else "mnist-extract"
    pair = _fewer(load_domains(source, target, DEFAULT, session), images)
    bound = _fewer(load_domains(target, target, DEFAULT, session), images)
    outcomes: dict[str, list[Outcome]] = {}
    diverged = []
    planned = [(arm, session.seed + seed) for seed in range(seeds) for arm in arms]
    for arm, seed in session.track(planned, "training"):
        own = replace(session, seed=seed, quiet=True)
        try:
            outcome = train(arm, bound if arm.on_target else pair, own, run_folder(session, arm, seed, images))
        except Diverged as error:
            if arm.name in needed:
                raise
            diverged.append(f"{arm.name}, seed {seed}: {error}")
        else:
            outcomes.setdefault(arm.name, []).append(outcome)
    return Trained(pair, outcomes, tuple(diverged))


def _fewer(domains: Domains, images: int | None) -> Domains:
    if images is None:
        return domains
    source = Labelled(domains.source.inputs[:images], domains.source.labels[:images])
    return replace(domains, source=source, target=domains.target[:images])


def train(arm: Arm, domains: Domains, session: Session, folder: Path | None) -> Outcome:
    """Train one arm, or go on with it, or only read what was trained already."""
    test = domains.target_test
    assert test is not None

    def watch(network: DomainNetwork) -> Mapping[str, float]:
        features, logits = run(network, test.inputs, TARGET, session)
        source_features, source_logits = run(network, domains.source_test.inputs, SOURCE, session)
        return {
            "accuracy/target": _accuracy(logits, test.labels),
            "accuracy/source": _accuracy(source_logits, domains.source_test.labels),
            "a-distance": proxy_a_distance(source_features[:_SAMPLE], features[:_SAMPLE]),
            **_pseudo_labels(logits, test.labels),
        }

    adapted = adapt(
        lambda: domains.network(arm.recipe, arm.method),
        domains.source,
        domains.target,
        method=arm.method,
        recipe=arm.recipe,
        session=session,
        validator="source-accuracy" if isinstance(arm.method, SourceOnly) else "info-max",
        folder=folder,
        watch=watch,
    )
    row = next(row for row in adapted.history.rows if row["step"] == adapted.chosen)
    return Outcome(arm, session.seed, row["accuracy/source"], row["accuracy/target"], adapted)


def over_views(outcome: Outcome, domains: Domains, session: Session) -> float:
    """Target accuracy of the model that `adapt fit` saves, which averages over views of each image."""
    test = domains.target_test
    assert test is not None
    _, logits = run(outcome.adapted.network, test.inputs, TARGET, session, domains.views(outcome.arm.recipe))
    return _accuracy(logits, test.labels)


def judged(outcomes: Iterable[Outcome]) -> Judges:
    """How far each validator can be trusted.

    Every epoch of every adapted arm is a candidate, and the choice is made seed by seed. Both are means over seeds; the
    loss is the best candidate's accuracy less the chosen one's. A score that never changes has no correlation.
    """
    from scipy.stats import rankdata

    candidates = [o for o in outcomes if o.arm.method.uses_target and not o.arm.on_target]
    names = {name for o in candidates for name in o.adapted.history.rows[-1] if name.startswith("validator/")}
    found = {}
    for name in sorted(names):
        correlations, losses = [], []
        for seed in {o.seed for o in candidates}:
            runs = [o for o in candidates if o.seed == seed]
            accuracy = np.concatenate([o.by_epoch for o in runs])
            score = np.concatenate([o.adapted.history.column(name)[1] for o in runs])
            if np.ptp(accuracy) and np.ptp(score):
                correlations.append(np.corrcoef(rankdata(score), rankdata(accuracy))[0, 1])
            losses.append(float(accuracy.max() - accuracy[score.argmax()]))
        correlation = float(np.mean(correlations)) if correlations else None
        found[name.removeprefix("validator/")] = correlation, float(np.mean(losses))
    return found


def run_folder(session: Session, arm: Arm, seed: int, images: int | None) -> Path:
    """Where an arm's training is kept, so that the study goes on where it was stopped."""
    root = (session.out or workspace(session)) / "domain-adaptation"
    kind = f"{images or 'all'}-images-{arm.recipe.batch_size}"
    return root / kind / arm.name.replace("/", os.sep) / f"seed-{seed}"


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


def sample_features(outcome: Outcome, domains: Domains, session: Session) -> tuple[Tensor, Tensor, Tensor]:
    """Features, classes and domains (0 source, 1 target) of a few hundred test images of each domain."""
    test = domains.target_test
    assert test is not None
    parts = ((SOURCE, domains.source_test), (TARGET, test))
    features = [run(outcome.adapted.network, part.inputs[:_SAMPLE], domain, session)[0] for domain, part in parts]
    labels = torch.cat([part.labels[:_SAMPLE] for _, part in parts])
    return torch.cat(features), labels, torch.cat([torch.full((len(f),), d) for d, f in enumerate(features)])
