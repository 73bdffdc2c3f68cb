"""Which training images made a classifier give a score: their shares of it, and what it would be without each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deepscope.errors import DataError
from deepscope.features import Features, Layer, class_layer_input, extract
from deepscope.images import Skipped, digest
from deepscope.inputs import Images, Photos, stream_photos
from deepscope.inputs.examples import Data, Examples, Source, items_of, thumbnail_of
from deepscope.models import VisionModel
from deepscope.models.classifier import Classifier, HeadFit, join
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.transfer.heads import Head
from deepscope.transfer.representers import Representers


@dataclass(frozen=True, eq=False)
class TrainingImages(Presented):
    """Q images, each with a class whose score is explained by N training images.

    Attributes:
        model: the classifier.
        paths: of the explained images.
        training: the training images.
        classes: (Q,) the class explained for each image.
        scores: (Q,) its score: the logit of a classifier of `transfer fit`, else the logarithm of the probability.
        offset: (Q,) the part of the score that comes from no training image; NaN where shares are not known.
        shares: (Q, N) what each training image adds to the score: with the offset they sum to it. None where the
            score is no sum over images.
        effects: (Q, N) the score less what it would be, had the head been fitted without the image; None as `shares`.
        distances: (Q, N) Euclidean distances of the features, each of norm 1: an approximation where there is no sum.
        why: why there are no shares; empty where there are.
        shown: images per explained image that are shown as helpful, and as harmful.
        pictures: of the explained images, by row.
        known: pictures of training images that are shown, by row.
        digests: SHA-256 of each explained image and each training image.
        skipped: what could not be read.
    """

    model: VisionModel
    paths: tuple[Path, ...]
    training: Examples
    classes: Tensor
    scores: Tensor
    offset: Tensor
    shares: Tensor | None
    effects: Tensor | None
    distances: Tensor
    why: str
    shown: int
    pictures: Mapping[int, Tensor | None]
    known: Mapping[int, Tensor | None]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def helpful(self, row: int) -> list[int]:
        """Rows of the training images that raise the score most; the nearest ones where there are no shares."""
        values = -self.distances[row] if self.shares is None else self.shares[row]
        order = values.argsort(descending=True)[: self.shown].tolist()
        return [at for at in order if self.shares is None or values[at] > 0]

    def harmful(self, row: int) -> list[int]:
        """Rows of the training images that lower the score most; none where there are no shares."""
        if self.shares is None:
            return []
        order = self.shares[row].argsort()[: self.shown].tolist()
        return [at for at in order if self.shares[row, at] < 0]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per explained image and training image that is shown."""
        pairs = [(row, at) for row in range(len(self)) for at in (*self.helpful(row), *self.harmful(row))]
        return {
            "image": [str(self.paths[row]) for row, _ in pairs],
            "class": [self.model.categories[int(self.classes[row])] for row, _ in pairs],
            "training_image": [str(self.training.paths[at]) for _, at in pairs],
            "label": [self.training.classes[self.training.labels[at]] for _, at in pairs],
            "share": [None if self.shares is None else float(self.shares[row, at]) for row, at in pairs],
            "effect": [None if self.effects is None else float(self.effects[row, at]) for row, at in pairs],
            "distance": [float(self.distances[row, at]) for row, at in pairs],
        }


def training_images(
    model: VisionModel,
    images: Images,
    train: Data,
    *,
    target: int | str | None = None,
    shown: int = 4,
    seed: int = 0,
    session: Session | None = None,
) -> TrainingImages:
    """Which training images made a classifier give its answer.

    For a classifier of `transfer fit` every score is a sum over training images, with the weights that fitting gave
    them. For any other model the training images whose features are nearest are given instead: an approximation.

    Args:
        model: a classifier.
        images: what is explained, see `Images`.
        train: the images that the classifier was fitted to, see `Data`. Of a classifier that remembers its training
            images, they are found among these by their content.
        target: explain this class, by name or number; by default the predicted one.
        shown: training images per explained image that are shown as helpful, and as harmful.
        seed: of the session.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        ModelError: the model has no class layer.
        DataError: no image could be read, or the training images are not those that the classifier was fitted to.
    """
    model.require_classes()
    label = None if target is None else model.category(target)
    session = Session.of(session, device=model.device, seed=seed)
    given, examples = items_of(images), Examples.of(train, session)
    items = list(given.items)
    network = model.network
    fit = network.fit if isinstance(network, Classifier) else None
    sources = [item.source for item in items]
    queries = _features(model, sources, session)
    examples = _candidates(examples, fit)
    known = _features(model, list(examples.sources), session)
    digests = [known.digests[row] for row in known.rows]
    chosen = _fitted_to(digests, fit, examples.name)
    at = np.array([known.rows[row] for row in chosen], np.int64)
    vectors = known.vectors[torch.tensor(chosen)]
    training, used = examples.at(at), [digests[row] for row in chosen]
    if isinstance(network, Classifier):
        scores = _logits(network, queries.vectors)
        sums, why = _sums(network, model.categories, vectors, training)
    else:
        scores = _log_probabilities(model, images, session)
        sums, why = None, "the model is no classifier of `transfer fit`"
    classes = scores.argmax(1) if label is None else torch.full((len(scores),), label)
    shares = effects = None
    offset = torch.full((len(scores),), float("nan"), dtype=torch.float64)
    if sums is not None and fit is not None:
        shares = sums.shares(queries.vectors, classes) / fit.temperature
        effects = sums.effects(queries.vectors, classes) / fit.temperature
        offset = sums.offset[classes] / fit.temperature
    made = TrainingImages(
        model=model,
        paths=tuple(items[row].path for row in queries.rows),
        training=training,
        classes=classes,
        scores=scores.gather(1, classes[:, None])[:, 0],
        offset=offset,
        shares=shares,
        effects=effects,
        distances=torch.cdist(functional.normalize(queries.vectors), functional.normalize(vectors)),
        why=why,
        shown=shown,
        pictures={row: thumbnail_of(sources[place]) for row, place in enumerate(queries.rows)},
        known={},
        digests=(*(queries.digests[row] for row in queries.rows), *used),
        skipped=(*given.skipped, *queries.skipped, *examples.skipped, *known.skipped),
    )
    rows = {at for row in range(len(made)) for at in (*made.helpful(row), *made.harmful(row))}
    return replace(made, known={row: thumbnail_of(training.sources[row]) for row in sorted(rows)})


@dataclass(frozen=True, eq=False)
class _Known:
    """Vectors that the class layer reads, of the images that could be read, and of which images."""

    vectors: Tensor
    rows: tuple[int, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]


def _features(model: VisionModel, sources: Sequence[Source], session: Session) -> _Known:
    network = model.network
    if not isinstance(network, Classifier):
        layer: Layer = (class_layer_input(model), "mean")
        found = extract(model, [layer], sources, session)
        vectors = torch.from_numpy(found.vectors[0])
        return _Known(vectors.double(), tuple(found.rows.tolist()), found.digests, found.skipped)
    parts: list[Features] = []
    backbones: list[Any] = list(network.backbones)
    for backbone in backbones:
        mean, std = (tuple(value.flatten().tolist()) for value in (backbone.mean, backbone.std))
        seen = replace(model.preprocessing, mean=mean, std=std)
        part = VisionModel(model.name, backbone.network, seen, ())
        known = parts[-1].digests if parts else None
        parts.append(extract(part, list(backbone.layers), sources, session, views=backbone.views, digests=known))
    blocks = [torch.from_numpy(vectors).to(model.device) for part in parts for vectors in part.vectors]
    with torch.no_grad():
        joined = join(network.normalisations, blocks).cpu().double()
    return _Known(joined, tuple(parts[-1].rows.tolist()), parts[-1].digests, parts[-1].skipped)


def _candidates(examples: Examples, fit: HeadFit | None) -> Examples:
    """The images without those files that the classifier was not fitted to: no features are computed of these."""
    if fit is None or not fit.images:
        return examples.training
    known = set(fit.images)
    kept = [
        row
        for row, source in enumerate(examples.sources)
        if not isinstance(source, (str, Path)) or digest(source).hex()[:16] in known
    ]
    if not kept:
        raise DataError(
            f"{examples.name} holds none of the images that the classifier was fitted to: name another folder"
        )
    return examples.at(np.array(kept, np.int64))


def _fitted_to(digests: Sequence[bytes], fit: HeadFit | None, name: str) -> list[int]:
    """Places of the images that the classifier was fitted to; all where it does not say."""
    if fit is None or not fit.images:
        return list(range(len(digests)))
    left = Counter(fit.images)
    places: list[int] = []
    for place, found in enumerate(digests):
        if left[short := found.hex()[:16]] > 0:
            left[short] -= 1
            places.append(place)
    if missing := left.total():
        raise DataError(
            f"{missing} of the {len(fit.images)} images that the classifier was fitted to are not in {name}: name the "
            "folder that it was fitted to",
            data=name,
        )
    return places


def _sums(
    network: Classifier, categories: Sequence[str], vectors: Tensor, training: Examples
) -> tuple[Representers | None, str]:
    """The sum over training images that the classifier's scores are, or why there is none."""
    fit = network.fit
    if fit is None or (head := Head.members().get(fit.head)) is None:
        return None, "the model does not say how its head was fitted: it was trained further, or is older"
    places = [categories.index(name) if name in categories else -1 for name in training.classes]
    labels = torch.tensor(places)[torch.from_numpy(training.labels)]
    if (labels < 0).any():
        name = training.classes[places.index(-1)]
        raise DataError(f"{name!r} is no class of the model: name the folder that it was fitted to", data=training.name)
    layer = network.head
    weight, bias = (value.detach().cpu().double() * fit.temperature for value in (layer.weight, layer.bias))
    terms = head.terms(vectors @ weight.T + bias, labels, fit.regularisation)
    if terms is None:
        return None, f"scores of {fit.head} are no sum over training images"
    return Representers.of(vectors, weight, bias, terms), ""


def _logits(network: Classifier, vectors: Tensor) -> Tensor:
    return vectors @ network.head.weight.detach().cpu().double().T + network.head.bias.detach().cpu().double()


def _log_probabilities(model: VisionModel, images: Images, session: Session) -> Tensor:
    """(Q, C) of the images that can be read."""
    read = [batch.keeping(0) for batch in stream_photos(model, images, session, text="classifying")]
    return Photos.joined(read).probabilities.double().clamp(min=1e-38).log()
