"""How the result of `deepscope models check` is shown."""

from __future__ import annotations

from deepscope.classification.agreement import Agreement
from deepscope.names import counted
from deepscope.render import presents
from deepscope.results import Column, Note, Provenance, Result, Table

_SHOWN = 12


@presents(Agreement)
def present(found: Agreement) -> Result:
    """The verdict, and the ways to prepare images that were tried."""
    ways = found.ways[:_SHOWN]
    kind = "share of images with another class" if found.of_classes else "difference of probabilities"
    table = Table(
        columns=(Column("images prepared"), Column("difference", ".4f")),
        rows=tuple((way.name, way.difference) for way in ways),
        caption=(
            f"{kind[0].upper()}{kind[1:]}, the mean over {counted(found.images, 'image')}; {len(found.ways)} ways were "
            "tried."
        ),
        mark=ways.index(found.best) if found.best in ways else None,
    )
    return Result(
        title=f"{found.model.name} and the predictions of its owner",
        metrics={
            "images": found.images,
            "difference": found.own.difference,
            "difference/best": found.best.difference,
            "agrees": found.agrees,
            "explained": found.explained,
        },
        blocks=(Note(_verdict(found), "Verdict"), table),
        provenance=Provenance(models={found.model.name: found.model.fingerprint}),
    )


def _verdict(found: Agreement) -> str:
    own, best = found.own, found.best
    if found.agrees:
        rounded = ", which the file's decimals explain" if own.difference > found.allowed else ""
        return f"The model gives what is expected: the difference is {own.difference:.4f}{rounded}."
    if not found.explained:
        return (
            f"The difference is {own.difference:.4f}, and none of {len(found.ways)} ways to prepare images explains "
            f"it: the closest ({best.name}) leaves {best.difference:.4f}. Weights, classes or their order may differ."
        )
    taken = "" if best.preprocessing == found.model.preprocessing else f": {best.preprocessing}"
    return (
        f"The difference is {own.difference:.4f}. One way explains it, with {best.difference:.4f}: {best.name}{taken}."
    )
