"""How the results of `deepscope models` are shown."""

from __future__ import annotations

from deepscope.models import DEFAULT
from deepscope.models.anatomy import Anatomy
from deepscope.models.describing import Described
from deepscope.models.layer_table import Layer
from deepscope.models.listing import ClassList, ModelList
from deepscope.render import presents
from deepscope.results import Column, Note, Provenance, Result, Table


@presents(ModelList)
def present_list(found: ModelList) -> Result:
    """A row per model, and how to list those that are left out."""
    columns = (Column("model"), Column("parameters", ",d"), Column("input"), Column("here"), Column("weights"))
    cells = {**found.columns(), "here": ["yes" if entry.here else "no" for entry in found.entries]}
    table = Table(columns, tuple(zip(*cells.values(), strict=True)), caption=f"The default is {DEFAULT}.")
    more = Note(f"{found.left_out:,} architectures of timm are not shown: `deepscope models 'timm:*'` lists them.")
    return Result(
        title="Models",
        metrics={"models": len(found) + found.left_out, "here": found.here},
        blocks=(table, more) if found.left_out else (table,),
    )


@presents(ClassList)
def present_classes(found: ClassList) -> Result:
    """A row per class."""
    columns = (Column("class", "d"), Column("name"), Column("WordNet"))
    return Result(
        title=f"Classes of {found.model.name}",
        metrics={"classes": len(found)},
        blocks=(Table(columns, tuple(zip(*found.columns().values(), strict=True))),),
    )


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
                f"({100 * connected / max(total, 1):.0f} %) in fully connected layers, {parameters['other']:,} "
                "elsewhere.",
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


@presents(Described)
def present_description(found: Described) -> Result:
    """A row per fact."""
    model, can = found.model, found.model.capabilities
    rows = tuple(row for row in found.rows().items() if row[1])
    height, width = found.input_size or (0, 0)
    return Result(
        title=model.name,
        metrics={
            "parameters": found.parameters,
            "classes": len(found.classes),
            "gradients": can.gradients,
            "layers": can.activations,
            "input/fixed": found.input_size is not None,
            **({"input/height": height, "input/width": width} if found.input_size else {}),
        },
        blocks=(Table(columns=(Column("fact"), Column("value")), rows=rows),),
        provenance=Provenance(models={model.name: model.fingerprint}),
    )
