"""How the result of `deepscope gan sample` is shown."""

from __future__ import annotations

from deepscope.gans import Samples
from deepscope.presenters.gan_figures import cells, generated_by, pixel_array
from deepscope.render import presents
from deepscope.results import ImageGrid, Result

_COLUMNS = 10


@presents(Samples)
def present(found: Samples) -> Result:
    """The images with their classes."""
    classes = found.gan.classes
    captions = [classes[label] for label in found.labels.tolist()] if classes else None
    return Result(
        title=f"{len(found)} generated images{f' of {found.label}' if found.label else ''}",
        metrics={"images": len(found)},
        blocks=(ImageGrid(cells(found.images, _COLUMNS, captions=captions), "Generated images"),),
        arrays={"images": pixel_array(found.images), "labels": found.labels.numpy()},
        provenance=generated_by(found.gan),
    )
