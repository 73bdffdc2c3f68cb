"""`Recipe`: from an image to one feature vector, as text that a user can type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast, get_args

from deepscope.errors import SettingError, unknown
from deepscope.features import class_layer_input
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.classifier import NormalisationKind, Pooling, View
from deepscope.session import Session


@dataclass(frozen=True)
class Block:
    """A layer of a model: `MODEL`, `MODEL@LAYER` or `MODEL@LAYER:POOLING` in text.

    Attributes:
        model: as `load_model` takes it.
        layer: empty for the one that the model's class layer reads.
        pooling: of maps to a vector.
    """

    model: str
    layer: str = ""
    pooling: Pooling = "mean"

    @classmethod
    def parse(cls, text: str) -> Block:
        """Raises SettingError where the text is not a block."""
        model, _, rest = text.strip().partition("@")
        layer, _, pooling = rest.partition(":")
        if not model:
            raise SettingError("features", "name no model: write MODEL, MODEL@LAYER or MODEL@LAYER:POOLING", got=text)
        if pooling and pooling not in get_args(Pooling):
            raise unknown("pooling", pooling, get_args(Pooling))
        return cls(model, layer, cast("Pooling", pooling or "mean"))

    def __str__(self) -> str:
        pooling = "" if self.pooling == "mean" else f":{self.pooling}"
        return f"{self.model}@{self.layer}{pooling}" if self.layer or pooling else self.model


@dataclass(frozen=True)
class Recipe:
    """How the feature vector of an image is computed.

    Attributes:
        blocks: layers whose vectors are concatenated.
        normalisation: of each block.
        size: side of the input of every model, made as the first one wants it; None takes each model's own.
        flip: features are the mean over the image and its mirror image.
        scales: features are the mean over inputs of these relative sizes.
    """

    blocks: tuple[Block, ...]
    normalisation: NormalisationKind = "l2"
    size: int | None = None
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.normalisation not in get_args(NormalisationKind):
            raise unknown("normalisation", self.normalisation, get_args(NormalisationKind))
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise SettingError("scales", "must be one or more numbers between 0.1 and 10", got=self.scales)
        if self.size is not None and not 16 <= self.size <= 4096:
            raise SettingError("size", "must be a side between 16 and 4096 pixels", got=self.size)

    @classmethod
    def parse(cls, text: str, **settings: Any) -> Recipe:
        """Blocks joined by `+`: `vgg16@pool5:flatten+efficientnet_lite0`."""
        return cls(tuple(Block.parse(part) for part in text.split("+")), **settings)

    def __str__(self) -> str:
        return "+".join(map(str, self.blocks))

    @property
    def views(self) -> tuple[View, ...]:
        """The views of each image."""
        return tuple(View(mirrored, scale) for scale in self.scales for mirrored in ((False, True)[: 1 + self.flip]))

    def pixels(self, models: Mapping[str, VisionModel], name: str) -> Preprocessing:
        """The preprocessing of the model of that name; its mean and std are not used."""
        if self.size is None:
            return replace(models[name].preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
        own = replace(models[self.blocks[0].model].preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
        margin = own.resize / own.size[0] if isinstance(own.resize, int) else 1
        return replace(own, resize=round(self.size * margin), crop=self.size)

    def named(self, models: Mapping[str, VisionModel]) -> Recipe:
        """The same recipe with every layer's name spelled out.

        Raises:
            ModelError: a model has no layer of that name.
            SettingError: a model takes images of another size only.
        """
        blocks = []
        for block in self.blocks:
            model = models[block.model]
            if self.size and (only := model.input_size) and only != (self.size, self.size):
                problem = f"cannot be changed: {model.name} takes images of {only[0]} x {only[1]} pixels only"
                raise SettingError("size", problem, got=self.size)
            if block.layer:
                model.layer(block.layer)
            blocks.append(block if block.layer else replace(block, layer=class_layer_input(model)))
        return replace(self, blocks=tuple(blocks))

    def shared_pixels(self, models: Mapping[str, VisionModel]) -> Preprocessing:
        """The preprocessing that all the models share.

        Raises:
            SettingError: the models take images of different sizes.
        """
        names = [name for name, _ in self.by_model()]
        pixels = {self.pixels(models, name) for name in names}
        if len(pixels) > 1:
            raise SettingError(
                "size", f"must be given: {' and '.join(names)} take images of different sizes; 224 fits most"
            )
        return pixels.pop()

    def aliases(self, models: Mapping[str, VisionModel]) -> dict[str, str]:
        """Layers' names in publications, for a `Classifier` on the models; the first model's where several have one."""
        found: dict[str, str] = {}
        for number, (name, _) in enumerate(self.by_model()):
            for alias, layer in models[name].aliases.items():
                found.setdefault(alias, f"backbones.{number}.network.{layer}")
        return found

    def by_model(self) -> Iterator[tuple[str, list[tuple[str, Pooling]]]]:
        """Each model once, with its layers."""
        for name in dict.fromkeys(block.model for block in self.blocks):
            yield name, [(block.layer, block.pooling) for block in self.blocks if block.model == name]


Feature: TypeAlias = "str | VisionModel | Recipe"
"""`MODEL`, `MODEL@LAYER` or `MODEL@LAYER:POOLING`, several joined by `+`; a model, of which the layer that the class
layer reads is taken; or a whole recipe."""


def recipe_of(feature: Feature, **settings: Any) -> Recipe:
    """A feature as a recipe, with these settings where it is none yet.

    Raises:
        SettingError: the text names no model, or a setting is out of range.
    """
    if isinstance(feature, Recipe):
        return feature
    if isinstance(feature, VisionModel):
        return Recipe((Block(feature.name),), **settings)
    return Recipe.parse(feature, **settings)


def given_models(features: Iterable[Feature]) -> dict[str, VisionModel]:
    """The models among the features, by name."""
    return {feature.name: feature for feature in features if isinstance(feature, VisionModel)}


def open_models(
    recipes: Iterable[Recipe], given: Mapping[str, VisionModel], session: Session
) -> dict[str, VisionModel]:
    """The models of the recipes, by the name that they have there.

    Args:
        recipes: what is to be computed.
        given: models that are open already.
        session: device and folders.

    Raises:
        ModelError: there is no model of that name, or its weights are missing.
    """
    names = dict.fromkeys(block.model for recipe in recipes for block in recipe.blocks)
    return {name: given[name] if name in given else load_model(name, session) for name in names}
