"""What the study of domain adaptation trains, and what it keeps of each training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.adaptation import (
    SOURCE,
    TARGET,
    Adaptation,
    Adapted,
    AdaptiveNormalisation,
    AdversarialTeacher,
    Coral,
    Dann,
    DomainNetwork,
    EntropyMinimisation,
    MaximumMeanDiscrepancy,
    PseudoLabels,
    Recipe,
    SourceOnly,
    VirtualAdversarial,
    adapt,
    proxy_a_distance,
    run,
)
from deepscope.jobs.domains import Domains
from deepscope.session import Session

Judges: TypeAlias = "dict[str, tuple[float | None, float]]"
"""For each validator: its rank correlation with target accuracy, and the accuracy that choosing by it loses."""

FACTORS = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0)
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


def arms(paper: Recipe, modern: Recipe, *, thorough: bool) -> list[Arm]:
    """The paper's comparison and the modern one; with every factor, variant, method and ablation where `thorough`."""
    found = [
        Arm("paper/source-only", SourceOnly(), paper),
        Arm("paper/dann", Dann(), paper),
        Arm("paper/no-reversal", Dann(reversal=False), paper),
        Arm("paper/target-only", SourceOnly(), paper, on_target=True),
        Arm("modern/source-only", SourceOnly(), modern),
        Arm("modern/dann", Dann(0.3), modern),
        Arm("modern/adversarial-teacher", AdversarialTeacher(), modern),
        Arm("modern/target-only", SourceOnly(), modern, on_target=True),
    ]
    if thorough:
        found += [Arm(f"paper/factor-{factor:g}", Dann(factor), paper) for factor in FACTORS if factor != 1]
        found += [Arm(f"paper/constant-{factor:g}", Dann(factor, "constant"), paper) for factor in (0.1, 0.3, 1.0)]
        variants = {
            "uncentred": replace(paper, centre=False),
            "batch-statistics": replace(paper, statistics="batch"),
            "domain-statistics": replace(paper, statistics="domain"),
            "dropout": replace(paper, dropout=0.1),
            "adam": replace(paper, optimiser="adam", rate=modern.rate),
            "augmented": replace(paper, augmentation=modern.augmentation),
        }
        found += [Arm(f"paper/dann-{name}", Dann(), recipe) for name, recipe in variants.items()]
        others = (
            AdaptiveNormalisation(),
            MaximumMeanDiscrepancy(),
            Coral(),
            EntropyMinimisation(),
            VirtualAdversarial(),
            PseudoLabels(),
        )
        found += [Arm(f"modern/{method.name}", method, modern) for method in others]
        augmentation = modern.augmentation
        assert augmentation is not None
        without = {
            "augmentation": replace(modern, augmentation=None),
            "inversion": replace(modern, augmentation=replace(augmentation, invert=0.0)),
            "shift": replace(modern, augmentation=replace(augmentation, shift=0)),
            "noise": replace(modern, augmentation=replace(augmentation, noise=0.0)),
            "clutter": replace(modern, augmentation=replace(augmentation, clutter=0.0)),
            "dropout": replace(modern, dropout=0.0),
            "domain-statistics": replace(modern, statistics="batch"),
            "normalisation": replace(modern, statistics="none"),
        }
        found += [Arm(f"modern/without-{name}", AdversarialTeacher(), recipe) for name, recipe in without.items()]
        found += [
            Arm("modern/without-warmup", AdversarialTeacher(warmup=0.0), modern),
            Arm("modern/without-confidence", AdversarialTeacher(confidence=0.0), modern),
        ]
    return found


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


def judged(outcomes: list[Outcome]) -> Judges:
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
    root = (session.out or session.cache) / "domain-adaptation"
    return root / f"{images or 'all'}-images" / arm.name.replace("/", os.sep) / f"seed-{seed}"


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
