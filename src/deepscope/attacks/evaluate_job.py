"""`attack evaluate` as a job in parts: at which radius each attack succeeds on each of any number of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deepscope.attacks.base import Attack
from deepscope.attacks.conditions import L2_RADII, RADII, Conditions, radius_name
from deepscope.attacks.evaluation import METHODS, as_attacks
from deepscope.attacks.job import MEASURED, WRONG, Attacker, known
from deepscope.attacks.outcome import Outcome
from deepscope.batch import Job, Rows, Tally, alone, together
from deepscope.batch.job import Columns, Run
from deepscope.inputs import Read
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.statistics import proportion


@dataclass(frozen=True)
class AttackEvaluateJob(Job):
    """One row per image and attack: the smallest radius at which it succeeds, and how far it went.

    Attributes:
        methods: the attacks, by name or with their settings; one that learns from many images is refused.
        radii, l2_radii: as `Conditions`.
        target: as `attack`.
    """

    name: ClassVar[str] = "attack evaluate"
    usual: ClassVar[int] = 16

    methods: tuple[Attack | str, ...] = METHODS
    radii: tuple[float, ...] = RADII
    l2_radii: tuple[float, ...] = L2_RADII
    target: str | int | None = None

    def columns(self) -> Columns:
        """`radius` is empty where the attack failed at all radii, and infinite where it has none."""
        return {
            "left_out": "string",
            "before": "string",
            "method": "string",
            "radius": "float32",
            "after": "string",
            **dict.fromkeys(MEASURED, "float32"),
            "queries": "float32",
            "gradients": "float32",
            "vanished": "bool",
        }

    def open(self, model: VisionModel, session: Session) -> Run:
        """Each attack at each radius, on single images on a CPU, on some at once elsewhere."""
        methods, by_norm = as_attacks(self.methods), Conditions(self.radii, self.l2_radii).by_norm()
        attacker = Attacker.of(model, methods, self.target, session)
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            predicted, tally = attacker.predicted(batch, size), Tally()
            before = [attacker.model.categories[label] for label in predicted.tolist()]
            rows, reasons = attacker.attackable(batch, predicted)
            tally.count("attacked", len(rows))
            for reason in reasons.values():
                tally.count("misclassified" if reason == WRONG else "at target")
            found = [(row, {"left_out": reason, "before": before[row]}) for row, reason in reasons.items()]

            def attacked(own: list[int]) -> tuple[list[int], list[Outcome]]:
                subjects = attacker.subjects(batch, predicted, own)
                return own, [attacker.attacked(method, subjects, by_norm[method.norm]) for method in methods]

            for own, outcomes in together(rows, size, attacked):
                for method, outcome in zip(methods, outcomes, strict=True):
                    for place, row in enumerate(own):
                        said = _said(outcome, place, attacker.model)
                        found.append((row, {"before": before[row], "method": method.name, **said}))
                        _count(tally, method.name, outcome, place)
            return Rows.of(self.columns(), found, tally)

        return run

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """As `attack evaluate`: success and accuracy by attack and radius; distances and costs as means."""
        attacked, wrong = tally["attacked"], tally["misclassified"]
        right = attacked + tally["at target"]  # which are not attacked, and stay right
        found: dict[str, float] = {"attacked": attacked, "misclassified": wrong}
        found |= proportion(right, right + wrong).metrics("accuracy/clean")
        for key, number in tally.counts.items():
            kind, _, which = key.partition("/")
            if kind == "success":
                found |= proportion(number, attacked).metrics(key)
            elif kind == "misled":
                found |= proportion(right - number, right + wrong).metrics(f"accuracy/{which}")
            elif kind == "vanished":
                found[f"gradients/{key}"] = number
        for key in tally.sums:
            found |= tally.mean(key).metrics(key)
        return found


def _said(outcome: Outcome, place: int, model: VisionModel) -> dict[str, Any]:
    """What one attack did to one image."""
    radius = next((outcome.radii[at] for at, one in enumerate(outcome.verdicts) if one[place].success), None)
    verdict = outcome.verdicts[-1][place]
    return {
        "radius": radius,
        "after": model.categories[verdict.after],
        **{name: known(getattr(verdict, name)) for name in MEASURED},
        "queries": float(outcome.queries[place]),
        "gradients": float(outcome.gradients[place]),
        "vanished": bool(outcome.vanished[place]),
    }


def _count(tally: Tally, method: str, outcome: Outcome, place: int) -> None:
    for at, radius in enumerate(outcome.radii):
        tally.count(f"success/{method}/{radius_name(radius)}", outcome.verdicts[at][place].success)
        tally.count(f"misled/{method}/{radius_name(radius)}", outcome.misled(at)[place])
    verdict = outcome.verdicts[-1][place]
    tally.count(f"vanished/{method}", bool(outcome.vanished[place]))
    for name in ("l0", "l2", "linf", "ssim"):
        tally.measure(f"{name}/mean/{method}", getattr(verdict, name) if verdict.success else math.nan)
    tally.measure(f"queries/{method}", float(outcome.queries[place]))
    tally.measure(f"gradients/{method}", float(outcome.gradients[place]))
