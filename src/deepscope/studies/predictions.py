"""Chapter 1.1, question 3 (Figure 1.1): the network applied to chosen images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

from deepscope.classification import classify
from deepscope.command import Headline
from deepscope.data.photographs import bundled_photographs
from deepscope.images import Skipped
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.classify import figure, present
from deepscope.presenters.shown import skipped_blocks
from deepscope.results import ImageGrid, Result
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies.networks import installed, usable
from deepscope.studies.study import Answer, Budget, Study, answers

_CHOSEN = ("tabby", "Shih-Tzu", "komondor", "swab", "wombat", "Cardigan")
"""The true and predicted classes of the report's six images, where the sample has them."""

_FEW = 20
"""Fewer images say nothing of how often a network is right."""


@dataclass(frozen=True)
class Predictions(Study):
    """Top-5 predictions on the animals of Figure 1.1, and accuracy on all the images with known truth.

    Attributes:
        models: networks to compare; those whose weights are missing are shown as not measured.
    """

    chapter: ClassVar[str] = "1.1 VGG16 architecture"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.02, "full": 1.0}

    _: KW_ONLY
    models: tuple[str, ...] = (DEFAULT, "squeezenet1_0", "vgg16")

    def inputs(self, home: Path) -> Sequence[Path]:
        """The sample of ImageNet, and the weights."""
        return [home / "data" / "imagenet-sample", home / "weights"]

    def run(self, session: Session) -> Result:
        """Classify with each network that is available."""
        folder = session.home / "data" / "imagenet-sample"
        everything = [folder] if folder.is_dir() else bundled_photographs().paths
        chosen = [path for name in _CHOSEN for path in sorted(folder.glob(f"*_{name}.*"))]
        data = "data/imagenet-sample" if folder.is_dir() else "the bundled photographs"
        here = installed(session)  # others would be downloaded
        metrics: dict[str, float] = {}
        found: list[Answer] = []
        figures: list[ImageGrid] = []
        skipped: dict[Skipped, None] = {}
        for name in self.models:
            models, _ = usable([name] if name in here else [], session, load_model)
            if not models:
                why = f"the full weights of {name} are missing: `deepscope models {name}` says what is missing"
                found.append(Answer(f"3. {name} on six images", "4 right", "—", "not measured here", why))
                continue
            classified = classify(models[0], everything, session=session)
            result = present(classified)
            metrics |= {f"{key}/{name}": value for key, value in result.metrics.items()}
            skipped |= dict.fromkeys(classified.skipped)
            unread = {item.path for item in classified.skipped}
            clear = [path for path in chosen if str(path) not in unread]
            shown = classify(models[0], clear, session=session) if clear else classified
            figures.append(replace(figure(shown), title=f"Figure 1.1 with {name}"))
            found.append(_answer(result.metrics, name, data))
        return Result(
            title="Predictions of networks",
            metrics=metrics,
            blocks=(*figures, answers(found), *skipped_blocks(list(skipped))),
        )

    def headline(self, result: Result) -> Headline | None:
        """How often the first available network names the image."""
        tops = {name: Estimate.of(result.metrics, "accuracy/top1", f"/{name}") for name in self.models}
        known = {name: top for name, top in tops.items() if top.known}
        if not known:
            return None
        name, top = next(iter(known.items()))
        count = round(result.metrics[f"known/{name}"])
        few = count < _FEW
        said = [f"{name} classifies {round(top.value * count)} of {count} images correctly"]
        said += [f"{other} {round(one.value * count)}" for other, one in known.items() if other != name]
        ending = (
            "These images illustrate its predictions; they are too few to measure its accuracy."
            if few
            else "The truth is in the names of the files."
        )
        return Headline(
            f"{', '.join(said)}. {ending}",
            f"of {count} images are classified correctly by {name}",
            None if few else top,
            verdict="" if few else "measured",
            picture=result.figure(),
        )


def _answer(metrics: Mapping[str, float], model: str, data: str) -> Answer:
    if "known" not in metrics:
        why = f"none of its classes is one of {data}: save it with their names, by `deepscope models save`"
        return Answer(f"3. {model} on six images", "4 right", "—", "not measured here", why)
    top1, low, high = (metrics[f"accuracy/{key}"] for key in ("top1", "top1/low", "top1/high"))
    top5 = metrics.get("accuracy/top5")  # of more than five classes
    return Answer(
        f"3. {model} on {metrics['known']:.0f} images of {data}",
        "—",
        f"top-1 {top1:.2f} [{low:.2f}, {high:.2f}]" + ("" if top5 is None else f", top-5 {top5:.2f}"),
        "answered",
        "truth from the files' names; 95 % Wilson interval",
    )
