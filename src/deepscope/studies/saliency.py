"""Chapter 2.1 of the report: its visual observations of saliency maps, tested by measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope.attributions import (
    Attribution,
    GradCAM,
    GradientTimesInput,
    GuidedBackpropagation,
    IntegratedGradients,
    SanityCheck,
    SmoothGrad,
    attribute,
)
from deepscope.attributions import Saliency as Gradient
from deepscope.attributions.faithfulness import Deletion, Insertion, MaxSensitivity, Roughness
from deepscope.attributions.measuring import CHANCE, measure
from deepscope.attributions.sanity import check_sanity
from deepscope.command import Headline
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import SettingError
from deepscope.images import Skipped
from deepscope.inputs import Photos, read_photos
from deepscope.models import VisionModel, load_model
from deepscope.models.prediction import forward
from deepscope.presenters.explained import heat, image_cell
from deepscope.presenters.sanity import sanity_blocks, sanity_metrics
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render.text import share
from deepscope.results import Block, GridCell, ImageGrid, Result
from deepscope.session import Session
from deepscope.statistics import Estimate, difference, mean, simultaneous
from deepscope.studies.claims import FEWEST, Question, Row, rank_correlation, unpaired
from deepscope.studies.networks import usable
from deepscope.studies.study import Answer, Budget, Study, answers

Values = Mapping[str, NDArray[np.float64]]
CHECKED: tuple[Attribution, ...] = (Gradient(), GuidedBackpropagation(), GradCAM())
METHODS: tuple[Attribution, ...] = (Gradient(), SmoothGrad(samples=16), IntegratedGradients(), GradCAM())
GRID = (
    "How much each pixel changes the score of the true class and of the predicted one: brighter is more. First images "
    "that are classified correctly, then wrong ones, as in the report's Figures 2.1 to 2.4."
)
"""What the figure of the maps shows."""
FAITHFULNESS, ROUGHNESS, SENSITIVITY, SATURATION = "faithfulness", "roughness", "max-sensitivity", "saturation"


@dataclass(frozen=True)
class Saliency(Study):
    """Saliency maps (chapter 2.1): the claims of the report (Delefosse & Vin), measured.

    Attributes:
        models: the worse network first, the better one second, further ones after them.
        limit: most images to use, drawn at random from imagenet-sample and the bundled photographs.
        steps: steps of insertion and deletion.
        batch_size: images per batch.
    """

    name: ClassVar[str] = "saliency"
    chapter: ClassVar[str] = "2.1 Saliency maps"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.33, "full": 30}

    models: tuple[str, ...] = ("squeezenet1_0", "efficientnet_lite0", "vgg16")
    limit: int | None = None
    steps: int = 14
    batch_size: int = 8

    @classmethod
    def within(cls, budget: Budget) -> Saliency:
        """A few images and coarse steps, or every image."""
        return cls() if budget == "full" else cls(limit=8)

    def run(self, session: Session) -> Result:
        """Measure every map of every network, then answer the report's questions."""
        sample = session.home / "data" / "imagenet-sample"
        named = [*([sample] if sample.is_dir() else []), *bundled_photographs().paths]
        models, missing = usable(self.models, session, load_model)
        if not models:
            names = ", ".join(self.models)
            raise SettingError("models", f"must name a network that can be used here: none of {names} can")
        metrics: dict[str, float] = {}
        blocks: list[Block] = []
        measured: list[dict[str, Values]] = []
        correct: list[NDArray[np.bool_]] = []
        checked: list[SanityCheck] = []
        read: list[Photos] = []
        skipped: dict[Skipped, None] = {}
        for model in list(models):
            photos = read_photos(model, named, session, batch_size=self.batch_size, limit=self.limit)
            skipped |= dict.fromkeys(photos.skipped)
            known = [index for index, answer in enumerate(photos.answers) if answer]
            if not known:
                missing[model.name] = f"none of the classes of {model.name} is one of the images': name them"
                models.remove(model)
                continue
            photos = photos[known]
            read.append(photos.keeping(0))
            correct.append(np.array(photos.correct, dtype=bool))
            checked.append(check_sanity(CHECKED, photos, session))
            metrics |= sanity_metrics(checked[-1], f"/{model.name}")
            measured.append(self._measured(photos, session))
            metrics[f"images/{model.name}"] = len(known)
            metrics[f"accuracy/{model.name}"] = float(correct[-1].mean())
            for method, values in measured[-1].items():
                for name, numbers in values.items():
                    metrics |= mean(numbers).metrics(f"{name}/{method}/{model.name}")
            blocks.append(_figure(photos, correct[-1], session))
        if not models:
            raise SettingError("models", f"must know a class of the images: {'; '.join(missing.values())}")
        asked = [
            *(_right_or_wrong(model, values, right) for model, values, right in zip(models, measured, correct)),
            *(_networks(read[0], own, measured[0], values) for own, values in zip(read[1:], measured[1:])),
            *(_noise(model, values) for model, values in zip(models, measured)),
            *(_saturation(model, values) for model, values in zip(models, measured)),
        ]
        for question in asked:
            metrics |= {name: value for row in question.rows for name, value in row.estimate.metrics(row.name).items()}
            blocks.append(question.table())
        for one in checked:
            blocks += sanity_blocks(one)
        given = [question.answer() for question in asked]
        unanswered = [
            Answer(f"The maps of {name}", "shown", "—", "not measured here", why) for name, why in missing.items()
        ]
        blocks.append(answers([*given, *(_trusted(one) for one in checked), *unanswered]))
        blocks += skipped_blocks(list(skipped))
        return Result(
            title="Saliency maps: the report's observations, measured",
            metrics=metrics,
            blocks=tuple(blocks),
            arrays={
                f"{model.name}/{name}/{method}": numbers
                for model, found in zip(models, measured)
                for method, values in found.items()
                for name, numbers in values.items()
            },
            provenance=origin(models, read[-1].paths, read[-1].digests),
        )

    def _measured(self, photos: Photos, session: Session) -> dict[str, Values]:
        """Method -> figure -> (N,) values; faithfulness is what a map gains over a random one."""
        measures = (Insertion(self.steps), Deletion(self.steps), Roughness(), MaxSensitivity(samples=1))
        cheap = measures[:3]
        confidence = photos.probabilities.amax(1).double().numpy()
        found: dict[str, Values] = {}
        chance = measure(None, photos, cheap, session, batch_size=self.batch_size)
        for method in METHODS:
            asked = measures if isinstance(method, (Gradient, SmoothGrad, GradCAM)) else cheap
            values = measure(method, photos, asked, session, batch_size=self.batch_size)
            gained = (values["insertion"] - values["deletion"]) - (chance["insertion"] - chance["deletion"])
            found[method.name] = {**values, FAITHFULNESS: gained / confidence}
        found[CHANCE] = chance
        found["gradient-times-input"] = {SATURATION: self._saturation(photos, session)}
        return found

    def _saturation(self, photos: Photos, session: Session) -> NDArray[np.float64]:
        """Share of the logit's rise from a black image that the gradient at the image does not account for."""
        method, model = GradientTimesInput(), photos.model
        shares = attribute(method, model, photos.pixels, photos.predicted, batch_size=self.batch_size)
        black = forward(model, torch.zeros_like(photos.pixels[:1]), session)
        rise = (photos.logits - black).gather(1, photos.predicted[:, None])[:, 0]
        return ((rise - shares.sum((1, 2, 3))).abs() / rise.abs()).double().numpy()

    def headline(self, result: Result) -> Headline | None:
        """Whether SmoothGrad cures the noise, and what the gradient misses."""
        name = next((name for name in reversed(self.models) if f"images/{name}" in result.metrics), None)
        if name is None:
            return None
        calmer = Estimate.of(result.metrics, f"smooth-grad/{SENSITIVITY}/{name}")
        before, after = (
            Estimate.of(result.metrics, f"{SENSITIVITY}/{method}/{name}") for method in ("saliency", "smooth-grad")
        )
        missed = Estimate.of(result.metrics, f"saturation/gradient-misses/{name}")
        if (count := round(result.metrics[f"images/{name}"])) < FEWEST:
            return Headline(
                f"On the {count} images here that {name} has a class for, invisible noise changes a saliency map by "
                f"{100 * before.value:.0f} % of its norm, and a SmoothGrad map by {100 * after.value:.0f} %. They show "
                "what the maps look like, and are too few to decide anything.",
                picture=result.figure(f"Saliency maps of {name}"),
            )
        decided = "reproduced" if calmer.high < 0 else "differs" if calmer.low > 0 else ""
        return Headline(
            f"Invisible noise in the image changes a saliency map by {share(before)} of its norm, and a SmoothGrad map "
            f"by {share(after)}. From a black image to the photograph the class score of {name} rises, and the "
            f"gradient at the photograph misses that rise by {share(missed)}: the score saturates.",
            "change of the maps' sensitivity to noise by SmoothGrad",
            calmer,
            form="number",
            published="cures the noise",
            verdict=decided,
            tone="good" if decided == "reproduced" else "attention",
            picture=result.figure(f"Saliency maps of {name}"),
        )


def _trusted(checked: SanityCheck) -> Answer:
    verdicts = {name: said.verdict for name, said in checked.found.items()}
    few = next(iter(checked.survived.values())).shape[1] < FEWEST
    wanted = {method.name: "fails" if isinstance(method, GuidedBackpropagation) else "passes" for method in CHECKED}
    return Answer(
        f"Sanity check of the maps, {checked.model.name}",
        "gradient and Grad-CAM pass, guided backpropagation fails (Adebayo et al. 2018)",
        "; ".join(f"{name} {verdict}" for name, verdict in verdicts.items()),
        "not decided" if few else "reproduced" if verdicts == wanted else "answered",
        f"fewer than {FEWEST} images do not decide it"
        if few
        else "; ".join(f"{name}: margin {said.margin}" for name, said in checked.found.items()),
    )


def _right_or_wrong(model: VisionModel, found: Mapping[str, Values], right: NDArray[np.bool_]) -> Question:
    level = simultaneous(len(METHODS))
    rows = [
        Row(
            f"right-minus-wrong/{method.name}/{model.name}",
            f"{method.name}, faithfulness of right minus wrong",
            unpaired(*(found[method.name][FAITHFULNESS][side] for side in (right, ~right)), confidence=level),
            1,
            int(min(right.sum(), (~right).sum())),
        )
        for method in METHODS
    ]
    title = f"Right and wrong predictions, {model.name}: {right.sum()} and {(~right).sum()} images"
    claim = "maps of correctly classified images are more faithful (intervals for all methods together)"
    return Question(title, claim, tuple(rows))


def _networks(worse: Photos, better: Photos, first: Mapping[str, Values], second: Mapping[str, Values]) -> Question:
    """On the images that both know a class of."""
    common, ours, theirs = np.intersect1d(worse.rows, better.rows, return_indices=True)
    pair = f"{better.model.name} minus {worse.model.name}"
    rows = []
    for name, claimed in ((ROUGHNESS, -1), (SENSITIVITY, -1), (FAITHFULNESS, 1)):
        gap = difference(second["saliency"][name][theirs], first["saliency"][name][ours])
        text = f"saliency, {name}: {pair}"
        rows.append(Row(f"networks/{name}/{better.model.name}", text, gap, claimed, len(common)))
    title = f"The better network, {better.model.name}, against {worse.model.name}"
    return Question(title, "the better network's saliency maps are less noisy and more faithful", tuple(rows))


def _noise(model: VisionModel, found: Mapping[str, Values]) -> Question:
    rows = []
    for name, claimed in ((ROUGHNESS, -1), (SENSITIVITY, -1), (FAITHFULNESS, 1)):
        gap = difference(found["smooth-grad"][name], found["saliency"][name])
        text = f"{name}: SmoothGrad minus saliency"
        rows.append(Row(f"smooth-grad/{name}/{model.name}", text, gap, claimed, len(found["saliency"][name])))
    return Question(f"SmoothGrad against noise, {model.name}", "SmoothGrad cures the noise", tuple(rows))


def _saturation(model: VisionModel, found: Mapping[str, Values]) -> Question:
    saturated = found["gradient-times-input"][SATURATION]
    count = len(saturated)
    missed = "share of the logit's rise that the gradient misses"
    rows = [Row(f"saturation/gradient-misses/{model.name}", missed, mean(saturated), 0, count)]
    for method in ("integrated-gradients", "grad-cam"):
        gain = found[method][FAITHFULNESS] - found["saliency"][FAITHFULNESS]
        text = f"faithfulness: {method} minus saliency"
        rows.append(Row(f"saturation/{method}/{model.name}", text, mean(gain), 1, count))
        rows.append(
            Row(
                f"saturation/{method}/rank-correlation/{model.name}",
                f"{method}: rank correlation of that gain with the share missed",
                rank_correlation(gain, saturated),
                1,
                count,
            )
        )
    claim = "integrated gradients and Grad-CAM cure saturation; then they gain most where the gradient misses most"
    return Question(f"Saturation, {model.name}", claim, tuple(rows))


def _figure(photos: Photos, right: NDArray[np.bool_], session: Session) -> ImageGrid:
    """As the report's Figures 2.1 to 2.4: some images right, some wrong, the maps of both classes."""
    shown = photos[[*np.flatnonzero(right)[:4].tolist(), *np.flatnonzero(~right)[:4].tolist()]]
    true = torch.tensor([shown.true_class(index) for index in range(len(shown))])
    method = Gradient()
    rng = session.rng("explain", method.name)
    maps = [attribute(method, shown.model, shown.pixels, target, rng=rng) for target in (true, shown.predicted)]
    rows: list[tuple[GridCell, ...]] = []
    for index in range(len(shown)):
        cells = (heat(method, own[index]) for own in maps)
        rows.append((image_cell(shown, index), *cells))
    return ImageGrid(
        tuple(rows),
        title=f"Saliency maps of {shown.model.name}",
        columns=("image", "true class", "predicted class"),
        caption=GRID,
    )
