"""`attack` as a job in parts: adversarial examples of any number of images, each evaluated as it would be saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepscope.attacks.base import Attack, Shared
from deepscope.attacks.criteria import Criterion, Targeted, Untargeted
from deepscope.attacks.evaluator import Verdict, encoded
from deepscope.attacks.levels import to_levels
from deepscope.attacks.outcome import Outcome, run_attack
from deepscope.attacks.subjects import Subjects, under_attack
from deepscope.batch import Job, Rows, Tally, alone, rng_of, together
from deepscope.batch.job import Columns, Run
from deepscope.errors import SettingError, UnsupportedError
from deepscope.inputs import Read
from deepscope.models import VisionModel
from deepscope.models.fast_backward import FastBackward
from deepscope.models.known_gradients import with_known_gradients
from deepscope.models.prediction import forward_alike
from deepscope.session import Session
from deepscope.statistics import proportion

WRONG = "the model gets it wrong without an attack"
"""Why an image is left out of an attack, and counted."""
MEASURED = ("true_before", "true_after", "target_before", "target_after", "l0", "l2", "linf", "ssim")


@dataclass(frozen=True)
class AttackJob(Job):
    """One row per image: the classes before and after, whether the attack succeeded, and how far it went.

    Attributes:
        method: the attack; one that learns from many images is refused.
        target: as `attack`.
    """

    name: ClassVar[str] = "attack"
    usual: ClassVar[int] = 32

    method: Attack | str = "pgd"
    target: str | int | None = None

    def columns(self) -> Columns:
        """With `keep_arrays` also the adversarial images, as PNG files."""
        return {
            "left_out": "string",
            "before": "string",
            "after": "string",
            "target": "string",
            "success": "bool",
            **dict.fromkeys(MEASURED, "float32"),
            "queries": "float32",
            "gradients": "float32",
            "vanished": "bool",
            **({"adversarial": "binary"} if self.keep_arrays else {}),
        }

    def open(self, model: VisionModel, session: Session) -> Run:
        """Attacks on single images on a CPU, on some at once elsewhere; gradients are prepared on noise."""
        method = Attack.of(self.method)
        attacker = Attacker.of(model, [method], self.target, session)
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            predicted = attacker.predicted(batch, size)
            found = _Found(batch, attacker.model, {name: [None] * len(predicted) for name in self.columns()}, Tally())
            rows, reasons = attacker.attackable(batch, predicted)
            found.leave_out(predicted, reasons)

            def attacked(own: list[int]) -> tuple[list[int], Criterion, Outcome]:
                subjects = attacker.subjects(batch, predicted, own)
                return own, subjects.criterion, attacker.attacked(method, subjects)

            for own in together(rows, size, attacked):
                found.put(*own)
            return Rows(range(len(predicted)), found.columns, found.tally)

        return run

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """The success rate, and means over the successes and over all attacked images."""
        attacked = tally["attacked"]
        found: dict[str, float] = {"attacked": attacked, "misclassified": tally["misclassified"]}
        found |= proportion(tally["success"], attacked).metrics("success") if attacked else {}
        for field in ("l0", "l2", "linf", "ssim"):
            found |= tally.mean(field).metrics(f"{field}/mean") if tally["success"] else {}
        for field in ("true_before", "true_after", "target_before", "target_after", "queries", "gradients"):
            found |= tally.mean(field).metrics(field.replace("_", "/")) if field in tally.sums else {}
        return {**found, "gradients/vanished": tally["vanished"]}

    def telling(self) -> str:
        """Successes with the smallest changes."""
        return "Successes with the smallest changes"


@dataclass(frozen=True)
class Attacker:
    """Attacks images whose outcomes do not depend on each other.

    Attributes:
        model: the network under attack.
        target: as `attack`.
        wanted: the class to be reached, where it is the same for all images.
        fast: prepared for gradients of the model, on noise.
        session: precision and seed.
    """

    model: VisionModel
    target: str | int | None
    wanted: int | None
    fast: FastBackward
    session: Session

    @classmethod
    def of(cls, model: VisionModel, methods: Sequence[Attack], target: str | int | None, session: Session) -> Attacker:
        """Prepare the model.

        Raises:
            SettingError: the target cannot be used.
            UnsupportedError: a method learns from many images, or needs gradients and the model gives none.
        """
        model = with_known_gradients(model, methods)
        for method in methods:
            if isinstance(method, Shared):
                raise UnsupportedError(
                    f"{method.name} learns one change from many images, and parts are independent of each other: run "
                    "it without parts, or choose a method such as pgd",
                    what=method.name,
                )
        model, target = under_attack(model, target)
        if target == "random" and len(model.categories) < 2:
            raise SettingError("target", f"cannot be random: {model.name} has a single class")
        wanted = None if target is None or target == "random" else model.category(target)
        noise = torch.rand(1, model.planes, *model.preprocessing.size, generator=session.rng("example"))
        return cls(model, target, wanted, FastBackward.of(model, noise.to(model.device)), session)

    def predicted(self, batch: Read, size: int) -> Tensor:
        """(N,) predicted classes, in the precision of the evaluation."""
        return forward_alike(self.model, batch.pixels, replace(self.session, precision="float32"), size).argmax(1)

    def attackable(self, batch: Read, predicted: Tensor) -> tuple[list[int], dict[int, str]]:
        """The images to attack, and why the others are left out."""
        rows: list[int] = []
        reasons: dict[int, str] = {}
        for row, (label, answer) in enumerate(zip(predicted.tolist(), batch.answers)):
            if answer and label not in answer:
                reasons[row] = WRONG
            elif label == self.wanted:
                reasons[row] = "it already shows the target"
            else:
                rows.append(row)
        return rows, reasons

    def subjects(self, batch: Read, predicted: Tensor, rows: Sequence[int]) -> Subjects:
        """Some images of a batch, and what counts as a success for each."""
        labels, digests = predicted[list(rows)], tuple(batch.digests[row] for row in rows)
        criterion: Criterion = Untargeted(labels)
        if self.target == "random":
            criterion = Targeted(torch.tensor([self._other(*one) for one in zip(labels.tolist(), digests)]))
        elif self.wanted is not None:
            criterion = Targeted(torch.full_like(labels, self.wanted))
        return Subjects(to_levels(batch.pixels[list(rows)]), labels, criterion, digests=digests)

    def attacked(self, method: Attack, subjects: Subjects, radii: Sequence[float] = ()) -> Outcome:
        """The outcome of an attack on images that are attacked together."""
        rng, count = rng_of(self.session, subjects.digests, "attack", method.name), len(subjects)
        return run_attack(
            method, self.model, subjects, self.session, radii=radii, rng=rng, batch_size=count, fast=self.fast
        )

    def _other(self, label: int, digest: bytes) -> int:
        """A random other class, which follows from the image's content."""
        classes = len(self.model.categories)
        shift = torch.randint(1, classes, (), generator=self.session.rng("targets", digest.hex()))
        return (label + int(shift)) % classes


@dataclass(frozen=True)
class _Found:
    """The rows of a batch, as they are filled."""

    batch: Read
    model: VisionModel
    columns: dict[str, list[Any]]
    tally: Tally

    def leave_out(self, predicted: Tensor, reasons: Mapping[int, str]) -> None:
        """Fill in the predictions, and why some images are not attacked."""
        self.columns["before"] = [self.model.categories[label] for label in predicted.tolist()]
        for row, reason in reasons.items():
            self.columns["left_out"][row] = reason
            self.tally.count("misclassified", reason == WRONG)

    def put(self, rows: Sequence[int], criterion: Criterion, outcome: Outcome) -> None:
        """Fill the rows of some images with what came of the attack on them."""
        for place, row in enumerate(rows):
            verdict = outcome.verdicts[-1][place]
            target = int(criterion.classes[place]) if isinstance(criterion, Targeted) else None
            said: dict[str, Any] = {
                "after": self.model.categories[verdict.after],
                "target": None if target is None else self.model.categories[target],
                "success": verdict.success,
                **{name: known(getattr(verdict, name)) for name in MEASURED},
                "queries": float(outcome.queries[place]),
                "gradients": float(outcome.gradients[place]),
                "vanished": bool(outcome.vanished[place]),
            }
            if "adversarial" in self.columns:
                said["adversarial"] = encoded(outcome.images[place])
            for name, value in said.items():
                self.columns[name][row] = value
            self._count(row, verdict, said)

    def _count(self, row: int, verdict: Verdict, said: Mapping[str, Any]) -> None:
        tally = self.tally
        tally.count("attacked")
        tally.count("success", verdict.success)
        tally.count("vanished", said["vanished"])
        for name in ("true_before", "true_after", "target_before", "target_after", "queries", "gradients"):
            if said[name] is not None:
                tally.measure(name, said[name])
        if verdict.success:
            for name in ("l0", "l2", "linf", "ssim"):
                tally.measure(name, said[name])
            text = f"{self.columns['before'][row]} becomes {said['after']}, L2 {verdict.l2:.3f}"
            tally.example(-verdict.l2, self.batch.digests[row], self.batch.paths[row], text)


def known(value: float) -> float | None:
    """None for the NaN of what was not measured."""
    return None if value != value else float(value)
