"""`deepscope gan interpolate`: the way from one generated image to another."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by, pixel_array
from deepscope.errors import DeepscopeError
from deepscope.gans import generate, interpolate, latents, load, sheet
from deepscope.results import Animation, ImageGrid, Result
from deepscope.session import Session
from deepscope.settings import Count, Range

_SHOWN = 9


@dataclass(frozen=True)
class GanInterpolate(Command):
    """Go from one z to another along the great circle between them, and show the images on the way.

    Attributes:
        folder: of `gan train`.
        label: class to stay in, of a conditional generator; its first where none is named.
        ways: pairs of z.
        steps: images on each way, with its ends.
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
        """Generate along each way."""
        if self.ways < 1 or self.steps < 2:
            raise DeepscopeError("--ways is at least 1, --steps at least 2")
        gan = load(self.folder)
        label = 0 if self.label is None else gan.label(self.label)
        gan.generator.to(session.device)
        ends = latents(2 * self.ways, gan.generator, session.rng("interpolate")).unflatten(0, (self.ways, 2))
        z = torch.cat([interpolate(start, end, self.steps) for start, end in ends])
        images = generate(gan.generator, z, torch.full((len(z),), label)).unflatten(0, (self.ways, self.steps))
        shown = torch.linspace(0, self.steps - 1, min(_SHOWN, self.steps)).round().long()
        frames = torch.stack([torch.from_numpy(sheet(images[:, at], columns=self.ways)) for at in range(self.steps)])
        jumps = (images.float() / 255).diff(dim=1).square().mean((2, 3, 4)).sqrt()
        return Result(
            title=f"From z to z in {self.steps} steps",
            metrics={"step/mean": float(jumps.mean()), "step/largest": float(jumps.max())},
            blocks=(
                ImageGrid(cells(images[:, shown].flatten(0, 1), len(shown)), "Interpolations", "A row for each way."),
                Animation(frames.numpy(), "Interpolations"),
            ),
            arrays={"images": pixel_array(images.flatten(0, 1)), "z": z.numpy()},
            provenance=generated_by(self.folder, gan),
        )
