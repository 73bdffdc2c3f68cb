"""Explain images: attribution maps of their true, predicted or given classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.contrast import Contrast
from deepscope.attributions.naming import as_method
from deepscope.attributions.of_photos import OfPhotos
from deepscope.attributions.targets import Question, Target, require_some
from deepscope.errors import SettingError, UnsupportedError, out_of_memory
from deepscope.inputs import Images, Photos, stream_photos
from deepscope.models import VisionModel
from deepscope.models.attention import attended
from deepscope.models.capabilities import SCORES, require
from deepscope.models.known_gradients import with_known_gradients
from deepscope.models.prediction import served
from deepscope.session import Session

_PASSES = 500
"""Forward passes per image of methods that only use scores, about."""


@dataclass(frozen=True, eq=False)
class Explanations(OfPhotos):
    """M attribution maps of N images.

    Attributes:
        photos: the images, with the model's logits; the first ones with pixels.
        method: the attribution method.
        maps: (M, H, W); (M, 3, H, W) where every colour channel has its own share of the logit.
        rows: (M,) the image of each map.
        classes: (M,) the class that each map explains.
        versus: (M,) the class that it is contrasted with; None where maps are of one class's score alone.
        by_truth: whether the classes are each image's true one, where known, and its predicted one; False where the
            caller chose them.
    """

    method: Attribution
    maps: Tensor
    rows: Tensor
    classes: Tensor
    versus: Tensor | None
    by_truth: bool

    @property
    def probabilities(self) -> Tensor:
        """(M,) the probability of the class that each map explains."""
        return self.photos.probabilities[self.rows, self.classes]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per map: image, class, its probability, whether it is the predicted class, and the other class."""
        rows, classes = self.rows.tolist(), self.classes.tolist()
        predicted = self.photos.predictions
        columns: dict[str, Sequence[Any]] = {
            "image": [str(self.paths[row]) for row in rows],
            "class": [self.model.categories[label] for label in classes],
            "probability": self.probabilities.tolist(),
            "predicted": [bool(predicted[row, label]) for row, label in zip(rows, classes)],
        }
        if self.versus is not None:
            columns["versus"] = [self.model.categories[label] for label in self.versus.tolist()]
        return columns


def explain(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    method: Attribution | str = "grad-cam",
    *,
    target: Target | None = None,
    versus: Target | None = None,
    top: int | None = None,
    limit: int | None = None,
    keep: int = 12,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Explanations:
    """Attribution maps: which pixels determine a class score.

    Without `target`, `versus` and `top`, an image whose true class is known gets a map for that class and one for the
    predicted class; any other image gets one for the predicted class. Of a model with several labels per image, every
    predicted label gets a map, and where none is predicted the most probable one.

    Args:
        model: a classifier.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        method: an attribution method, or its name; `deepscope.attributions` has them.
        target: explain this class, by name or number, or each image's "true", "predicted" or "second" most probable
            class. A class that is really named "true" is given by its number, or as "True".
        versus: explain why the target and not this class: the map is of the difference between the two scores. Named
            as `target`, which is then the predicted class by default. Images where both are the same class, or whose
            true class is asked for and not known, are skipped.
        top: explain this many of the most probable classes.
        limit: most images to use, drawn at random.
        keep: most images whose pixels are returned, the first ones.
        batch_size: images per batch; the maps do not depend on it.
        seed: of the draw, and of methods that draw random numbers.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or `top` is combined with `target` or `versus`.
        ModelError: the model has no class layer.
        UnsupportedError: the method does not apply to the model, or does not depend on the class.
        DataError: no image could be read, or every one was skipped.

    Example:
        >>> import deepscope as ds
        >>> photo = ds.data.photographs.bundled("chelsea.png")
        >>> model = ds.load_model("efficientnet_lite0")
        >>> found = ds.explain(model, photo, "grad-cam", target="tabby", versus="Egyptian cat")
        >>> found.maps.shape
        torch.Size([1, 224, 224])
    """
    require(model, "explain", SCORES)
    method = as_method(method)
    session = Session.of(session, device=model.device, seed=seed)
    by_truth = target is None and versus is None and top is None
    question = asked(model, method, session, target=target, versus=versus, top=top)
    rng = session.rng("explain", method.name)
    photos: list[Photos] = []
    classes: list[list[int]] = []
    others: list[int] = []
    maps: list[Tensor] = []
    for batch in stream_photos(model, images, session, batch_size=batch_size, limit=limit, text=method.name):
        if question:
            batch, ones, against = question.ask(batch)
            chosen = [[label] for label in ones]
        else:
            chosen, against = classes_of(batch, top), None
        photos.append(batch.keeping(keep - len(classes)))
        if len(batch):
            pixels, explained = batch.pixels[_rows(chosen)], _flat(chosen)
            quick = served(model, session, images=len(pixels) * _PASSES * method.costly)
            other = None if against is None else torch.tensor(against)
            maps.append(attribute(method, quick, pixels, explained, versus=other, rng=rng, batch_size=batch_size))
            classes += chosen
            others += against or []
    joined = Photos.joined(photos)
    require_some(maps, joined.skipped)
    return Explanations(
        joined,
        method,
        torch.cat(maps),
        _rows(classes),
        _flat(classes),
        versus=None if versus is None else torch.tensor(others),
        by_truth=by_truth and model.head.kind != "multilabel",
    )


def asked(
    model: VisionModel,
    method: Attribution,
    session: Session,
    *,
    target: Target | None,
    versus: Target | None,
    top: int | None,
) -> Question | None:
    """Which classes are explained; None for the most probable ones, or the true and the predicted one.

    Raises:
        as `explain`, where the settings, the method and the model do not go together.
    """
    require(model, "explain", SCORES)
    for name, given in (("target", target), ("versus", versus)):
        if given is not None and top is not None:
            raise SettingError(name, "cannot be combined with {top}: give one of them")
    if top is not None and not (isinstance(top, int) and 1 <= top <= len(model.categories)):
        raise SettingError(
            "top", f"must be between 1 and {len(model.categories)}, the classes of {model.name}", got=top
        )
    method.require(model)
    by_question = target is not None or versus is not None
    question = Question.of(target, versus, model, session) if by_question else None
    if versus is not None:
        require_contrast(method)
    return question


def attribute(
    method: Attribution,
    model: VisionModel,
    pixels: Tensor,
    target: Tensor,
    *,
    versus: Tensor | None = None,
    rng: torch.Generator | None = None,
    batch_size: int = 16,
) -> Tensor:
    """A method's maps of many images, on the CPU, in batches that do not change them.

    Args:
        pixels: (N, 3, H, W) on any device.
        target: (N,) class indices.
        versus: (N,) classes whose score is subtracted. Images that follow each other with the same two classes share
            a batch.
        rng: CPU generator; None means one seeded with 0.
        batch_size: images on the model's device at a time.

    Raises:
        UnsupportedError: the maps are to be of a difference, and the method does not depend on the class; or the method
            needs gradients, and the network gives none.
    """
    rng = rng or torch.Generator().manual_seed(0)
    if versus is not None:
        require_contrast(method)
        if method.of_transformers:
            attended(model, pixels[:1].to(model.device))  # remembered: a difference of 0 would depend on no token
        pairs = torch.stack([target, versus], 1).tolist()
        runs = [(pair, len(list(run))) for pair, run in groupby(pairs)]
        parts = pixels.split([length for _, length in runs])
        return torch.cat(
            [
                attribute(
                    method,
                    Contrast.of(model, (one, other)),
                    part,
                    torch.zeros(len(part), dtype=torch.long),
                    rng=rng,
                    batch_size=batch_size,
                )
                for ((one, other), _), part in zip(runs, parts)
            ]
        )
    begun = rng.get_state()
    try:
        maps = [
            method(model, part.to(model.device), classes.to(model.device), rng=rng).cpu()
            for part, classes in zip(pixels.split(batch_size), target.split(batch_size))
        ]
    except RuntimeError as error:  # perhaps because there are no gradients: looking first would slow every map
        known = model if out_of_memory(error) else with_known_gradients(model, [method])
        if known is model:
            raise
        rng.set_state(begun)
        return attribute(method, known, pixels, target, rng=rng, batch_size=batch_size)
    return torch.cat(maps)


def require_contrast(method: Attribution) -> None:
    """Raises UnsupportedError where a method's maps are the same for every class."""
    if not method.of_class:
        raise UnsupportedError(
            f"the maps of {method.name} are the same for every class, so that two classes cannot be contrasted: choose "
            "a method such as grad-cam or integrated-gradients",
            what=method.name,
        )


def classes_of(photos: Photos, top: int | None) -> list[list[int]]:
    """The classes to explain in each image, none twice: the most probable ones, or the true and the predicted one."""
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
