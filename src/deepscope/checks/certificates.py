"""Certified accuracy of a classifier under noise: a bound from below beside the attacks' bound from above."""

from __future__ import annotations

from collections.abc import Mapping

from deepscope.attacks import Smoothing, certify
from deepscope.checks.held_out import HeldOut
from deepscope.presenters.attack_certify import present
from deepscope.results import Note, Result
from deepscope.session import Session

RADIUS = 0.1
_SMOOTHING = Smoothing(0.12, samples=250, first=32)
"""The smallest noise of Cohen et al. 2019: the network was probably not trained with noise."""
VOTES = _SMOOTHING.samples + _SMOOTHING.first
"""Forward passes per image."""

LISTED: Mapping[str, str] = {
    f"certified/{RADIUS:g}": f"of the images are certified within an L2 norm of {RADIUS:g}, with votes under noise of "
    f"{_SMOOTHING.sigma:g}",
}


def certified(held: HeldOut, count: int, session: Session) -> Result:
    """Certificates of some images, drawn at random, and no attack: its figures, the note and the curve."""
    found = certify(held.model, held.images, _SMOOTHING, radii=(), limit=count, seed=session.seed, session=session)
    shown = present(found)
    note, curve = (block for block in shown.blocks[:2])
    assert isinstance(note, Note)
    metrics = {
        "certified/images": float(len(found)),
        **found.certified(RADIUS).metrics(f"certified/{RADIUS:g}"),
    }
    return Result("", metrics=metrics, blocks=(Note(note.text, note.title), curve))
