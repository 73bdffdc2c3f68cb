"""Chapter 3 of the report (Delefosse and Vin): DANN from MNIST to MNIST-M as published, and stronger methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.adaptation import AdversarialTeacher, Dann, SourceOnly
from deepscope.command import Headline
from deepscope.errors import SettingError
from deepscope.render.text import share
from deepscope.results import Provenance, Result
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.studies import adaptation_shown as shown
from deepscope.studies.adaptation_runs import (
    SOURCE_ACCURACY,
    TARGET_ACCURACY,
    AdaptationArm,
    AdaptationsTrained,
    over_views,
    recipes,
    train_all,
)
from deepscope.studies.claims import minor_decrease
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers

_SOURCE_ONLY, _DANN, _TARGET_ONLY = "paper/source-only", "paper/dann", "paper/target-only"
_HONEST, _TEACHER = "modern/source-only", "modern/adversarial-teacher"
_PUBLISHED = {_SOURCE_ONLY: 0.5225, _DANN: 0.7666, _TARGET_ONLY: 0.9596}


@dataclass(frozen=True)
class DomainAdaptation(Study):
    """DANN from MNIST to MNIST-M as published, its bounds, and stronger methods without target labels.

    Every training is kept (in the output folder, else in the cache): the same command resumes an interrupted study, and
    more seeds add to it.

    Attributes:
        seeds: trainings per arm, with consecutive seeds.
        epochs: epochs of the modern recipe.
        paper_epochs: epochs of the paper's recipe.
        images: training images of each domain; by default all.
        batch_size: images of each domain per step; by default that of each recipe.
        bound: also train on the target's labels, which no method can be expected to exceed.
    """

    chapter: ClassVar[str] = "3 Domain adaptation"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.8, "full": 120}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 24
    paper_epochs: int = 25
    images: int | None = None
    batch_size: int | None = None
    bound: bool = True

    @classmethod
    def within(cls, budget: Budget) -> DomainAdaptation:
        """A few epochs of small steps on fifteen hundred digits from one seed, or everything.

        In a few hundred steps the paper's network learns nothing of MNIST-M, even from its labels: they are no bound.
        """
        if budget == "full":
            return cls()
        return cls(seeds=1, epochs=2, paper_epochs=6, images=1500, batch_size=16, bound=False)

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits and photographs."""
        return [home / "data" / name for name in ("mnist", "bsds500")]

    @property
    def arms(self) -> list[AdaptationArm]:
        """The paper's comparison, the strongest method, and what that one's augmentation does alone."""
        modern, paper = recipes(self.epochs, self.paper_epochs, self.batch_size)
        return [
            AdaptationArm(_SOURCE_ONLY, SourceOnly(), paper),
            AdaptationArm(_DANN, Dann(), paper),
            *([AdaptationArm(_TARGET_ONLY, SourceOnly(), paper, on_target=True)] if self.bound else []),
            AdaptationArm(_HONEST, SourceOnly(), modern),
            AdaptationArm(_TEACHER, AdversarialTeacher(), modern),
        ]

    def run(self, session: Session) -> Result:
        """Train every arm from every seed, and compare."""
        for name, epochs in (("epochs", self.epochs), ("paper_epochs", self.paper_epochs)):
            if epochs < 1:
                raise SettingError(name, "must be at least 1", got=epochs)
        names = [arm.name for arm in self.arms]
        trained = train_all(self.arms, session, seeds=self.seeds, images=self.images, needed=names)
        views = over_seeds([over_views(outcome, trained.pair, session) for outcome in trained.outcomes[_TEACHER]])
        validators = shown.trust_of(trained)
        return Result(
            title="Domain adaptation from MNIST to MNIST-M",
            metrics={**shown.metrics(trained, validators), **views.metrics(f"accuracy/{_TEACHER}/target/ten-views")},
            blocks=(
                answers(self._answers(trained, views)),
                shown.arms_table(trained, _PUBLISHED),
                *shown.along(trained, names, _PUBLISHED),
                *shown.maps(trained, (_SOURCE_ONLY, _DANN, _TEACHER), session),
                shown.validators_table(validators),
                *shown.notes(trained),
            ),
            provenance=Provenance(data=trained.runs.data),
        )

    def _answers(self, trained: AdaptationsTrained, views: Estimate) -> list[Answer]:
        """The published figures are of all images, and are compared with nothing less."""
        few = f"{self.images} images per domain: the paper uses all"
        items = []
        for name, published in _PUBLISHED.items():
            if name not in trained.outcomes:
                continue
            found = trained.runs.mean(name, TARGET_ACCURACY)
            verdict = "not measured here" if self.images else _compared(found.value, published)
            because = few if self.images else f"within 0.05 counts as reproduced; {self.paper_epochs} epochs here"
            question = f"{name.removeprefix('paper/')}, target accuracy"
            items.append(Answer(question, f"{published:.4f} (Ganin and Lempitsky)", str(found), verdict, because))
        before, after = (trained.runs.mean(name, SOURCE_ACCURACY) for name in (_SOURCE_ONLY, _DANN))
        change = trained.runs.gap(_DANN, _SOURCE_ONLY, SOURCE_ACCURACY)
        return [
            *items,
            Answer(
                "2. source accuracy",
                "a minor decrease",
                f"{after} after, {before} before",
                "not measured here" if self.images else minor_decrease(change),
                few if self.images else f"seed by seed {change}; a decrease of at most one point counts as minor",
            ),
            Answer(
                "beyond: the same augmentation without adaptation",
                "-",
                f"{trained.runs.mean(_HONEST, TARGET_ACCURACY)}",
                "not measured here" if self.images else "answered",
                few if self.images else "what a method has to beat: source-only with the modern recipe",
            ),
            Answer(
                "beyond: the model that is saved",
                "iDANN 0.967, PixelDA 0.982, DIRT-T 0.987",
                f"{views} averaging over ten views of an image, {trained.runs.mean(_TEACHER, TARGET_ACCURACY)} of one",
                "not measured here" if self.images else "answered",
                "moved by a pixel to each side, and negatives: what training has taught the network to ignore",
            ),
        ]

    def headline(self, result: Result) -> Headline:
        """DANN between its bounds."""
        names = (_DANN, _SOURCE_ONLY, _TARGET_ONLY, _TEACHER)
        dann, bare, bound, teacher = (Estimate.of(result.metrics, f"accuracy/{name}/target") for name in names)
        held = _compared(dann.value, _PUBLISHED[_DANN])
        with_labels = f", training with the target's labels {share(bound)}" if math.isfinite(bound.value) else ""
        few = (
            f" These results come from one training on {self.images} images per domain; the paper trains on 60,000."
            if self.images
            else ""
        )
        return Headline(
            f"Without target labels, DANN classifies {share(dann)} of MNIST-M's digits correctly; training on MNIST "
            f"alone gives {share(bare)}{with_labels}. The strongest method here reaches {share(teacher)}.{few}",
            "of MNIST-M's digits are classified correctly by DANN",
            dann,
            published=f"{100 * _PUBLISHED[_DANN]:.2f} %",
            verdict="" if self.images else held,
            tone="good" if held == "reproduced" else "attention",
            picture=result.figure(f"Features of {_DANN}, by domain"),
            weight=1,
        )


def _compared(value: float, published: float) -> Verdict:
    return "reproduced" if abs(value - published) <= 0.05 else "differs"
