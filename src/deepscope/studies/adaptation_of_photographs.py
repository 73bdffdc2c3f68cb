"""Beyond chapter 3 of the source: photographs instead of digits, from clean ones to damaged ones."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np

from deepscope import images
from deepscope.adaptation import SOURCE, TARGET, Adaptation, AdversarialTeacher, Recipe, SourceOnly, adapt, run
from deepscope.commands.adapt_fit import right
from deepscope.commands.domains import Domains, load_domains
from deepscope.commands.shown import thumbnail
from deepscope.data import ClassFolders, load_dataset
from deepscope.data.corruptions import Corruption, write_corrupted
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT
from deepscope.results import Column, ImageGrid, Note, Provenance, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.studies.study import Answer, Budget, Study, answers

Accuracies: TypeAlias = "tuple[Estimate, Estimate]"
"""Of the source's and the target's test images."""

_BOUND = "with target labels"
_SHOWN = 3


@dataclass(frozen=True)
class AdaptationOfPhotographs(Study):
    """From clean photographs to noisy, blurred and pale ones, with every method, on a pretrained network's features.

    The network's features stay as they are: what adapts is a linear bottleneck and classifier on them. The target is
    the same data after each corruption, its training images without labels, its test images to measure.

    Attributes:
        seeds: trainings of each method, with the session's seed and the next ones.
        epochs: of each training.
        data: a folder with `train` and `test` of class folders, or a dataset's name.
        model: whose features the photographs are described by.
        corruptions: what the target has suffered.
        severity: of it, 1 to 5.
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

    def run(self, session: Session) -> Result:
        """Damage, describe, adapt from every seed, and measure."""
        if min(self.seeds, self.epochs) < 1 or not self.corruptions:
            raise DeepscopeError("--seeds and --epochs are at least 1, and --corruptions needs a name")
        wanted = [replace(Corruption.named(name), severity=self.severity) for name in self.corruptions]
        data = load_dataset(self.data, session, ClassFolders)
        if data.test is None:
            raise DeepscopeError(f"{self.data} has no train and test folders: divide it first")
        found: dict[str, dict[str, Accuracies]] = {}
        grid = [[thumbnail(images.decode(data.test.paths[row]))] for row in _spread(len(data.test))]
        for corruption in wanted:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "damaged"
                write_corrupted(data.everything.paths, corruption, folder, session)
                pair = load_domains(self.data, str(folder), self.model, session)
                bound = load_domains(str(folder), str(folder), self.model, session)
                damaged = load_dataset(folder, session, ClassFolders).test
                assert damaged is not None
                for row, pictures in zip(_spread(len(damaged)), grid, strict=True):
                    pictures.append(thumbnail(images.decode(damaged.paths[row])))
            found[corruption.name] = self._adapt(corruption.name, pair, bound, session)
        return Result(
            title=f"Domain adaptation of photographs: {self.data} to {self.data} damaged",
            metrics={
                key: value
                for corruption, methods in found.items()
                for method, (source, target) in methods.items()
                for domain, estimate in (("source", source), ("target", target))
                for key, value in estimate.metrics(f"accuracy/{corruption}/{method}/{domain}").items()
            },
            blocks=(
                answers([self._answer(name, methods) for name, methods in found.items()]),
                *(_table(name, methods) for name, methods in found.items()),
                ImageGrid(
                    tuple(map(tuple, grid)),
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
            ),
            provenance=Provenance(data=f"{len(data.train)} training and {len(data.test)} test images of {self.data}"),
        )

    def _adapt(self, corruption: str, pair: Domains, bound: Domains, session: Session) -> dict[str, Accuracies]:
        """Accuracies on source and target by method; the one that sees target labels is the last."""
        arms = [(name, Adaptation.named(name), pair) for name in Adaptation.members()]
        arms.append((_BOUND, SourceOnly(), bound))
        found = {}
        for name, method, domains in session.track(arms, f"adapting to {corruption}"):
            each = [self._accuracies(method, domains, session, session.seed + seed) for seed in range(self.seeds)]
            source, target = (over_seeds(values) for values in zip(*each, strict=True))
            found[name] = source, target
        return found

    def _accuracies(self, method: Adaptation, domains: Domains, session: Session, seed: int) -> tuple[float, float]:
        own, recipe, test = replace(session, seed=seed, quiet=True), Recipe(epochs=self.epochs), domains.target_test
        assert test is not None
        adapted = adapt(
            lambda: domains.network(recipe, method),
            domains.source,
            domains.target,
            method=method,
            recipe=recipe,
            session=own,
            validator="info-max" if method.uses_target else "source-accuracy",
        )
        parts = ((SOURCE, domains.source_test), (TARGET, test))
        source, target = (
            right(run(adapted.network, part.inputs, domain, own)[1], part.labels) / len(part) for domain, part in parts
        )
        return source, target

    def _answer(self, corruption: str, methods: Mapping[str, Accuracies]) -> Answer:
        """The default method was chosen on digits, and so without a look at these images."""
        without, adapted = methods[SourceOnly.name], methods[AdversarialTeacher.name]
        return Answer(
            f"beyond: photographs after {corruption} {self.severity}",
            "-",
            f"target {adapted[1]} with {AdversarialTeacher.name}, {without[1]} without adaptation; with target labels "
            f"{methods[_BOUND][1]}, the source itself {without[0]}",
            "answered",
            f"linear layers on features of {self.model}",
        )


def _table(corruption: str, methods: Mapping[str, Accuracies]) -> Table:
    columns = (Column("method"), Column("target", ".3f"), Column("±", ".3f"), Column("source", ".3f"))
    rows = []
    for name, (source, target) in methods.items():
        spread = target.high - target.value if np.isfinite(target.high) else None
        rows.append((name, target.value, spread, None if name == _BOUND else source.value))
    return Table(columns, tuple(rows), title=f"After {corruption}")


def _spread(count: int) -> list[int]:
    """A few places from the whole list."""
    return np.linspace(0, count - 1, _SHOWN).astype(int).tolist()
