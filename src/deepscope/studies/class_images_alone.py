"""Class images where only one network is here: shown, but judged by nobody else, so no question is answered."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deepscope.commands.class_images import make_images
from deepscope.commands.shown import picture, provenance
from deepscope.models import VisionModel
from deepscope.results import ImageGrid, Result
from deepscope.session import Session
from deepscope.studies.study import Answer, answers
from deepscope.visualization import ClassObjective, preset
from deepscope.visualization.quality import assess

_QUESTIONS = (
    "8. the image shows the class",
    "9. iterations, learning rate and regularisation",
    "10. start from an image",
    "11. another network",
)


def unjudged(model: VisionModel, classes: Sequence[str], why: str, session: Session) -> Result:
    """An image of each class by the default recipe.

    Args:
        model: makes them.
        classes: names.
        why: there is no other network.
    """
    targets = torch.tensor([model.category(name) for name in classes])
    recipe = preset("default")
    images = make_images(ClassObjective.of(model, targets, recipe), recipe, list(classes), session)
    if not images.complete:
        raise KeyboardInterrupt  # what was made is in the cache: the study goes on from there
    seen = assess(model, images.pixels, targets)
    cells = tuple(
        picture(pixels, caption=f"{name} ({float(probability):.2f} by {model.name} itself)")
        for pixels, name, probability in zip(images.pixels, classes, seen.probabilities)
    )
    return Result(
        title=f"Class images of {model.name}, judged by no other network",
        metrics={"classes": len(cells), **seen.metrics()},
        blocks=(
            ImageGrid(
                (cells,),
                title="Figures 2.5 to 2.12, by another recipe",
                caption=f"{recipe.iterations} iterations of the default recipe.",
            ),
            answers([Answer(question, "—", "—", "not measured here", why) for question in _QUESTIONS]),
        ),
        provenance=provenance([model], []),
    )
