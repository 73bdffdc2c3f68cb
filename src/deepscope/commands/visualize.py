"""`deepscope visualize`: images that maximise class scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.presenters.visualize import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides
from deepscope.visualization import (
    Layer,
    Recipe,
    preset,
    suited,
    visualize,
)

_NOISE = "noise"


@dataclass(frozen=True)
class Visualize(Command):
    """Synthesise images of a class by gradient ascent on the score that a network gives it.

    Another network, which was not used to make the images, evaluates them. Ctrl-C stops and shows the images so
    far; the same command resumes. The defaults below are those of the preset "default".

    Attributes:
        classes: names, WordNet identifiers or numbers of classes; one image per class.
        model: the network.
        preset: recipe for settings that are not given; an unknown name lists all presets.
        start: "noise", or an image file to start from.
        seeds: images per class, from different noise.
        layer: a layer to maximise instead of classes, as a whole or by its channels.
        channel: channels of the layer, one image per channel.
        animate: also show an animation of the ascent.
        evaluators: networks that evaluate the images; by default the bundled one, or squeezenet1_0 for images of
            the bundled one.
        batch_size: images per batch.
        recipe: settings that differ from the preset's.
    """

    example: ClassVar[str] = 'deepscope visualize wombat "bee eater" --model squeezenet1_0 --animate --out wombat/'
    renamed: ClassVar[Mapping[str, str]] = {"judge": "evaluators"}

    classes: tuple[str, ...] = ()
    _: KW_ONLY
    model: str = DEFAULT
    preset: str = "default"
    start: str = _NOISE
    seeds: Count = 1
    layer: str | None = None
    channel: tuple[int, ...] = ()
    animate: bool = False
    evaluators: tuple[str, ...] = ()
    batch_size: Count = 8
    recipe: Annotated[Mapping[str, Any], Overrides(Recipe)] = field(default_factory=dict)

    def run(self, session: Session) -> Result:
        """Make, evaluate and show."""
        targets = self._targets()
        recipe = dataclasses.replace(preset(self.preset, session), **self.recipe)
        model = load_model(self.model, session)
        if self.recipe.get("view"):
            _require_view(recipe, model)
        return present(
            visualize(
                model,
                targets,
                recipe=recipe,
                evaluators=[load_model(name, session) for name in self.evaluators] or None,
                start=None if self.start == _NOISE else Path(self.start),
                seeds=self.seeds,
                animate=self.animate,
                batch_size=self.batch_size,
                session=session,
            )
        )

    def settings(self) -> dict[str, Any]:
        """All flags; `present` adds those of the recipe."""
        return {name: value for name, value in super().settings().items() if name != "recipe"}

    def _targets(self) -> tuple[str, ...] | Layer:
        if self.classes and (self.layer is not None or self.channel):
            name = "channel" if self.layer is None else "layer"
            raise SettingError(name, "cannot be combined with classes: give one of them, not both")
        if self.evaluators and not self.classes:
            raise SettingError("evaluators", "recognise classes: name classes, not a {layer}")
        if self.layer is not None:
            return Layer(self.layer, self.channel)
        if self.channel:
            raise SettingError("channel", "needs a {layer}: `deepscope models show MODEL` lists the layers")
        if not self.classes:
            raise SettingError(
                "classes", 'must name at least one class, as in `deepscope visualize "bee eater"`; or give a {layer}'
            )
        return self.classes


def _require_view(recipe: Recipe, model: VisionModel) -> None:
    """Default views adapt to the network; a requested view that does not fit is refused."""
    if suited(recipe, model).view != recipe.view:
        height, width = model.preprocessing.size
        raise SettingError(
            "view", f"does not fit {model.name}, which accepts only {height} x {width} pixels", got=recipe.view
        )
