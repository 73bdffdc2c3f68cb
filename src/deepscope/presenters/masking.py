"""How signs of masked gradients are shown: a verdict and a table of the signs."""

from __future__ import annotations

from deepscope.attacks import Masking
from deepscope.names import counted
from deepscope.results import Block, Column, Note, Table


def masking_metrics(found: Masking) -> dict[str, float]:
    """How many signs were found, and the share of images that show each."""
    metrics: dict[str, float] = {"masking/signs": sum(sign.found for sign in found.signs)}
    for sign in found.signs:
        metrics |= sign.share.metrics(f"masking/{sign.name}")
    return metrics


def masking_blocks(found: Masking) -> tuple[Block, ...]:
    """A note with the verdict, and every sign with its figure and threshold."""
    shown = [sign for sign in found.signs if sign.found]
    if shown:
        said = f"{len(shown)} of {len(found.signs)} signs of masked gradients on {counted(found.images, 'image')}: "
        said += " ".join(sign.meaning for sign in shown)
        said += " The accuracy under attack is an upper bound: attack with a method that knows the defence."
        note = Note(said, "Gradients may be masked", "warning")
    else:
        said = (
            f"None of {len(found.signs)} signs of masked gradients on {counted(found.images, 'image')}. This proves "
            "nothing: "
        )
        said += "gradients can be hidden in other ways."
        note = Note(said, "No sign of masked gradients")
    columns = (
        *(Column("sign"), Column("what it means")),
        *(Column(title, ".2f") for title in ("images", "low", "high", "found where low is above")),
        Column("verdict"),
    )
    rows = [
        (sign.name, sign.meaning, sign.share.value, sign.share.low, sign.share.high, sign.threshold, _said(sign.found))
        for sign in found.signs
    ]
    caption = (
        f"Shares of {counted(found.images, 'image')} with their 95 % Wilson intervals; changes of at most "
        f"{found.radius * 255:g} grey levels of 255."
    )
    return note, Table(columns, tuple(rows), title="Is the robustness real?", caption=caption)


def _said(found: bool) -> str:
    return "warn" if found else "pass"
