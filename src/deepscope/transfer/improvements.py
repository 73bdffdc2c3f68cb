"""Ideas that could make transferred features better, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepscope.models import VisionModel
from deepscope.transfer.layers import class_layer_input, maps
from deepscope.transfer.recipe import Block, Recipe


@dataclass(frozen=True)
class Improvement:
    """One idea.

    Attributes:
        name: in a few words, stable.
        reasoning: why it should help.
        recipe, head: the idea, ready to be measured.
    """

    name: str
    reasoning: str
    recipe: Recipe
    head: str = "linear-svc"


def improvements(model: VisionModel, models: Sequence[str]) -> list[Improvement]:
    """The baseline and ideas that each change one thing in it; then the ideas that add up, together.

    Args:
        model: whose last layer, L2-normalised, below a linear SVM is the baseline.
        models: names that can be joined, `model`'s first.
    """
    name, *others = models
    last = Block(name, class_layer_input(model))
    base = Recipe((last,))
    deep = [layer for layer in maps(model) if layer != last.layer]
    several = (last, *(Block(name, layer) for layer in deep[-4:-1]))
    pyramid = Block(name, deep[-1], "pyramid") if deep else last
    side = model.preprocessing.size[0]
    larger = round(side * 9 / 7 / 32) * 32
    joined = (last, *(Block(other) for other in others))
    found = [
        Improvement("baseline", "", base),
        Improvement(
            "raw", "Norms may carry information that dividing by them loses.", replace(base, normalisation="raw")
        ),
        Improvement(
            "power normalisation",
            "A few strong activations dominate inner products; square roots even them out.",
            replace(base, normalisation="power"),
        ),
        Improvement(
            "PCA-whitening",
            "Correlated features count several times; whitening counts each direction once.",
            replace(base, normalisation="whiten"),
        ),
        Improvement(
            "horizontal flips",
            "A scene mirrored is the same kind of scene; the mean over both is less noisy.",
            replace(base, flip=True),
        ),
        Improvement(
            "larger input",
            f"At {larger} instead of {side} pixels small objects that tell scenes apart become visible.",
            replace(base, size=larger),
        ),
        Improvement(
            "logistic regression",
            "It fits all classes together instead of one against the rest.",
            base,
            "logistic-regression",
        ),
        Improvement(
            "ridge regression",
            "Closed form; every training image counts, not only those near the border.",
            base,
            "ridge",
        ),
        Improvement(
            "nearest neighbours",
            "Without a linear border: shows what the head contributes.",
            base,
            "nearest-neighbours",
        ),
    ]
    if deep:
        found += [
            Improvement(
                "several layers",
                "Earlier layers keep textures and parts that the last one has traded for ImageNet's objects.",
                replace(base, blocks=several),
            ),
            Improvement(
                "spatial pyramid",
                "Scenes have a layout (sky above, road below) that averaging over the whole image forgets.",
                replace(base, blocks=(pyramid,)),
            ),
        ]
    if others:
        found.append(
            Improvement(
                "several networks",
                "Networks of other design and training make other mistakes.",
                replace(base, blocks=joined),
            )
        )
    best = replace(base, flip=True, size=larger, normalisation="power")
    found.append(
        Improvement(
            "one network, together",
            "Ideas that help for different reasons should add up.",
            replace(best, blocks=several),
        )
    )
    if others:
        everything = (*several, *joined[1:])
        found.append(
            Improvement(
                "everything",
                "The layers of one network and the last ones of the others.",
                replace(base, normalisation="power", blocks=everything),
            )
        )
    return found
