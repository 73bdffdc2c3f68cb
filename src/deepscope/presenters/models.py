"""How the result of `deepscope models` is shown."""

from __future__ import annotations

from deepscope.models.anatomy import Anatomy
from deepscope.models.layer_table import Layer
from deepscope.render import presents
from deepscope.results import Column, Note, Result, Table


@presents(Anatomy)
def present(found: Anatomy) -> Result:
    """A table of the layers, and how the parameters are distributed."""
    channels, size, parameters = len(found.preprocessing.mean), found.preprocessing.size, found.parameters
    total, connected = parameters["total"], parameters["fully-connected"]
    return Result(
        title=f"{found.name}: {found.architecture}, input {channels} x {size[0]} x {size[1]}",
        metrics={
            "parameters/total": total,
            "parameters/convolution": parameters["convolution"],
            "parameters/fully-connected": connected,
            "parameters/fully-connected/share": connected / total if total else 0.0,
            "parameters/other": parameters["other"],
            "multiply-adds": found.multiply_adds,
        },
        blocks=(
            Table(columns=_COLUMNS, rows=tuple(_row(layer) for layer in found.layers), title="Layers"),
            Note(
                f"{total:,} parameters: {parameters['convolution']:,} in convolutions, {connected:,} "
                f"({connected / max(total, 1):.0%}) in fully connected layers, {parameters['other']:,} elsewhere.",
                "Parameters",
            ),
        ),
    )


_COLUMNS = (
    Column("layer"),
    Column("kind"),
    Column("output"),
    Column("parameters", ",d"),
    Column("multiply-adds", ",d"),
)


def _row(layer: Layer) -> tuple[str, str, str, int, int]:
    return layer.name, layer.kind, " x ".join(map(str, layer.output)), layer.parameters, layer.multiply_adds
