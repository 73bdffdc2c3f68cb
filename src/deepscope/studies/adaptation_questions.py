"""Chapter 3 of the report (Delefosse and Vin): its four questions, and the effect of each component of the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.adaptation import (
    AdaptiveNormalisation,
    AdversarialTeacher,
    Coral,
    Dann,
    EntropyMinimisation,
    MaximumMeanDiscrepancy,
    PseudoLabels,
    Recipe,
    SourceOnly,
    VirtualAdversarial,
)
from deepscope.command import Headline
from deepscope.errors import SettingError
from deepscope.render.text import share
from deepscope.results import Provenance, Result
from deepscope.session import Session
from deepscope.statistics import Estimate, simultaneous
from deepscope.studies import adaptation_shown as shown
from deepscope.studies.adaptation_runs import (
    SOURCE_ACCURACY,
    TARGET_ACCURACY,
    AdaptationArm,
    AdaptationOutcome,
    AdaptationsTrained,
    recipes,
    train_all,
)
from deepscope.studies.claims import minor_decrease
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers, decided

FACTORS = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0)
CONSTANT = (0.1, 0.3, 1.0)
_BY_FACTOR = {factor: f"factor-{factor:g}" for factor in FACTORS}

_SOURCE_ONLY, _DANN, _NO_REVERSAL, _TEACHER = "source-only", "factor-0.3", "no-reversal", "adversarial-teacher"
_PAPER = "paper"
_NEEDED = (_SOURCE_ONLY, _DANN, _NO_REVERSAL, _TEACHER, _PAPER)


@dataclass(frozen=True)
class AdaptationQuestions(Study):
    """The effect of gradient reversal, its factor, pseudo-labels and other components, from MNIST to MNIST-M.

    The questions use the modern recipe, which takes a tenth of the steps of the paper's; a separate table shows the
    effect of the choices in the paper's network. Every training is kept (in the output folder, else in the cache): the
    same command resumes an interrupted study.

    Attributes:
        seeds: trainings per arm, with consecutive seeds.
        epochs: epochs per training.
        images: training images of each domain.
        batch_size: images of each domain per step; by default that of each recipe.
        thorough: also run every factor, variant of the network, other method and ablation.
    """

    chapter: ClassVar[str] = "3 Domain adaptation"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 70}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 5
    images: int = 10000
    batch_size: int | None = None
    thorough: bool = True

    @classmethod
    def within(cls, budget: Budget) -> AdaptationQuestions:
        """A few epochs of small steps on fifteen hundred digits from one seed, or everything."""
        return cls() if budget == "full" else cls(seeds=1, epochs=2, images=1500, batch_size=16, thorough=False)

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits and photographs."""
        return [home / "data" / name for name in ("mnist", "bsds500")]

    @property
    def arms(self) -> list[AdaptationArm]:
        """What the questions need; with everything else where `thorough`."""
        modern, paper = recipes(self.epochs, self.epochs, self.batch_size)
        found = [
            AdaptationArm(_SOURCE_ONLY, SourceOnly(), modern),
            AdaptationArm(_NO_REVERSAL, Dann(0.3, reversal=False), modern),
            AdaptationArm(_DANN, Dann(0.3), modern),
            AdaptationArm(_TEACHER, AdversarialTeacher(), modern),
        ]
        if not self.thorough:
            return found
        found.append(AdaptationArm(_PAPER, Dann(), paper))
        found += [AdaptationArm(f"factor-{factor:g}", Dann(factor), modern) for factor in FACTORS if factor != 0.3]
        found += [AdaptationArm(f"constant-{factor:g}", Dann(factor, "constant"), modern) for factor in CONSTANT]
        others = (
            AdaptiveNormalisation(),
            MaximumMeanDiscrepancy(),
            Coral(),
            EntropyMinimisation(),
            VirtualAdversarial(),
            PseudoLabels(),
        )
        found += [AdaptationArm(method.name, method, modern) for method in others]
        found += [AdaptationArm(f"without-{name}", *changed) for name, changed in _ablations(modern).items()]
        return found + [
            AdaptationArm(f"{_PAPER}-{name}", Dann(), recipe) for name, recipe in _variants(paper, modern).items()
        ]

    def run(self, session: Session) -> Result:
        """Train every arm from every seed, and answer the questions."""
        if self.epochs < 1:
            raise SettingError("epochs", "must be at least 1", got=self.epochs)
        needed = [arm.name for arm in self.arms if arm.name in _NEEDED]
        trained = train_all(self.arms, session, seeds=self.seeds, images=self.images, needed=needed)
        validators = shown.trust_of(trained)
        return Result(
            title="What each part of domain adaptation does",
            metrics=shown.metrics(trained, validators),
            blocks=(
                answers(self._answers(trained)),
                *shown.factors(trained, _BY_FACTOR),
                *shown.compared(
                    trained, _TEACHER, "without-", "Without one ingredient", "the strongest method as it is"
                ),
                *shown.compared(
                    trained, _PAPER, f"{_PAPER}-", "The paper's network, changed", "the network as published"
                ),
                shown.arms_table(trained, {}),
                *shown.along(trained, needed, {}),
                shown.validators_table(validators),
                *shown.notes(trained),
            ),
            provenance=Provenance(data=trained.runs.data),
        )

    def _answers(self, trained: AdaptationsTrained) -> list[Answer]:
        target = {name: trained.runs.mean(name, TARGET_ACCURACY) for name in trained.outcomes}
        known = trained.last(_NO_REVERSAL, "domain/accuracy"), trained.last(_DANN, "domain/accuracy")
        lost = trained.runs.gap(_NO_REVERSAL, _DANN, TARGET_ACCURACY)
        learned = trained.last_gap(_NO_REVERSAL, _DANN, "domain/accuracy")
        before, after = (trained.runs.mean(name, SOURCE_ACCURACY) for name in (_SOURCE_ONLY, _DANN))
        change = trained.runs.gap(_DANN, _SOURCE_ONLY, SOURCE_ACCURACY)
        helped = trained.runs.gap(_TEACHER, _DANN, TARGET_ACCURACY)
        return [
            Answer(
                "1. without the reversal",
                "the domain classifier becomes proficient",
                f"target {target[_NO_REVERSAL]} (with {target[_DANN]}, no domain loss {target[_SOURCE_ONLY]}); domain "
                f"accuracy {known[0].value:.3f} (with {known[1].value:.3f})",
                decided(lost.high < 0 < learned.low, lost.low > 0 or learned.high < 0),
                f"without minus with, seed by seed: target {lost}, domain accuracy {learned}",
            ),
            Answer(
                "2. source accuracy, modern recipe",
                "a minor decrease",
                f"{after} after, {before} before",
                minor_decrease(change),
                f"seed by seed {change}; a decrease of at most one point counts as minor",
            ),
            self._factor(trained),
            Answer(
                "4. pseudo-labels",
                "help by narrowing the gap",
                f"target {target[_TEACHER]} with a teacher's pseudo-labels, {target[_DANN]} without",
                decided(helped.low > 0, helped.high < 0),
                f"seed by seed {helped}; {_confident(trained.outcomes[_TEACHER])}",
            ),
        ]

    def _factor(self, trained: AdaptationsTrained) -> Answer:
        question, published = "3. the factor's influence", "an optimal value is crucial"
        if not all(name in trained.outcomes for name in _BY_FACTOR.values()):
            return Answer(question, published, "-", "not measured here", "a thorough run of the study measures it")
        by_factor = {factor: trained.runs.mean(name, TARGET_ACCURACY).value for factor, name in _BY_FACTOR.items()}
        best = max(by_factor, key=lambda factor: by_factor[factor])
        measured = ", ".join(f"{factor:g}: {value:.3f}" for factor, value in by_factor.items())
        constant = ", ".join(
            f"{factor:g}: {trained.runs.mean(name, TARGET_ACCURACY).value:.3f}"
            for factor in CONSTANT
            if (name := f"constant-{factor:g}") in trained.outcomes
        )
        because = f"best at {best:g}, with the paper's rising schedule; constant from the start: {constant}"
        return Answer(question, published, measured, _crucial(trained), because)

    def headline(self, result: Result) -> Headline:
        """What the strongest ingredient brings."""
        found = {
            name: Estimate.of(result.metrics, f"accuracy/{name}/target") for name in (_SOURCE_ONLY, _DANN, _TEACHER)
        }
        bare, dann, teacher = found.values()
        known = teacher.known and dann.known
        return Headline(
            f"With a teacher's pseudo-labels the target accuracy is {share(teacher)}, with the gradient reversal alone "
            f"{share(dann)}, and {share(bare)} without a domain loss."
            + (" Target labels measure it and choose nothing." if known else " One training of each decides nothing."),
            "target accuracy with a teacher's pseudo-labels",
            teacher,
            published="they help",
            verdict="reproduced" if known and teacher.low > dann.high else "",
            tone="good",
            picture=result.figure("Target accuracy"),
        )


def _crucial(trained: AdaptationsTrained) -> Verdict:
    """Whether a factor between the ends is better than both, seed by seed, with intervals for all of them together."""
    lowest, *between, highest = FACTORS
    level = simultaneous(len(between))
    gaps = {
        (factor, end): trained.runs.gap(_BY_FACTOR[factor], _BY_FACTOR[end], TARGET_ACCURACY, confidence=level)
        for factor in between
        for end in (lowest, highest)
    }
    return decided(
        any(all(gaps[factor, end].low > 0 for end in (lowest, highest)) for factor in between),
        any(all(gaps[factor, end].high < 0 for factor in between) for end in (lowest, highest)),
    )


def _confident(runs: Sequence[AdaptationOutcome]) -> str:
    """How much of the target the teacher is sure of after the first and the last epoch, and how much of that is right.

    There is no precision where it is sure of nothing.
    """
    parts = []
    for place, when in ((0, "after the first epoch"), (-1, "in the end")):
        rows = [[row for row in run.history.rows if "confident/coverage" in row][place] for run in runs]
        coverage = np.mean([row["confident/coverage"] for row in rows])
        precision = [row["confident/precision"] for row in rows if "confident/precision" in row]
        right = f", {np.mean(precision):.3f} of them right" if precision else ""
        parts.append(f"{when} {coverage:.2f} of the labels are confident{right}")
    return "; ".join(parts)


def _ablations(modern: Recipe) -> dict[str, tuple[AdversarialTeacher, Recipe]]:
    """The strongest method, each time without one ingredient."""
    augmentation = modern.augmentation
    assert augmentation is not None
    recipes = {
        "augmentation": replace(modern, augmentation=None),
        "inversion": replace(modern, augmentation=replace(augmentation, invert=0.0)),
        "shift": replace(modern, augmentation=replace(augmentation, shift=0)),
        "noise": replace(modern, augmentation=replace(augmentation, noise=0.0)),
        "clutter": replace(modern, augmentation=replace(augmentation, clutter=0.0)),
        "dropout": replace(modern, dropout=0.0),
        "domain-statistics": replace(modern, statistics="batch"),
        "normalisation": replace(modern, statistics="none"),
    }
    teachers = {
        "warmup": AdversarialTeacher(warmup=0.0),
        "confidence": AdversarialTeacher(confidence=0.0),
        "reversal": AdversarialTeacher(factor=0.0),
    }
    return {
        **{name: (AdversarialTeacher(), recipe) for name, recipe in recipes.items()},
        **{name: (teacher, modern) for name, teacher in teachers.items()},
    }


def _variants(paper: Recipe, modern: Recipe) -> dict[str, Recipe]:
    """The paper's recipe with one choice changed, which published re-implementations often do silently."""
    return {
        "uncentred": replace(paper, centre=False),
        "batch-statistics": replace(paper, statistics="batch"),
        "domain-statistics": replace(paper, statistics="domain"),
        "dropout": replace(paper, dropout=0.1),
        "adam": replace(paper, optimiser="adam", rate=modern.rate),
        "augmented": replace(paper, augmentation=modern.augmentation),
    }
