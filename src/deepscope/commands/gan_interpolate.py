"""`deepscope gan interpolate`: interpolate between generated images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by, pixel_array
from deepscope.gans import Interpolation, interpolate, sheet
from deepscope.render import presents
from deepscope.results import Animation, ImageGrid, Result
from deepscope.session import Session
from deepscope.settings import Count, Range

_SHOWN = 9


@dataclass(frozen=True)
class GanInterpolate(Command):
    """Interpolate between random z along great circles, and show the images.

    Attributes:
        folder: the folder that `gan train` wrote.
        label: the class of all images, of a conditional generator; its first by default.
        ways: number of pairs of z.
        steps: images per pair, including both ends.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "interpolate"
    example: ClassVar[str] = "deepscope gan interpolate digits/ --label 3 --out way/"

    folder: Path
    _: KW_ONLY
    label: str | None = None
    ways: Count = 4
    steps: Annotated[int, Range(2)] = 30

    def run(self, session: Session) -> Result:
        """Generate along each path."""
        return present(interpolate(self.folder, label=self.label, ways=self.ways, steps=self.steps, session=session))


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
