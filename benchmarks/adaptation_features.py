"""Features of 15-Scene, clean and corrupted, with labels on both sides: what the benchmarks of adaptation share.

`development` has training images only: four fifths to adapt with, the rest to measure. Choices are made there, on
corruptions that are not reported. `test` has the official split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepscope.adaptation import SOURCE, TARGET, Adaptation, Adapted, Labelled, Recipe, adapt_network, run
from deepscope.data import ClassFolders, load_dataset
from deepscope.data import Labelled as Files
from deepscope.data.corrupt import write_corrupted
from deepscope.data.corruptions import Corruption
from deepscope.data.folders import stratified
from deepscope.features import class_layer_input, extract
from deepscope.models import DEFAULT, load_model
from deepscope.session import Session

_HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Pair:
    """Features (N, D) of both domains with labels: the target's are for measuring, and for leaving classes out.

    Attributes:
        source, source_test, target, target_test: clean and corrupted images.
        classes: their number.
    """

    source: Labelled
    source_test: Labelled
    target: Labelled
    target_test: Labelled
    classes: int

    def without(self, classes: list[int], *, domain: int) -> Pair:
        """The same without these classes in the source (which are numbered anew, then) or in the target."""
        if domain == TARGET:
            return replace(self, target=_without(self.target, classes), target_test=_without(self.target_test, classes))
        left = [label for label in range(self.classes) if label not in classes]
        numbers = torch.full((self.classes,), len(left))  # what the source lacks becomes one class behind all others
        numbers[left] = torch.arange(len(left))

        def renumbered(part: Labelled) -> Labelled:
            return Labelled(part.inputs, numbers[part.labels])

        clean = [renumbered(_without(part, classes)) for part in (self.source, self.source_test)]
        return Pair(clean[0], clean[1], renumbered(self.target), renumbered(self.target_test), len(left))

    def adapt(self, method: Adaptation, recipe: Recipe, session: Session, *, validator: str = "info-max") -> Adapted:
        """Train, and choose the epoch without labels."""
        return adapt_network(
            lambda: recipe.feature_network(self.source.inputs.shape[1], self.classes, method),
            self.source,
            self.target.inputs,
            method=method,
            recipe=recipe,
            session=session,
            validator=validator if method.uses_target else "source-accuracy",
        )


def _without(part: Labelled, classes: list[int]) -> Labelled:
    rows = ~torch.isin(part.labels, torch.tensor(classes))
    return Labelled(part.inputs[rows], part.labels[rows])


def load_pair(corruption: str, severity: int, session: Session, *, development: bool) -> Pair:
    """Clean and corrupted 15-Scene, as features of the default model; computed once, then from the cache."""
    data = load_dataset("15scene", session, ClassFolders)
    assert data.test is not None
    parts = [data.train] if development else [data.train, data.test]
    scratch = session.cache / "adaptation-benchmark"
    clean = [_features(part, session) for part in parts]
    damaged = []
    for part, name in zip(parts, ("train", "test"), strict=False):
        folder = scratch / f"{corruption}-{severity}-{name}"
        if not folder.exists():
            write_corrupted(part.paths, replace(Corruption.named(corruption), severity=severity), folder, session)
        paths = tuple(folder / path.parent.name / f"{path.stem}.png" for path in part.paths)
        damaged.append(_features(replace(part, paths=paths), session))
    classes = len(data.classes)
    if not development:
        return Pair(clean[0], clean[1], damaged[0], damaged[1], classes)
    divided = stratified(clean[0].labels.numpy(), data.classes, _HELD_OUT, rng=session.rng("development"))
    sides = [Labelled(each.inputs[rows], each.labels[rows]) for each in (clean[0], damaged[0]) for rows in divided]
    return Pair(sides[0], sides[1], sides[2], sides[3], classes)


def _features(part: Files, session: Session) -> Labelled:
    model = load_model(DEFAULT, session)
    found = extract(model, [(class_layer_input(model), "mean")], [Path(path) for path in part.paths], session)
    assert not found.skipped
    return Labelled(torch.from_numpy(found.vectors[0]), torch.tensor(np.asarray(part.labels), dtype=torch.long))


def measured(adapted: Adapted, pair: Pair, session: Session) -> tuple[Tensor, Tensor]:
    """Logits of the source's and of the target's test images."""
    parts = ((SOURCE, pair.source_test), (TARGET, pair.target_test))
    source, target = (run(adapted.network, part.inputs, domain, session)[1] for domain, part in parts)
    return source, target
