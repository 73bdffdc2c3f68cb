"""`deepscope gan sample`: images from a trained generator."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by, pixel_array
from deepscope.errors import DeepscopeError
from deepscope.gans import balanced, drawn, generate, latents, load
from deepscope.results import ImageGrid, Result
from deepscope.session import Session
from deepscope.settings import Count, Positive

_COLUMNS = 10


@dataclass(frozen=True)
class GanSample(Command):
    """Make images with a trained generator.

    With --out they are also kept as an array, `images` in arrays.npz.

    Attributes:
        folder: of `gan train`.
        label: class or cluster to make; where none is named, classes in turn, and clusters as often as they come.
        count: images.
        truncation: z is scaled by it: below 1 gives safer images, more alike.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "sample"
    example: ClassVar[str] = "deepscope gan sample digits/ --label 7 --out sevens/"

    folder: Path
    _: KW_ONLY
    label: str | None = None
    count: Count = 50
    truncation: Positive = 1.0

    def run(self, session: Session) -> Result:
        """Generate."""
        if self.count < 1 or self.truncation <= 0:
            raise DeepscopeError("--count is at least 1, --truncation above 0")
        gan = load(self.folder)
        labels = balanced(self.count, len(gan.classes))
        if gan.shares:
            labels = drawn(self.count, gan.shares, session.rng("labels"))
        if self.label is not None:
            labels = torch.full((self.count,), gan.label(self.label))
        gan.generator.to(session.device)
        z = self.truncation * latents(self.count, gan.generator, session.rng("sample"))
        images = generate(gan.generator, z, labels)
        captions = [gan.classes[label] for label in labels] if gan.classes else None
        return Result(
            title=f"{self.count} generated images{f' of {self.label}' if self.label else ''}",
            metrics={"images": self.count},
            blocks=(ImageGrid(cells(images, _COLUMNS, captions=captions), "Generated images"),),
            arrays={"images": pixel_array(images), "labels": labels.numpy()},
            provenance=generated_by(self.folder, gan),
        )
