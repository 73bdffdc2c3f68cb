"""Ideas that could make transferred features better, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

from deepscope.features.layers import class_layer_input, maps
from deepscope.models import VisionModel
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.recipe import Block, Recipe


@dataclass(frozen=True)
class Improvement:
    """One idea.

    Attributes:
        name: short and stable.
        reasoning: why it should help.
        recipe, head: the idea, ready to be measured.
        fine_tuning: of the networks; None does not fine-tune.
    """

    name: str
    reasoning: str
    recipe: Recipe
    head: str = "linear-svc"
    fine_tuning: FineTuning | None = None


def improvements(models: Mapping[str, VisionModel], fine_tuning: FineTuning | None) -> list[Improvement]:
    """The baseline and ideas that each change one thing in it; then the combination of ideas.

    Args:
        models: the first is improved: its last layer, L2-normalised, below a linear SVM is the baseline. The others
            can be joined to it.
        fine_tuning: how the first is fine-tuned; None skips that idea.
    """
    name = next(iter(models))
    stages = {each: _stages(each, model) for each, model in models.items()}
    base, top = Recipe(stages[name][:1]), maps(models[name])
    side = models[name].preprocessing.size[0]
    larger = None if models[name].input_size else round(side * 9 / 7 / 32) * 32
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
            "A mirrored scene belongs to the same class; the mean over both is less noisy.",
            replace(base, flip=True),
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
    if larger:
        found.append(
            Improvement(
                "larger input",
                f"At {larger} instead of {side} pixels small objects that tell scenes apart become visible.",
                replace(base, size=larger),
            )
        )
    if len(stages[name]) > 1:
        found += [
            Improvement(
                "several layers",
                "Earlier layers keep textures and parts that the last one no longer represents.",
                replace(base, blocks=stages[name]),
            ),
            Improvement(
                "spatial pyramid",
                "Scenes have a layout (sky above, road below) that averaging over the whole image forgets.",
                replace(base, blocks=(Block(name, top[-1], "pyramid"),)),
            ),
        ]
    if fine_tuning:
        found.append(
            Improvement(
                "fine-tuning",
                "Features learned for ImageNet's objects can become features for scenes.",
                base,
                fine_tuning=fine_tuning,
            )
        )
    found.append(
        Improvement(
            "one network, together",
            "Ideas that help for different reasons should add up.",
            replace(base, flip=True, size=larger, normalisation="power", blocks=stages[name]),
        )
    )
    if len(models) > 1:
        found += [
            Improvement(
                "several networks",
                "Networks of different design and training make different mistakes.",
                replace(base, blocks=tuple(blocks[0] for blocks in stages.values())),
            ),
            Improvement(
                "everything",
                "Both: several layers of every network with a class layer, the last of the others.",
                replace(base, blocks=tuple(chain(*stages.values()))),
            ),
        ]
    return found


def _stages(name: str, model: VisionModel) -> tuple[Block, ...]:
    """The layer that the class layer reads, then up to three stages of maps before the last, in order.

    Of a network without a class layer it is the last layer alone.
    """
    last = class_layer_input(model)
    deep = [layer for layer in maps(model) if layer != last] if model.categories else []
    return (Block(name, last), *(Block(name, layer) for layer in deep[-4:-1]))
