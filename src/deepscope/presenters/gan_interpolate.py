"""How the result of `deepscope gan interpolate` is shown."""

from __future__ import annotations

import torch

from deepscope.gans import Interpolation, sheet
from deepscope.presenters.gan_figures import cells, generated_by, pixel_array
from deepscope.render import presents
from deepscope.results import Animation, ImageGrid, Result

_SHOWN = 9


@presents(Interpolation)
def present(found: Interpolation) -> Result:
    """A row per path, and an animation of all."""
    images, (ways, steps) = found.images, found.images.shape[:2]
    shown = torch.linspace(0, steps - 1, min(_SHOWN, steps)).round().long()
    frames = torch.stack([torch.from_numpy(sheet(images[:, at], columns=ways)) for at in range(steps)])
    jumps = found.jumps
    return Result(
        title=f"From z to z in {steps} steps",
        metrics={"step/mean": float(jumps.mean()), "step/largest": float(jumps.max())},
        blocks=(
            ImageGrid(cells(images[:, shown].flatten(0, 1), len(shown)), "Interpolations", "One row per pair of z."),
            Animation(frames.numpy(), "Interpolations"),
        ),
        arrays={"images": pixel_array(images.flatten(0, 1)), "z": found.z.flatten(0, 1).numpy()},
        provenance=generated_by(found.gan),
    )
