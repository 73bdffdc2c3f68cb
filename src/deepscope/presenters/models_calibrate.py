"""How a calibrated model is shown."""

from __future__ import annotations

import numpy as np

from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render import presents
from deepscope.results import Curves, Note, Result, Series
from deepscope.statistics import Estimate
from deepscope.transfer.calibration import Calibration


@presents(Calibration)
def present(found: Calibration) -> Result:
    """Calibration before and after."""
    before, after = found.error(calibrated=False), found.error(calibrated=True)
    photos = found.halves.photos
    said = (
        f"Dividing the logits by {found.temperature:.3g} changes the expected calibration error on {len(found)} other "
        f"images from {before} to {after}: {_change(found.fall)} No prediction changes."
    )
    notes = [Note(said, "Calibration", "verdict")]
    if found.saved is not None:
        notes.append(Note(f"{found.saved} is the calibrated model: give it to any command.", "Saved"))
    if found.unsaved:
        notes.append(Note(f"The calibrated model is not saved: {found.unsaved}.", "Not saved", "warning"))
    return Result(
        title=f"Calibration of {found.model.name}",
        metrics={
            "images": len(photos),
            "temperature": found.temperature,
            **before.metrics("expected-calibration-error/before"),
            **after.metrics("expected-calibration-error/after"),
            **found.fall.metrics("expected-calibration-error/fall"),
            "negative-log-likelihood/before": found.likelihood(calibrated=False),
            "negative-log-likelihood/after": found.likelihood(calibrated=True),
        },
        blocks=(*notes, _diagram(found), *skipped_blocks(found.skipped)),
        provenance=origin([found.model], photos.paths, photos.digests),
    )


def _change(fall: Estimate) -> str:
    """What the paired difference says."""
    if fall.low > 0:
        return f"it falls by {fall}."
    if fall.high < 0:
        return f"it rises by {Estimate(-fall.value, -fall.high, -fall.low)}, so keep the model as it is."
    return f"the difference, {fall}, may be chance."


def _diagram(found: Calibration) -> Curves:
    both = {"before": found.before, "after": found.after}
    ends = np.array([0.0, 1.0])
    series = (
        Series("perfect", ends, ends),
        *(Series(name, one.confidence, one.accuracy) for name, one in both.items()),
    )
    caption = f"{len(found)} images that did not choose the temperature, in bins of equal width."
    return Curves(series, "confidence", "accuracy", "Confidence and accuracy", caption)
