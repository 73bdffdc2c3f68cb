"""Beyond chapter 2.1 of the report (Delefosse and Vin): which attribution maps of a transformer can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch.nn import functional

from deepscope.attributions import RISE, Attribution, Occlusion, ScoreCAM
from deepscope.attributions.faithfulness import Deletion, Explanation, Insertion, energy_inside
from deepscope.attributions.measuring import CHANCE, POINTING, Batch, Values, joined, measure_batch
from deepscope.attributions.sanity import check_sanity
from deepscope.command import Headline
from deepscope.data import Digits
from deepscope.errors import DataError, DeepscopeError, SettingError
from deepscope.inputs import Photos, read_photos
from deepscope.kept import training_folder
from deepscope.models import VisionModel
from deepscope.models.prediction import forward
from deepscope.names import counted
from deepscope.presenters.sanity import sanity_blocks, sanity_metrics
from deepscope.presenters.shown import origin
from deepscope.render.text import amount, share
from deepscope.results import Block, Result
from deepscope.session import Session
from deepscope.statistics import Estimate, mean, proportion
from deepscope.studies import digit_networks
from deepscope.studies import transformer_answers as asked
from deepscope.studies.digit_networks import NETWORKS, pixels_of, read, trained
from deepscope.studies.study import Answer, Budget, Study, answers
from deepscope.studies.transformer_answers import FAITHFULNESS, HELD_OUT, Measured

_QUERIED: tuple[Attribution, ...] = (Occlusion(window=7, stride=3), RISE(masks=500), ScoreCAM())
"""Costly methods that take part, with settings for small images."""


_READS = 0.8
"""The accuracy below which nothing is asked of a network's maps."""
_SEEN = 20_000
"""Digits that a network must see, over all epochs, to come near it: the transformer reads 28 % after 8,000."""


@dataclass(frozen=True)
class TransformerAttributions(Study):
    """Which attribution maps of a vision transformer can be trusted, and which of a convolutional network.

    Both networks are trained on MNIST here, and every method that applies is measured on digits that they classify
    correctly: deletion and insertion against black, the share of the map on or next to the strokes, and the sanity
    check. Baselines are random maps, and the digit itself as its map. Trainings are kept (in the output folder, else in
    the cache).

    Attributes:
        epochs: epochs per training.
        images: number of training digits; by default all.
        limit: test digits to measure on, drawn at random; the method that leads is chosen on half as many others.
        sanity: test digits of the sanity check.
        steps: steps of insertion and deletion.
        batch_size: images per batch of the measurements.
    """

    chapter: ClassVar[str] = "2.1 Saliency maps"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.2, "full": 15}

    _: KW_ONLY
    epochs: int = 6
    images: int | None = None
    limit: int = 200
    sanity: int = 32
    steps: int = 14
    batch_size: int = 50

    @classmethod
    def within(cls, budget: Budget) -> TransformerAttributions:
        """Few digits everywhere, or all of them."""
        return cls() if budget == "full" else cls(epochs=4, images=12_000, limit=16, sanity=3)

    def inputs(self, home: Path) -> Sequence[Path]:
        """The digits."""
        return [home / "data" / "mnist"]

    def run(self, session: Session) -> Result:
        """Train both networks, measure every method on them, and answer the questions."""
        for name, least in (("epochs", 1), ("limit", 2), ("sanity", 1), ("steps", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise SettingError(name, f"must be at least {least}", got=getattr(self, name))
        if self.images is not None and self.images < 1000:
            raise SettingError("images", "must be at least 1000", got=self.images)
        data = read(session, images=self.images)
        if len(data.train) * self.epochs < _SEEN:
            raise DataError(
                f"{len(data.train)} digits of {data.name}, each seen in {counted(self.epochs, 'epoch')}, are too few "
                "to train networks whose maps can be compared: get all of MNIST with `deepscope data get mnist`, or "
                "train longer"
            )
        root = (
            training_folder(session, self.name, digit_networks.__name__)
            / f"{data.name}-{self.images or 'all'}-{self.epochs}"
        )
        metrics: dict[str, float] = {}
        models, found, read_digits = [], {}, []
        blocks: list[Block] = []
        for name in NETWORKS:
            folder = root / name / f"seed-{session.seed}"
            model = trained(name, data, epochs=self.epochs, session=session, folder=folder)
            models.append(model)
            accuracy = _accuracy(model, data.test, session)
            if accuracy.value < _READS:
                raise DataError(
                    f"the {name} reads {share(accuracy)} of the test digits after training on {len(data.train)} digits "
                    f"of {data.name}, and the maps of a network that reads fewer than {100 * _READS:.0f} % explain "
                    "little: train on all of MNIST, or for more epochs"
                )
            metrics |= accuracy.metrics(f"accuracy/{name}")
            test = self._drawn(model, data.test, self.limit, session)
            held_out = self._drawn(model, data.held_out, max(2, self.limit // 2), session)
            methods, refused = _applicable(model, test)
            on_test, on_held_out = (self._measured(methods, refused, digits, session) for digits in (test, held_out))
            sanity = check_sanity(methods, test[range(min(self.sanity, len(test)))], session)
            refused |= sanity.refused
            measured = Measured(
                accuracy,
                {method: values for method, values in on_test.items() if method not in refused},
                {method: values for method, values in on_held_out.items() if method not in refused},
                test.rows,
                sanity,
                refused,
            )
            methods = {method: methods[method] for method in measured.methods}
            found[name] = measured
            read_digits.append(test)
            metrics |= _metrics(name, measured)
            blocks += [asked.table(name, measured), asked.figure(name, methods, test), *sanity_blocks(measured.sanity)]
        questions = asked.questions(found["vit"], found["cnn"])
        for row in (row for question in questions for row in question.rows):
            metrics |= row.estimate.metrics(row.name)
        blocks += [question.table() for question in questions]
        how = (
            f"trained on {len(data.train)} digits of {data.name} for {self.epochs} epochs, AdamW with a cosine schedule"
        )
        first, *claims, last = questions
        given = [asked.leading(first), *(question.answer() for question in claims), asked.compared(last)]
        blocks.append(answers([*_trained(found, how), *asked.worth(found), *given]))
        return Result(
            title="Attribution maps of a vision transformer, measured",
            metrics=metrics,
            blocks=tuple(blocks),
            provenance=origin(models, read_digits[0].paths, read_digits[0].digests),
        )

    def _drawn(self, model: VisionModel, part: Digits, count: int, session: Session) -> Photos:
        """Digits that both networks see in the same order, of which those are kept that this one gets right."""
        order = torch.randperm(len(part), generator=session.rng("measured")).tolist()[:count]
        chosen = Digits(part.images[order], part.labels[order])
        pairs = [(one, str(label)) for one, label in zip(pixels_of(chosen), chosen.labels)]
        photos = read_photos(model, pairs, session, text="reading digits")
        return photos[[row for row, right in enumerate(photos.correct) if right]]

    def _measured(
        self, methods: dict[str, Attribution], refused: dict[str, str], photos: Photos, session: Session
    ) -> dict[str, Values]:
        """Method, or a baseline -> measure -> (N,) values. A method without a map of a digit becomes a refused one."""
        measures = (Insertion(self.steps, "black"), Deletion(self.steps, "black"))
        ink = photos.pixels.amax(1)
        near = functional.max_pool2d((ink > 0.5).float()[:, None], 3, 1, 1)[:, 0]
        batches = []
        for first in range(0, len(photos), self.batch_size):
            rows = range(first, min(first + self.batch_size, len(photos)))
            batches.append(Batch(photos[rows], first, near[rows.start : rows.stop]))
        found: dict[str, Values] = {}
        for name, method in (*methods.items(), (CHANCE, None)):
            try:
                found[name] = joined([measure_batch(method, batch, measures, session) for batch in batches])
            except DeepscopeError as error:  # of one method, which does not stop the study
                if method is None:
                    raise
                refused[name] = str(error)
                del methods[name]
        device = photos.model.device
        pixels, target = photos.pixels.to(device), photos.predicted.to(device)
        given = Explanation(photos.model, pixels, target, ink.to(device), lambda changed: changed.amax(1))
        own = {measure.name: measure(given).double().cpu().numpy() for measure in measures}
        found[asked.INK] = {**own, POINTING: energy_inside(ink, near).double().numpy()}
        return found

    def headline(self, result: Result) -> Headline | None:
        """The map of the transformer that is worth most."""
        leading = asked.leader(result.metrics)
        if leading is None:
            return None
        best = Estimate.of(result.metrics, f"{FAITHFULNESS}/{leading}/vit")
        accuracy = Estimate.of(result.metrics, "accuracy/vit")
        passes = result.metrics[f"sanity/{leading}/vit"] == 1
        beyond = Estimate.of(result.metrics, f"beyond-pixels/{leading}/vit")
        return Headline(
            f"A small vision transformer has {share(accuracy)} accuracy on MNIST's test digits. The most faithful of "
            f"its maps are those of {leading}: insertion minus deletion is {amount(best)} above that of random maps, "
            f"and {amount(beyond)} above that of the digit itself. They {'pass' if passes else 'do not pass'} the "
            f"sanity check.",
            f"faithfulness of {leading}, chosen on other digits, beyond random maps",
            best,
            form="number",
            verdict="measured",
            tone="good" if passes and best.low > 0 else "attention",
            picture=result.figure(asked.figure_title("vit")),
        )


def _accuracy(model: VisionModel, part: Digits, session: Session) -> Estimate:
    logits = torch.cat([forward(model, some, session) for some in pixels_of(part).split(500)])
    return proportion(int((logits.argmax(1) == torch.tensor(part.labels)).sum()), len(part))


def _applicable(model: VisionModel, photos: Photos) -> tuple[dict[str, Attribution], dict[str, str]]:
    """The methods that apply to the network, and why the others do not."""
    cheap = [method for method in map(Attribution.named, Attribution.members()) if not method.costly]
    methods: dict[str, Attribution] = {}
    refused: dict[str, str] = {}
    for method in sorted((*cheap, *_QUERIED), key=lambda one: one.name):
        try:
            method(model, photos.pixels[:1].to(model.device), photos.predicted[:1].to(model.device))
            methods[method.name] = method
        except DeepscopeError as error:
            refused[method.name] = str(error)
    return methods, refused


def _metrics(name: str, measured: Measured) -> dict[str, float]:
    """Every figure of one network."""
    metrics = {f"images/{name}": float(measured.images), **sanity_metrics(measured.sanity, f"/{name}")}
    for method, values in measured.test.items():
        for measure in ("insertion", "deletion", POINTING):
            metrics |= mean(values[measure]).metrics(f"{measure}/{method}/{name}")
        if method in measured.methods:
            metrics |= mean(measured.gained(method)).metrics(f"{FAITHFULNESS}/{method}/{name}")
            metrics |= mean(measured.gained(method, than=asked.INK)).metrics(f"beyond-pixels/{method}/{name}")
            held_out = mean(measured.gained(method, held_out=True)).value
            metrics[f"{HELD_OUT}/{FAITHFULNESS}/{method}/{name}"] = held_out
    return metrics


def _trained(found: Mapping[str, Measured], how: str) -> list[Answer]:
    return [
        Answer(f"Accuracy of the {name}", "—", share(one.accuracy, interval=True), "answered", how)
        for name, one in found.items()
    ]
