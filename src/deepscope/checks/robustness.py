"""Accuracy of a classifier under attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from deepscope.attacks import FGSM, PGD, Attack, AttackEvaluation, Conditions, Square, evaluate_attacks
from deepscope.attacks.defences import WARNING
from deepscope.attacks.masking import signs_of
from deepscope.checks import certificates
from deepscope.checks.check import Check
from deepscope.checks.held_out import ONE, held_out, of_one_label
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.errors import SettingError
from deepscope.gallery import Entry, Gallery, Measured
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, require, works
from deepscope.models.known_gradients import with_known_gradients
from deepscope.presenters.attacked import as_picture, difference, instead_of_gradients, origin_of, vanished_notes
from deepscope.presenters.gallery import Encoder, adversarial, key_of, named, names_of
from deepscope.presenters.masking import masking_blocks, masking_metrics
from deepscope.presenters.shown import skipped_blocks
from deepscope.render.text import share
from deepscope.results import Curves, ImageGrid, Note, Result, Series
from deepscope.session import Session
from deepscope.settings import Count, Range, check
from deepscope.statistics import Estimate

_SHOWN = 4
"""Examples in the figure."""
_KEPT = 60
"""Examples in the gallery."""
_CERTIFIED = 20
"""Images that the full budget certifies."""
_SIGNS = 16
"""Images on which signs of masked gradients are looked for."""


@dataclass(frozen=True)
class Robustness(Check):
    """Accuracy under PGD, by the largest change of any channel of any pixel.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: a CSV file with the labels of each image, for a model with several per image; by default `labels.csv` in
            the folder of the data.
        levels: largest changes, in grey levels of 255.
        steps: gradient steps of PGD; a model without gradients is attacked by Square with ten queries per step.
        limit: most images to use, drawn at random.
        certified: images that are also certified by randomised smoothing, with 282 forward passes each.
        batch_size: images per batch; the result does not depend on it.
    """

    chapter: ClassVar[str] = "3 Robustness"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.2, "full": 4}

    listed: ClassVar[Mapping[str, str]] = {
        "masking/signs": "signs of masked gradients, of 6 that are looked for",
        **certificates.LISTED,
    }
    shares: ClassVar[tuple[str, ...]] = ("", "accuracy/*", "masking/*-*", *certificates.LISTED)

    _: KW_ONLY
    levels: tuple[Annotated[float, Range(most=255, above=True)], ...] = (1, 2, 4, 8)
    steps: Count = 40
    limit: Count = 100
    certified: Annotated[int, Range(0)] = 0
    batch_size: Count = 8

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Robustness:
        """A few images and steps, or many and certificates."""
        if budget == "full":
            return cls(data, model=model, certified=_CERTIFIED)
        return cls(data, model=model, steps=10, limit=16)

    def work(self, known: Pace) -> Work:
        """As for a network without a defence, which most attacks mislead at the first radius after a few steps.

        One that withstands them takes several times as long, which nothing tells before.
        """
        count = min(self.limit, known.images)
        votes = certificates.VOTES * min(self.certified, known.images)
        return Work(passes=12 * count + votes, gradients=count * (4 + 0.4 * self.steps), seconds=0.1 * count)

    def run(self, session: Session) -> Result:
        """Attack every image that the classifier gets right."""
        if not self.levels:
            raise SettingError("levels", "must be one number or more")
        check(self)
        held = held_out(self.model, self.data, session, self.labels)
        require(held.model, "robustness", RGB)
        held = of_one_label(replace(held, model=with_known_gradients(held.model)))
        found = evaluate_attacks(
            held.model,
            held.images,
            self._attacks(held.model),
            Conditions([level / 255 for level in self.levels], defences={}),
            keep=min(self.limit, _KEPT),
            limit=self.limit,
            batch_size=self.batch_size,
            session=session,
        )
        examples, radius = found.methods[-1].examples, self._telling() / 255
        masking = (
            signs_of(
                found.model,
                examples[range(min(_SIGNS, len(examples)))],
                session,
                radius=max(radius, 1 / 255),
                steps=self.steps,
                queries=5 * self.steps,
                batch_size=self.batch_size,
            )
            if works(PGD, found.model)
            else None
        )
        certain = certificates.certified(held, self.certified, session) if self.certified else Result("")
        levels = sorted(set(self.levels))
        total = len(found) + len(found.misclassified)
        shares = {"clean": found.clean}
        curves: list[Series] = []
        vanished = torch.zeros(len(found), dtype=torch.bool)
        for method in found.methods:
            vanished = vanished | method.outcome.vanished
            name, kept = method.attack.name, [found.accuracy(method, place) for place in range(len(levels))]
            shares |= {f"{name}/{level:g}": share for level, share in zip(levels, kept, strict=True)}
            curves.append(_series(name, [0, *levels], [found.clean, *kept]))
        return Result(
            title=f"What {found.model.title} withstands",
            metrics={
                "images": total,
                "gradients/vanished": int(vanished.sum()),
                **{k: v for key, e in shares.items() for k, v in e.metrics(f"accuracy/{key}").items()},
                **(masking_metrics(masking) if masking else {}),
                **certain.metrics,
            },
            blocks=(
                Note(self._said(shares, vanished, found.methods[-1].attack.name), "Robustness", "verdict"),
                *instead_of_gradients(found.model, Square.name),
                *vanished_notes(vanished, gradients=works(PGD, found.model)),
                *(masking_blocks(masking) if masking else ()),
                *held.notes,
                Curves(
                    tuple(curves),
                    "Linf radius (grey levels of 255)",
                    "accuracy",
                    title="Accuracy under attack",
                    caption="Evaluated from the 8-bit images, 95 % Wilson intervals. An image counts as lost at every "
                    "radius above the one it was first lost at.",
                ),
                _figure(found),
                *certain.blocks,
                Note(WARNING, "What this does not show", "warning"),
                *skipped_blocks(found.skipped),
                *_gallery(found, levels),
            ),
            provenance=origin_of([found.model], found),
        )

    def _attacks(self, model: VisionModel) -> tuple[Attack, ...]:
        """The attacks, the strongest last."""
        by_gradients = FGSM(), PGD(steps=self.steps)
        return by_gradients if works(PGD, model) else (Square(queries=10 * self.steps),)

    def _said(self, held: Mapping[str, Estimate], vanished: Tensor, attack: str) -> str:
        level = self._telling()
        if count := int(vanished.sum()):
            what = "scores" if attack == Square.name else "gradients"
            does = "never change" if attack == Square.name else "vanish"
            return (
                f"This does not show how robust the network is: the {what} of {count} of {len(vanished)} images "
                f"{does}. Accuracy under {attack} with changes of at most {level:g} grey levels of 255 is at most "
                f"{held[f'{attack}/{level:g}']}, {held['clean']} without an attack."
            )
        return (
            f"{attack} with changes of at most {level:g} grey levels of 255, which are invisible, reduces accuracy "
            f"from {held['clean']} to {held[f'{attack}/{level:g}']}."
        )

    def left_out(self, result: Result) -> Mapping[str, str]:
        """The worst case of several attacks, and certificates within a small budget."""
        lacking = {"worst case of several attacks": "`deepscope attack auto` attacks with one method after the other"}
        if "certified/images" not in result.metrics:
            text = "`deepscope attack certify` gives radii within which no change has an effect"
            lacking["certified robustness"] = text
        return lacking

    def headline(self, result: Result) -> Headline:
        """What is left of the accuracy under changes that nobody sees."""
        level = self._telling()
        clean = Estimate.of(result.metrics, "accuracy/clean")
        attack = PGD.name if f"accuracy/{PGD.name}/{level:g}" in result.metrics else Square.name
        strongest = max(self.levels)
        left, most = (Estimate.of(result.metrics, f"accuracy/{attack}/{size:g}") for size in (level, strongest))
        ending = f"With {strongest:g} levels it is {share(most)}."
        if result.metrics.get("masking/signs"):
            ending = "There are signs of masked gradients, so the accuracy may be lower still."
        if result.metrics["gradients/vanished"]:
            cause = "gradients vanish" if attack == PGD.name else "scores never change"
            ending = f"Some {cause}, so the accuracy may be lower still."
        label = next((f"{note.text} " for note in result.blocks if isinstance(note, Note) and note.title == ONE), "")
        return Headline(
            f"{label}Changes of at most {level:g} grey levels of 255, which nobody sees, take the accuracy "
            f"on {result.metrics['images']:.0f} images from {share(clean)} to {share(left)} ({attack}). {ending}",
            f"accuracy under changes of {level:g} grey levels{', of one label' if label else ''}",
            left,
            verdict="falls" if left.high < clean.low else "",
            tone="attention",
            picture=result.figure(),
            weight=1,
        )

    def _telling(self) -> float:
        """The radius that the findings are about: the one nearest to two grey levels."""
        return min(self.levels, key=lambda level: abs(level - 2))


def _series(label: str, x: list[float], shares: list[Estimate]) -> Series:
    low, high = (np.array([getattr(share, end) for share in shares]) for end in ("low", "high"))
    return Series(label, np.array(x, float), np.array([share.value for share in shares]), low, high)


def _figure(found: AttackEvaluation) -> ImageGrid:
    method = found.methods[-1]
    rows, shown = [], found.model.displayed
    for path, label, original, saved in zip(
        method.examples.paths,
        method.examples.labels.tolist(),
        method.examples.levels,
        method.outcome.images,
        strict=True,
    ):
        change, _ = difference(shown(original), shown(saved))
        caption = f"{path.name}: {found.model.categories[label]}"
        rows.append((as_picture(shown(original), caption=caption), as_picture(shown(saved)), change))
        if len(rows) == _SHOWN:
            break
    return ImageGrid(
        tuple(rows),
        "Examples of the changes",
        "At the smallest radius that misleads the network, or the largest.",
        ("image", f"after {method.attack.name}", "change, magnified"),
    )


def _gallery(found: AttackEvaluation, levels: Sequence[float]) -> tuple[Gallery, ...]:
    """Each image with the radius at which it is first lost, and the example; nothing for one label alone."""
    if found.model.head.label is not None:
        return ()
    method, model, encode = found.methods[-1], found.model, Encoder(len(found))
    radius = Measured(
        "radius",
        "robustness radius",
        f"The smallest change tried, in grey levels of 255, with which {method.attack.name} misleads the classifier; "
        "0 where it is wrong without any.",
        decimals=0 if all(level == round(level) for level in levels) else 2,
        beyond=f"above {levels[-1]:g}",
    )
    lost = [[verdict.success for verdict in verdicts] for verdicts in method.outcome.verdicts]
    entries: list[Entry] = []
    for row, (path, digest) in enumerate(zip(found.paths, found.digests, strict=True)):
        first = next((place for place in range(len(levels)) if lost[place][row]), None)
        own = _entry(path, digest, {"radius": math.inf if first is None else levels[first]})
        if row < len(method.examples):
            original, verdict = method.examples.levels[row], method.outcome.verdicts[-1][row]
            name = model.categories[int(method.examples.labels[row])]
            own = replace(own, picture=encode(model.displayed(original)), truth=name, predicted=name, right=True)
            own = replace(own, top=named(model, verdict.top_before))
            if first is not None:
                unit = "grey level" if levels[first] == 1 else "grey levels"
                said = f"{method.attack.name}, at most {levels[first]:g} {unit} of 255"
                made = adversarial(
                    model, original, method.outcome.images[row], verdict.top_after, said, len(method.examples)
                )
                own = replace(own, adversarial=made)
        if method.outcome.vanished[row]:
            cause = "gradients vanish" if works(PGD, model) else "scores do not change"
            own = replace(own, flags={cause: "The radius may be smaller: the attack was not informative."})
        entries.append(own)
    entries += [_entry(one.path, one.digest, {"radius": 0.0}) for one in found.misclassified]
    return (Gallery(tuple(entries), (radius,), "The images that were attacked"),)


def _entry(path: Path, digest: bytes, values: dict[str, float]) -> Entry:
    name, file = names_of(path)
    return Entry(key_of(path, digest), name, file, values=values)
