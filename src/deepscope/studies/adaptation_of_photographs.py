"""Beyond chapter 3 of the report (Delefosse and Vin): photographs instead of digits, clean and corrupted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np

from deepscope import images
from deepscope.adaptation import (
    SOURCE,
    TARGET,
    Adaptation,
    Adapted,
    Dann,
    Domains,
    MinimumClassConfusion,
    Recipe,
    SourceOnly,
    adapt_network,
    load_domains,
    run,
)
from deepscope.adaptation.training import correct
from deepscope.command import Headline
from deepscope.data import ClassFolders, load_dataset
from deepscope.data.corrupt import write_corrupted
from deepscope.data.corruptions import Corruption
from deepscope.errors import DataError, SettingError
from deepscope.models import DEFAULT
from deepscope.presenters.shown import skipped_blocks, thumbnail
from deepscope.render.text import share
from deepscope.results import Column, ImageGrid, Note, Provenance, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies.adaptation_runs import SOURCE_ACCURACY, TARGET_ACCURACY
from deepscope.studies.arms import Outcome, Trained, train_arms
from deepscope.studies.study import Answer, Budget, Study, answers

Adaptations: TypeAlias = "Trained[PhotographArm, Adapted]"

_BOUND = "with target labels"
_DEFAULT = MinimumClassConfusion.name
_BASE = Dann.name
_SHOWN = 3


@dataclass(frozen=True)
class PhotographArm:
    """One method to adapt with.

    Attributes:
        name: of the method or of the bound.
        method: adaptation method.
        domains: the data.
    """

    name: str
    method: Adaptation
    domains: Domains


@dataclass(frozen=True)
class AdaptationOfPhotographs(Study):
    """Adapt from clean photographs to noisy, blurred and low-contrast ones, with every method, on pretrained features.

    The features are fixed; a linear bottleneck and a classifier on top of them are adapted. The target is
    the same data after each corruption, its training images without labels, its test images to measure.

    Attributes:
        seeds: trainings per method, with consecutive seeds.
        epochs: epochs per training.
        data: a folder with `train` and `test` of class folders, or a dataset's name.
        model: network that extracts the features.
        corruptions: corruptions of the target images.
        severity: of the corruption, 1 to 5.
    """

    chapter: ClassVar[str] = "3 Domain adaptation"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 4, "full": 15}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 14
    data: str = "15scene"
    model: str = DEFAULT
    corruptions: tuple[str, ...] = ("gaussian-noise", "gaussian-blur", "contrast")
    severity: int = 5

    @classmethod
    def within(cls, budget: Budget) -> AdaptationOfPhotographs:
        """One corruption, or three."""
        return cls() if budget == "full" else cls(seeds=1, corruptions=("contrast",))

    def inputs(self, home: Path) -> Sequence[Path]:
        """The photographs and the network."""
        return [home / "data" / self.data, home / "weights"]

    def ready(self, session: Session) -> bool:
        """Whether the photographs are available."""
        return (session.home / "data" / self.data).exists() or Path(self.data).exists()

    def run(self, session: Session) -> Result:
        """Corrupt, extract features, adapt from every seed, and measure."""
        for name, value in (("seeds", self.seeds), ("epochs", self.epochs)):
            if value < 1:
                raise SettingError(name, "must be at least 1", got=value)
        if not self.corruptions:
            raise SettingError("corruptions", "must name at least one")
        wanted = [replace(Corruption.named(name), severity=self.severity) for name in self.corruptions]
        data = load_dataset(self.data, session, ClassFolders)
        if data.test is None:
            raise DataError(f"{self.data} has no train and test folders: divide it first")
        found: dict[str, Adaptations] = {}
        skipped: tuple[images.Skipped, ...] = ()
        for corruption in wanted:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "damaged"
                skipped = write_corrupted(data.everything.paths, corruption, folder, session).skipped
                pair = load_domains(self.data, str(folder), self.model, session)
                bound = load_domains(str(folder), str(folder), self.model, session)
            found[corruption.name] = self._adapt(corruption.name, pair, bound, session)
        unread = {item.path for item in skipped}
        train, test = ([path for path in part.paths if str(path) not in unread] for part in (data.train, data.test))
        shown = [images.decode(test[row]) for row in _spread(len(test))]
        return Result(
            title=f"Domain adaptation of photographs: {self.data} to {self.data} damaged",
            metrics={
                key: value
                for corruption, trained in found.items()
                for method in trained.outcomes
                for domain, figure in (("source", SOURCE_ACCURACY), ("target", TARGET_ACCURACY))
                for key, value in trained.mean(method, figure)
                .metrics(f"accuracy/{corruption}/{method}/{domain}")
                .items()
            }
            | {
                key: value
                for corruption, trained in found.items()
                for method in Adaptation.members()
                if method != _BASE
                for key, value in trained.gap(method, _BASE, TARGET_ACCURACY)
                .metrics(f"gain-over-{_BASE}/{corruption}/{method}")
                .items()
            },
            blocks=(
                answers([self._answer(name, trained) for name, trained in found.items()]),
                *(_table(name, trained) for name, trained in found.items()),
                ImageGrid(
                    tuple(
                        (thumbnail(image), *(thumbnail(damage.applied(image, session)) for damage in wanted))
                        for image in shown
                    ),
                    "Source and targets",
                    f"Test images, and the same after each corruption of severity {self.severity}.",
                    ("source", *found),
                ),
                Note(
                    "No target label is used for training or choosing; the epoch is the one with the best InfoMax "
                    f"score. {_BOUND.capitalize()}: source-only, trained on the target's training images. Accuracy on "
                    "the test images, mean over seeds with 95 % Student intervals.",
                    "How to read this",
                ),
                *skipped_blocks(skipped),
            ),
            provenance=Provenance(data=f"{len(train)} training and {len(test)} test images of {self.data}"),
        )

    def _adapt(self, corruption: str, pair: Domains, bound: Domains, session: Session) -> Adaptations:
        """Accuracies on source and target by method; the one that sees target labels is the last."""
        arms = [PhotographArm(name, Adaptation.named(name), pair) for name in Adaptation.members()]
        arms.append(PhotographArm(_BOUND, SourceOnly(), bound))
        own = replace(session, part=f"{session.part}: {corruption}" if session.part else corruption)
        return train_arms(arms, self._train, own, seeds=self.seeds, needed=[arm.name for arm in arms], data=self.data)

    def _train(self, arm: PhotographArm, session: Session) -> Outcome[PhotographArm, Adapted]:
        recipe, domains, test = Recipe(epochs=self.epochs), arm.domains, arm.domains.target_test
        assert test is not None
        adapted = adapt_network(
            lambda: domains.network(recipe, arm.method),
            domains.source,
            domains.target,
            method=arm.method,
            recipe=recipe,
            session=session,
            validator="info-max" if arm.method.uses_target else "source-accuracy",
        )
        parts = ((SOURCE_ACCURACY, SOURCE, domains.source_test), (TARGET_ACCURACY, TARGET, test))
        figures = {
            figure: correct(run(adapted.network, part.inputs, domain, session)[1], part.labels) / len(part)
            for figure, domain, part in parts
        }
        return Outcome(arm, session.seed, figures, adapted.history, adapted)

    def _answer(self, corruption: str, trained: Adaptations) -> Answer:
        """The default method was chosen on other corruptions of training images, and so without a look at these."""
        target = {name: trained.mean(name, TARGET_ACCURACY) for name in trained.outcomes}
        return Answer(
            f"beyond: photographs after {corruption} {self.severity}",
            "-",
            f"target {target[_DEFAULT]} with {_DEFAULT}, {target[_BASE]} with {_BASE} (seed by seed "
            f"{trained.gap(_DEFAULT, _BASE, TARGET_ACCURACY)}), {target[SourceOnly.name]} without adaptation; "
            f"with target labels {target[_BOUND]}, the source itself "
            f"{trained.mean(SourceOnly.name, SOURCE_ACCURACY)}",
            "answered",
            f"linear layers on features of {self.model}",
        )

    def headline(self, result: Result) -> Headline:
        """What the default method regains after the first corruption."""
        name = self.corruptions[0]
        adapted, bare, bound = (
            Estimate.of(result.metrics, f"accuracy/{name}/{method}/target")
            for method in (_DEFAULT, SourceOnly.name, _BOUND)
        )
        clean = Estimate.of(result.metrics, f"accuracy/{name}/{SourceOnly.name}/source")
        return Headline(
            f"After {name}, the accuracy of a classifier of photographs is {share(bare)} instead of {share(clean)}. "
            f"Adaptation without labels of the corrupted images raises it to {share(adapted)}, training with their "
            f"labels to {share(bound)}.",
            f"accuracy after {name}, adapted without labels",
            adapted,
            verdict="measured",
            picture=result.figure("Source and targets"),
        )


def _table(corruption: str, trained: Adaptations) -> Table:
    columns = (Column("method"), *(Column(name, ".3f") for name in ("target", "±", "source")))
    columns += tuple(Column(name, "+.3f") for name in (f"over {_BASE}", "low", "high"))
    rows = []
    for name in trained.outcomes:
        source, target = trained.mean(name, SOURCE_ACCURACY), trained.mean(name, TARGET_ACCURACY)
        spread = target.high - target.value if np.isfinite(target.high) else None
        gain = trained.gap(name, _BASE, TARGET_ACCURACY)
        ends = (gain.low, gain.high) if np.isfinite(gain.high) and name != _BASE else (None, None)
        rows.append((name, target.value, spread, None if name == _BOUND else source.value, gain.value, *ends))
    caption = f"The gain over {_BASE} is a mean over seeds, seed by seed."
    return Table(columns, tuple(rows), title=f"After {corruption}", caption=caption)


def _spread(count: int) -> list[int]:
    """A few evenly spaced places."""
    return np.linspace(0, count - 1, _SHOWN).astype(int).tolist()
