"""`deepscope concepts units`: what excites each channel of a layer."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from deepscope import concepts
from deepscope.command import Command
from deepscope.models import DEFAULT, load_model
from deepscope.models.capabilities import GRADIENTS_OF_LAYERS, RGB, require
from deepscope.presenters.concepts_units import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Range
from deepscope.visualization import Layer, visualize


@dataclass(frozen=True)
class ConceptsUnits(Command):
    """Show the images and patches that excite each channel of a layer most, over a folder of images.

    Attributes:
        paths: image files and folders.
        layer: the layer's name as `deepscope models show MODEL` prints it.
        channel: channels to show; all of them by default.
        model: the network; a model with features only also works.
        top: images per channel.
        visualize: how many of the channels, from the first, also get an image that gradient ascent makes for them.
        limit: most images to read, drawn at random; by default all.
        batch_size: images per batch.
    """

    name: ClassVar[str] = "units"
    area: ClassVar[str] = "concepts"
    example: ClassVar[str] = "deepscope concepts units photos/ --model vgg16 --layer features.0 --out units/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    layer: str = ""
    channel: tuple[int, ...] = ()
    model: str = DEFAULT
    top: Count = 6
    visualize: Annotated[int, Range(0)] = 0
    limit: Count | None = None
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """One pass over the images, and an ascent for the channels that are visualised."""
        model = load_model(self.model, session)
        if self.visualize:
            require(model, "visualize", RGB | GRADIENTS_OF_LAYERS)
        found = concepts.units(
            model,
            self.paths,
            self.layer,
            channels=self.channel or None,
            top=self.top,
            limit=self.limit,
            batch_size=self.batch_size,
            session=session,
        )
        if self.visualize:
            channels = [unit.channel for unit in found.units[: self.visualize]]
            made = visualize(model, Layer(self.layer, channels), session=session)
            found = found.beside(channels[: len(made)], made.pixels)
        return present(found)
