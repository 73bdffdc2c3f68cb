"""What could be done about the confidences of a classifier: divide its logits by a temperature, or abstain."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from deepscope.inputs import Photos
from deepscope.presenters import models_abstain, models_calibrate
from deepscope.results import Note, Result
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.transfer.abstention import abstention_of
from deepscope.transfer.calibration import FEWEST, Halves, calibration_of

WANTED = 0.95
"""Accuracy on the images that are answered, as `models abstain` wants it by default."""
_ERROR = 0.05

LISTED: Mapping[str, str] = {
    "calibrated/expected-calibration-error": "expected calibration error after division of the logits by a temperature",
    "abstention/coverage": f"of the images are answered where the model abstains so that {WANTED:g} are answered right",
    "abstention/accuracy": "of the answered images are classified correctly then",
}
"""Metrics of this module and what they are. The images that measure them did not choose temperature or confidence."""

SHARES = ("abstention/*", "calibrated/expected-calibration-error")
"""Those that lie in [0, 1]."""


def measured(photos: Photos, session: Session) -> Result | None:
    """The temperature and the confidence that half of the images choose, measured on the others.

    None where there are fewer than 4 images, or where the model has a threshold of its own.
    """
    model = photos.model
    if len(photos) < FEWEST or model.head.thresholds:
        return None
    labels = torch.tensor([min(answer) for answer in photos.answers])
    halves = (Halves.drawn(photos, labels, session.rng(stream)) for stream in ("calibration", "abstention"))
    scaled = models_calibrate.present(calibration_of(model, next(halves)))
    found = abstention_of(model, next(halves), WANTED, error=_ERROR)
    shown = models_abstain.present(found)
    after, fall = (Estimate.of(scaled.metrics, f"expected-calibration-error/{name}") for name in ("after", "fall"))
    metrics = {
        "calibrated/temperature": scaled.metrics["temperature"],
        **after.metrics("calibrated/expected-calibration-error"),
        **fall.metrics("calibrated/fall"),
    }
    if found.threshold.found:
        metrics |= {"abstention/threshold": found.threshold.confidence, **found.coverage.metrics("abstention/coverage")}
    if found.answered.any():
        metrics |= found.selective.metrics("abstention/accuracy")
    said = {"Calibration by a temperature": scaled.blocks[0], "Abstention": shown.blocks[0]}
    notes = tuple(Note(note.text, title) for title, note in said.items() if isinstance(note, Note))
    return Result("", metrics=metrics, blocks=notes)


def left_out(metrics: Mapping[str, float]) -> dict[str, str]:
    """What these metrics lack, and the command that measures it."""
    lacking: dict[str, str] = {}
    if "calibrated/temperature" not in metrics:
        text = "`deepscope models calibrate` measures how far it lowers the calibration error"
        lacking["calibration by a temperature"] = text
    if "abstention/coverage" not in metrics:
        few = f"no confidence guarantees an accuracy of {WANTED:g} on these images; "
        text = "`deepscope models abstain` finds the confidence below which the model should not answer"
        lacking["abstention"] = (few if "calibrated/temperature" in metrics else "") + text
    return lacking
