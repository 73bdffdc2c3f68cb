"""`deepscope gan grid`: every class from the same z, and how much of the style z decides."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by, pixel_array
from deepscope.errors import DeepscopeError
from deepscope.gans import DIGITS, Gan, generate, latents, load
from deepscope.gans.style import agreement, slant, thickness
from deepscope.results import ImageGrid, Note, Result
from deepscope.session import Session
from deepscope.settings import Count

_MEASURED = 200


@dataclass(frozen=True)
class GanGrid(Command):
    """Show every class of a conditional generator, each column from one z.

    For grey digits it also measures whether a column has one style: the intraclass correlation of slant and of
    thickness over the classes, 1 where z alone decides them and 0 where it decides nothing.

    Attributes:
        folder: of `gan train --conditional`.
        columns: different z.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "grid"
    example: ClassVar[str] = "deepscope gan grid digits/ --out grid/"

    folder: Path
    _: KW_ONLY
    columns: Count = 10

    def run(self, session: Session) -> Result:
        """Generate the grid, and measure styles on a larger one."""
        if self.columns < 1:
            raise DeepscopeError("--columns is at least 1")
        gan = load(self.folder)
        if not gan.classes:
            raise DeepscopeError(f"{self.folder} was trained without classes: a grid needs `gan train --conditional`")
        gan.generator.to(session.device)
        images = shared(gan, self.columns, session)
        styles = style_agreement(gan, session) if gan.classes == DIGITS and gan.channels == 1 else {}
        captions = [name for name in gan.classes for _ in range(self.columns)]
        notes = (
            []
            if not styles
            else [
                Note(
                    f"Over {_MEASURED} z, slant agrees within a column by {styles['style/slant']:.2f} and thickness by "
                    f"{styles['style/thickness']:.2f} (intraclass correlation).",
                    "What z decides",
                )
            ]
        )
        return Result(
            title="Every class from the same z",
            metrics=styles,
            blocks=(
                ImageGrid(cells(images.flatten(0, 1), self.columns, captions=captions), "Grid", "A z for each column."),
                *notes,
            ),
            arrays={"images": pixel_array(images.flatten(0, 1))},
            provenance=generated_by(self.folder, gan),
        )


def shared(gan: Gan, columns: int, session: Session) -> Tensor:
    """(classes, columns, C, H, W) uint8 images; a column shares its z."""
    classes = len(gan.classes)
    z = latents(columns, gan.generator, session.rng("grid")).repeat(classes, 1)
    labels = torch.arange(classes).repeat_interleave(columns)
    return generate(gan.generator, z, labels).unflatten(0, (classes, columns))


def style_agreement(gan: Gan, session: Session) -> dict[str, float]:
    """Intraclass correlations of slant and thickness, of grey digits, over columns that share their z."""
    images = shared(gan, _MEASURED, session)
    found = {}
    for measure in (slant, thickness):
        values = measure(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        found[f"style/{measure.__name__}"] = agreement(values.T.numpy())
    return found
