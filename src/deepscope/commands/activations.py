"""`deepscope activations`: the output of a layer for images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope import classification
from deepscope.command import Command
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.activations import draw
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class Activations(Command):
    """Draw the activation maps of a layer, for one image or several.

    Attributes:
        paths: image files and folders.
        model: the network; a model with features only also works.
        layer: the layer's name as `deepscope models show MODEL` prints it; the first convolution by default.
        maps: most channels to draw; with several images no more than 8.
        limit: most images to use, drawn at random; by default all.
    """

    example: ClassVar[str] = "deepscope activations cat.jpg --model vgg16 --layer features.0 --out maps/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    layer: str | None = None
    maps: Count = 64
    limit: Count | None = None

    def run(self, session: Session) -> Result:
        """Forward passes that stop after the layer."""
        model = load_model(self.model, session)
        found = classification.activations(
            model,
            self.paths,
            self.layer,
            limit=self.limit,
            batch_size=1,  # the same bits whichever other images are named
            session=session,
        )
        return draw(found, maps=self.maps)
