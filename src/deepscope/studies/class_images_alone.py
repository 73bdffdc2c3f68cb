"""Class images where only one network is available: shown without evaluation by another, so no question is answered."""

from __future__ import annotations

from collections.abc import Sequence

from deepscope.models import VisionModel
from deepscope.presenters.shown import origin, picture
from deepscope.results import ImageGrid, Result
from deepscope.session import Session
from deepscope.studies.study import Answer, answers
from deepscope.visualization import preset, visualize

_QUESTIONS = (
    "8. the image shows the class",
    "9. iterations, learning rate and regularisation",
    "10. start from an image",
    "11. another network",
)


def unevaluated(model: VisionModel, classes: Sequence[str], why: str, session: Session) -> Result:
    """An image of each class by the default recipe.

    Args:
        model: makes them.
        classes: names.
        why: there is no other network.
        session: precision, cache and progress.
    """
    recipe = preset("default")
    images = visualize(model, classes, recipe=recipe, session=session)
    if not images.made.complete:
        raise KeyboardInterrupt  # what was made is in the cache: the study resumes from there
    seen = images.evaluations[0].recognition
    cells = tuple(
        picture(pixels, caption=f"{name} ({float(probability):.2f} by {model.name} itself)")
        for pixels, name, probability in zip(images.pixels, classes, seen.probabilities)
    )
    return Result(
        title=f"Class images of {model.name}, evaluated by no other network",
        metrics={"classes": len(cells), **seen.metrics()},
        blocks=(
            ImageGrid(
                (cells,),
                title="Figures 2.5 to 2.12, by another recipe",
                caption=f"{recipe.iterations} iterations of the default recipe.",
            ),
            answers([Answer(question, "—", "—", "not measured here", why) for question in _QUESTIONS]),
        ),
        provenance=origin([model], (), ()),
    )
