"""How the result of `deepscope transfer export` is shown."""

from __future__ import annotations

from deepscope.presenters.shown import skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Note, Provenance, Result
from deepscope.transfer.export import Export


@presents(Export)
def present(written: Export) -> Result:
    """The agreement of the file with the model."""
    found, difference = written.on_images, written.difference
    metrics = {"bytes": float(written.bytes), "difference": difference}
    text = f"{written.path} gives the model's probabilities to within {difference:.1g}, run by onnxruntime."
    blocks: tuple[Block, ...] = (Note(text),)
    if found is not None:
        metrics |= {"images": found.images, "same-top-1": found.same, "difference": found.difference}
        text = f"Same class for {found.same} of {found.images}, probabilities to within {found.difference:.1g}."
        blocks += (Note(text, "On images"), *skipped_blocks(found.skipped))
    return Result(
        title=f"{written.model.name} as ONNX",
        metrics=metrics,
        blocks=blocks,
        provenance=Provenance(models={written.model.name: written.model.fingerprint}),
    )
