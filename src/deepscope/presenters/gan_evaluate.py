"""How the result of `deepscope gan evaluate` is shown."""

from __future__ import annotations

import torch

from deepscope.gans import GANEvaluation
from deepscope.gans.quality import MANIFOLD, NEAREST
from deepscope.presenters.gan_figures import cells, generated_by
from deepscope.render import presents
from deepscope.results import Column, ImageGrid, Note, Provenance, Result, Table


@presents(GANEvaluation)
def present(found: GANEvaluation) -> Result:
    """All metrics, and the nearest training images."""
    missing = [*(() if found.evaluated else (_NO_EVALUATOR,)), *found.missing]
    return Result(
        title=f"Quality of the images of {found.name}",
        metrics=dict(found.metrics),
        blocks=(_table(found), *(Note(text, "Not measured", "warning") for text in missing), _nearest(found)),
        provenance=generated_by(found.gan) if found.gan else Provenance(data=found.name),
    )


_NO_EVALUATOR = (
    "Classes, and distances by an evaluator's features: no evaluator knows these images. Train one with "
    "`deepscope gan evaluator` and give its folder to `deepscope gan evaluate` as the evaluator."
)


def _table(found: GANEvaluation) -> Table:
    rows = tuple((name, value, found.of_real_images(name)) for name, value in found.generated.items())
    columns = (Column("measure"), Column("generated", ".4f"), Column("real images", ".4f"))
    caption = "Real images: held-out or training images in place of the samples, as an upper bound."
    if found.held_out:
        caption += f" {found.drawn} samples, {found.held_out} held-out images"
        if "precision" in found.metrics:
            caption += (
                f"; distances are of {found.compared} on each side, precision and recall of "
                f"{min(found.compared, MANIFOLD)}"
            )
        caption += f"; memorised is of {min(found.drawn, NEAREST)} samples, and of real images what chance gives."
    return Table(columns, rows, "Quality", caption)


def _nearest(found: GANEvaluation) -> ImageGrid:
    pairs = torch.cat([found.samples, found.nearest])
    captions = [f"{distance:.3f}" for distance in found.distances.tolist()] + [""] * len(found.nearest)
    title = "Samples closest to training images"
    grid = cells(pairs, max(len(found.samples), 1), captions=captions)
    return ImageGrid(grid, title, "Above samples, below training images; RMS.")
