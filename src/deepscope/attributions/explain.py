"""Explain images: attribution maps of their true, predicted or given classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.naming import as_method
from deepscope.attributions.of_photos import OfPhotos
from deepscope.errors import SettingError
from deepscope.inputs import Images, Photos, stream_photos
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, require
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Explanations(OfPhotos):
    """M attribution maps of N images.

    Attributes:
        photos: the images, with the model's logits; the first ones with pixels.
        method: the attribution method.
        maps: (M, H, W); (M, 3, H, W) where every colour channel has its own share of the logit.
        rows: (M,) the image of each map.
        classes: (M,) the class that each map explains.
        by_truth: whether the classes are each image's true one, where known, and its predicted one; False where the
            caller chose them.
    """

    method: Attribution
    maps: Tensor
    rows: Tensor
    classes: Tensor
    by_truth: bool

    @property
    def probabilities(self) -> Tensor:
        """(M,) the probability of the class that each map explains."""
        return self.photos.probabilities[self.rows, self.classes]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per map: image, class, its probability, and whether it is the predicted class."""
        rows, classes = self.rows.tolist(), self.classes.tolist()
        predicted = self.photos.predictions
        return {
            "image": [str(self.paths[row]) for row in rows],
            "class": [self.model.categories[label] for label in classes],
            "probability": self.probabilities.tolist(),
            "predicted": [bool(predicted[row, label]) for row, label in zip(rows, classes)],
        }


def explain(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    method: Attribution | str = "grad-cam",
    *,
    target: int | str | None = None,
    top: int | None = None,
    limit: int | None = None,
    keep: int = 12,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Explanations:
    """Attribution maps: which pixels determine a class score.

    Without `target` and `top`, an image whose true class is known gets a map for that class and one for the predicted
    class; any other image gets one for the predicted class. Of a model with several labels per image, every predicted
    label gets a map, and where none is predicted the most probable one.

    Args:
        model: a classifier.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        method: an attribution method, or its name; `deepscope.attributions` has them.
        target: explain this class, by name or number.
        top: explain this many of the most probable classes.
        limit: most images to use, drawn at random.
        keep: most images whose pixels are returned, the first ones.
        batch_size: images per batch; the maps do not depend on it.
        seed: of the draw, and of methods that draw random numbers.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or `target` and `top` are both given.
        ModelError: the model has no class layer.
        UnsupportedError: the method does not apply to the model.
        DataError: no image could be read.

    Example:
        >>> import deepscope as ds
        >>> photo = ds.data.photographs.bundled("chelsea.png")
        >>> found = ds.explain(ds.load_model("efficientnet_lite0"), photo, "grad-cam", target="tabby")
        >>> found.maps.shape
        torch.Size([1, 224, 224])
    """
    require(model, "explain", SCORES)
    if target is not None and top is not None:
        raise SettingError("target", "cannot be combined with {top}: give one of them")
    if top is not None and not 1 <= top <= len(model.categories):
        raise SettingError(
            "top", f"must be between 1 and {len(model.categories)}, the classes of {model.name}", got=top
        )
    method = as_method(method)
    method.require(model)
    label = None if target is None else model.category(target)
    session = Session.of(session, device=model.device, seed=seed)
    rng = session.rng("explain", method.name)
    photos: list[Photos] = []
    classes: list[list[int]] = []
    maps: list[Tensor] = []
    for batch in stream_photos(model, images, session, batch_size=batch_size, limit=limit, text=method.name):
        photos.append(batch.keeping(keep - len(classes)))
        if len(batch):
            chosen = _classes(batch, label, top)
            pixels, explained = batch.pixels[_rows(chosen)], _flat(chosen)
            maps.append(attribute(method, model, pixels, explained, rng=rng, batch_size=batch_size))
            classes += chosen
    return Explanations(
        Photos.joined(photos),
        method,
        torch.cat(maps),
        _rows(classes),
        _flat(classes),
        by_truth=target is None and top is None and model.head.kind != "multilabel",
    )


def attribute(
    method: Attribution,
    model: VisionModel,
    pixels: Tensor,
    target: Tensor,
    *,
    rng: torch.Generator | None = None,
    batch_size: int = 16,
) -> Tensor:
    """A method's maps of many images, on the CPU, in batches that do not change them.

    Args:
        pixels: (N, 3, H, W) on any device.
        target: (N,) class indices.
        rng: CPU generator; None means one seeded with 0.
        batch_size: images on the model's device at a time.
    """
    rng = rng or torch.Generator().manual_seed(0)
    return torch.cat(
        [
            method(model, part.to(model.device), classes.to(model.device), rng=rng).cpu()
            for part, classes in zip(pixels.split(batch_size), target.split(batch_size))
        ]
    )


def _classes(photos: Photos, label: int | None, top: int | None) -> list[list[int]]:
    """The classes to explain in each image, none twice."""
    if label is not None:
        return [[label]] * len(photos)
    if top is not None:
        return photos.probabilities.topk(top, dim=1).indices.tolist()
    if photos.model.head.kind == "multilabel":
        most = photos.predicted.tolist()
        return [row.nonzero().flatten().tolist() or [label] for row, label in zip(photos.predictions, most)]
    classes = []
    for index, predicted in enumerate(photos.predicted.tolist()):
        true = photos.true_class(index)
        classes.append([predicted] if true in (None, predicted) else [true, predicted])
    return classes


def _rows(classes: Sequence[Sequence[int]]) -> Tensor:
    """(M,) the image that each class belongs to."""
    return torch.tensor([row for row, labels in enumerate(classes) for _ in labels])


def _flat(classes: Sequence[Sequence[int]]) -> Tensor:
    """(M,) the classes of all images."""
    return torch.tensor([label for labels in classes for label in labels])
