"""How the result of `deepscope gan evaluator` is shown."""

from __future__ import annotations

from deepscope.gans import TrainedEvaluator
from deepscope.render import presents
from deepscope.results import Block, Column, Note, Provenance, Result, Table


@presents(TrainedEvaluator)
def present(found: TrainedEvaluator) -> Result:
    """The accuracy of both networks."""
    rows = tuple((name, one.value, one.low, one.high) for name, one in found.accuracy.items())
    columns = (Column("network"), *(Column(name, ".4f") for name in ("accuracy", "low", "high")))
    blocks: list[Block] = [Table(columns, rows, "Accuracy on held-out images", "95 % Wilson intervals.")]
    if found.folder:
        text = f"`deepscope gan evaluate` and `deepscope gan train` take {found.folder} as their evaluator."
        blocks.append(Note(text, "Next"))
    return Result(
        title=f"An evaluator of {found.data}",
        metrics={
            key: value for name, one in found.accuracy.items() for key, value in one.metrics(f"accuracy/{name}").items()
        },
        blocks=tuple(blocks),
        provenance=Provenance(data=f"{found.images} training and {found.held_out} held-out images of {found.data}"),
    )
