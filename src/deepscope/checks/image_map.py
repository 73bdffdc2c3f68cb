"""A map of the images: those that the classifier sees as similar lie close together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.errors import MissingExtraError
from deepscope.features import class_layer_input, extract
from deepscope.gallery import Entry, Gallery, Near, Projection
from deepscope.inputs import labelled_answers
from deepscope.inputs.examples import thumbnail_of
from deepscope.inputs.given import Item, digest_of
from deepscope.models import VisionModel
from deepscope.models.capabilities import LAYERS, RGB, require, require_one_class
from deepscope.names import counted
from deepscope.presenters.gallery import Encoder, key_of, names_of
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render.text import share
from deepscope.results import Curves, Note, Result, Series
from deepscope.session import Session
from deepscope.settings import Range
from deepscope.statistics import Estimate, proportion
from deepscope.transfer.evaluation import plane

_FEWEST = 10
"""Images that a map needs at least."""
_NEIGHBOURS = 12
"""Neighbours of each image that the trustworthiness is about."""
_SERIES = 12
"""Classes with a colour of their own in the figure."""
_OTHERS = "other classes"
_METHODS = {
    "t-sne": "t-SNE of the first 50 principal components",
    "pca": "the first two principal components",
    "umap": "UMAP",
}
_SMALL = 0.5
"""The side of a training image's picture, of that of an evaluated one."""


@dataclass(frozen=True)
class ImageMap(Check):
    """A map on which images with similar features lie close together, and the most similar training images of each.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: not used: it compares images with one class each.
        limit: most evaluated images, drawn at random; all of them are compared with one another, so at most 10,000.
        training: most training images to compare with, drawn at random.
        near: training images that are listed per image.
        projection: t-SNE of the first 50 principal components, the two first components, or UMAP.
    """

    chapter: ClassVar[str] = "1 Accuracy and calibration"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1, "full": 4}
    shares: ClassVar[tuple[str, ...]] = ("", "nearest-alike", "trustworthiness")

    _: KW_ONLY
    limit: Annotated[int, Range(1, 10_000)] = 2000
    training: Annotated[int, Range(0, 10_000)] = 1000
    near: int = 4
    projection: Literal["t-sne", "pca", "umap"] = "t-sne"

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> ImageMap:
        """Some hundred images, or three thousand."""
        return cls(data, model=model) if budget == "full" else cls(data, model=model, limit=500, training=250)

    def work(self, known: Pace) -> Work:
        """The features of every image."""
        count = min(self.limit, known.images) + min(self.training, known.train)
        return Work(passes=count)

    def run(self, session: Session) -> Result:
        """Compute the features, and project them."""
        held = held_out(self.model, self.data, session, self.labels)
        model = held.model
        require_one_class(model, "image-map")
        require(model, "image-map", LAYERS | RGB)
        drawn = session.some(list(zip(held.images.items, held.answers, strict=True)), self.limit)
        learnt = [] if held.train is None else session.some(list(held.train.items), self.training)
        items = [*(item for item, _ in drawn), *learnt]
        found = extract(model, [(class_layer_input(model), "mean")], [item.source for item in items], session)
        if len(found.rows) < _FEWEST:
            text = f"{len(found.rows)} images are too few for a map: give at least {_FEWEST}."
            note = Note(text, "Map of the images", "verdict")
            return Result(f"Images as {model.name} sees them", blocks=(note, *skipped_blocks(found.skipped)))
        vectors = functional.normalize(torch.from_numpy(found.vectors[0]).double())
        names = [*(model.categories[min(answer)] for _, answer in drawn), *_classes(model, learnt)]
        shown = [_Placed(items[row], found.digests[row], names[row], row < len(drawn)) for row in found.rows.tolist()]
        places = self._places(vectors, session)
        distances = 1 - vectors @ vectors.T
        neighbours = min(_NEIGHBOURS, (len(vectors) - 1) // 2)
        trusted = _trustworthiness(vectors, places, neighbours)
        split = ("test", "train") if learnt else ("", "")
        pictures = Encoder(len(learnt), _SMALL)
        entries = [
            replace(one.entry(split, pictures), place=(float(x), float(y)), near=near)
            for one, (x, y), near in zip(shown, places, _near(shown, distances, self.near), strict=True)
        ]
        alike = _alike(shown, distances)
        text = (
            f"{counted(len(shown), 'image')}, by {_METHODS[self.projection]} of the features that the class layer "
            f"reads. Its trustworthiness is {trusted:.3f}: 1 where all of the {neighbours} nearest neighbours of each "
            "image on the map are near it among the features."
        )
        if alike:
            text += (
                f" Of {alike} of the evaluated images the nearest other image, by cosine distance, is of the same "
                "class (images that are alone in their class are not counted)."
            )
        return Result(
            title=f"Images as {model.title} sees them",
            metrics={
                "images": sum(one.evaluated for one in shown),
                "images/train": sum(not one.evaluated for one in shown),
                "trustworthiness": trusted,
                **(alike.metrics("nearest-alike") if alike else {}),
            },
            blocks=(
                Note(text, "Map of the images", "verdict"),
                *held.notes,
                _figure(shown, places, self.projection),
                *skipped_blocks(found.skipped),
                Gallery(
                    tuple(entries),
                    title="The images on the map",
                    projection=Projection(_METHODS[self.projection], trusted, neighbours),
                ),
            ),
            arrays={"places": places, "digests": np.array([one.digest.hex() for one in shown])},
            provenance=origin([model], [one.item.path for one in shown], [one.digest for one in shown]),
        )

    def _places(self, vectors: Tensor, session: Session) -> NDArray[np.float64]:
        """(N, 2)."""
        session.note(f"projecting {counted(len(vectors), 'image')}")
        if self.projection != "umap":
            return np.asarray(plane(vectors.float(), seed=session.seed, tsne=self.projection == "t-sne"), np.float64)
        try:
            from umap import UMAP  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise MissingExtraError("umap", "the projection umap") from None
        machine: Any = UMAP(n_neighbors=min(15, len(vectors) - 1), random_state=session.seed, n_jobs=1)
        return np.asarray(machine.fit_transform(vectors.numpy()), np.float64)

    def headline(self, result: Result) -> Headline:
        """Whether similar images are of one class."""
        if "trustworthiness" not in result.metrics:
            return Headline("There are too few images for a map.")
        trusted = result.metrics["trustworthiness"]
        said = f"The trustworthiness of the map is {trusted:.2f}: at 1, all neighbours on it are also near by features."
        if "nearest-alike" not in result.metrics:
            return Headline(f"No two images are of one class. {said}", picture=result.figure())
        alike = Estimate.of(result.metrics, "nearest-alike")
        return Headline(
            f"The nearest other image, by the features, is of the same class for {share(alike, interval=True)} of "
            f"{result.metrics['images']:.0f} images. {said}",
            "have a nearest neighbour of their own class, by the features",
            alike,
            picture=result.figure(),
        )


@dataclass(frozen=True)
class _Placed:
    """An image on the map.

    Attributes:
        shows: the name of its class.
        evaluated: whether the classifier is evaluated on it; otherwise it was fitted to it.
    """

    item: Item
    digest: bytes
    shows: str
    evaluated: bool

    @property
    def key(self) -> str:
        """Names it among the galleries of all checks."""
        source = self.item.source  # features are kept by a digest that holds the shape of a tensor too
        return key_of(self.item.path, digest_of(source) if isinstance(source, Tensor) else self.digest)

    def entry(self, split: tuple[str, str], encode: Encoder) -> Entry:
        """Without a picture where the classifier is evaluated on it: the check of its accuracy has a larger one."""
        name, file = names_of(self.item.path)
        own = Entry(self.key, name, file, split=split[not self.evaluated], truth=self.shows)
        pixels = None if self.evaluated else thumbnail_of(self.item.source)
        return own if pixels is None else replace(own, picture=encode(pixels))


def _classes(model: VisionModel, items: Sequence[Item]) -> list[str]:
    """The classes of training images as the model calls them: a folder may be named by a WordNet identifier."""
    labels = [item.label if isinstance(item.label, int) else str(item.label) for item in items]
    answers = labelled_answers(model, labels)
    return [
        model.categories[min(answer)] if answer else str(label) for label, answer in zip(labels, answers, strict=True)
    ]


def _trustworthiness(vectors: Tensor, places: NDArray[np.float64], neighbours: int) -> float:
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(vectors.numpy(), places, n_neighbors=neighbours))


def _near(shown: Sequence[_Placed], distances: Tensor, count: int) -> list[tuple[Near, ...]]:
    """The training images nearest to each evaluated one; none for the others."""
    training = [row for row, one in enumerate(shown) if not one.evaluated]
    if not training or not count:
        return [()] * len(shown)
    nearest = distances[:, training].topk(min(count, len(training)), largest=False)
    return [
        tuple(Near(shown[training[at]].key, max(0.0, distance)) for at, distance in zip(places, own)) * one.evaluated
        for one, places, own in zip(shown, nearest.indices.tolist(), nearest.values.tolist(), strict=True)
    ]


def _alike(shown: Sequence[_Placed], distances: Tensor) -> Estimate | None:
    """The share of evaluated images whose nearest other image is of their class, of those that can have one."""
    counts = Counter(one.shows for one in shown)
    nearest = distances.clone().fill_diagonal_(torch.inf).argmin(1).tolist()
    same = [
        one.shows == shown[at].shows
        for one, at in zip(shown, nearest, strict=True)
        if one.evaluated and counts[one.shows] > 1
    ]
    return proportion(sum(same), len(same)) if same else None


def _figure(shown: Sequence[_Placed], places: NDArray[np.float64], projection: str) -> Curves:
    """A colour for each of the most frequent classes."""
    counts = Counter(one.shows for one in shown)
    named = [name for name, _ in counts.most_common(_SERIES)]
    own = np.array([one.shows if one.shows in named else _OTHERS for one in shown], object)
    classes = [*sorted(named), *([_OTHERS] if len(counts) > _SERIES else [])]
    series = tuple(Series(name, *places[own == name].T, style="points") for name in classes)
    label = {"t-sne": "t-SNE", "pca": "principal component", "umap": "UMAP"}[projection]
    caption = "Each point is an image; only distances between near points mean something."
    return Curves(series, f"{label} 1", f"{label} 2", "Images with similar features lie close together", caption)
