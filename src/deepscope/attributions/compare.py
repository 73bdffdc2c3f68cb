"""Compare attribution methods on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions.attribution import Attribution, per_pixel
from deepscope.attributions.explain import attribute
from deepscope.attributions.faithfulness import rank_correlation
from deepscope.attributions.naming import as_methods, labels
from deepscope.attributions.of_photos import OfPhotos
from deepscope.attributions.targets import Question, Target, require_some
from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.inputs import Images, Photos, stream_photos
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, require
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Comparison(OfPhotos):
    """The maps of several methods, of one class of each of N images.

    Attributes:
        photos: the images, with the model's logits; the first ones with pixels.
        methods: by label, in the order given; those that do not apply too.
        maps: label -> (N, H, W) or (N, 3, H, W) maps, of the methods that apply.
        refused: label -> why a method does not apply to the model.
        agreement: (methods, methods) Spearman's rank correlation of the absolute maps, mean over the images, in the
            order of `maps`; NaN where all maps of a method are constant.
        target: (N,) the classes explained.
        versus: (N,) the classes that they are contrasted with; None where none was asked for.
    """

    methods: Mapping[str, Attribution]
    maps: Mapping[str, Tensor]
    refused: Mapping[str, str]
    agreement: NDArray[np.float64]
    target: Tensor
    versus: Tensor | None

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per pair of methods: their agreement."""
        names = list(self.maps)
        pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
        return {
            "method": [names[i] for i, _ in pairs],
            "other": [names[j] for _, j in pairs],
            "agreement": [float(self.agreement[pair]) for pair in pairs],
        }


def compare(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    methods: Iterable[Attribution | str] | Attribution | str = (),
    *,
    target: Target | None = None,
    versus: Target | None = None,
    limit: int | None = None,
    keep: int = 6,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Comparison:
    """Maps of several attribution methods side by side, and how far they agree.

    A method that does not apply to the network is left out, with the reason.

    Args:
        model: a classifier.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        methods: attribution methods, or their names; "all" means all of them. By default those that
            work on any architecture and need fewer than 100 passes per image.
        target: explain this class, by name or number, or each image's "true", "predicted" or "second" most probable
            class; the predicted one by default.
        versus: explain why the target and not this class, named as `target`.
        limit: most images to use, drawn at random.
        keep: most images whose pixels are returned, the first ones.
        batch_size: images per batch; the maps do not depend on it.
        seed: of the draw, and of methods that draw random numbers.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        ModelError: the model has no class layer.
        UnsupportedError: no method applies to the model.
        DataError: no image could be read.

    Example:
        >>> import deepscope as ds
        >>> photo = ds.data.photographs.bundled("chelsea.png")
        >>> found = ds.attributions.compare(ds.load_model("efficientnet_lite0"), photo, ["saliency", "grad-cam"])
        >>> list(found.maps)
        ['saliency', 'grad-cam']
    """
    chosen = as_methods(methods)
    named = dict(zip(labels(chosen), chosen))
    require(model, "compare", SCORES)
    session = Session.of(session, device=model.device, seed=seed)
    question = Question.of(target, versus, model, session)
    streams = {name: session.rng("explain", method.name) for name, method in named.items()}
    found: dict[str, list[Tensor]] = {name: [] for name in named}
    refused: dict[str, str] = {}
    photos: list[Photos] = []
    targets: list[int] = []
    others: list[int] = []
    for batch in stream_photos(model, images, session, batch_size=batch_size, limit=limit, text="comparing"):
        batch, ones, against = question.ask(batch)
        photos.append(batch.keeping(keep - sum(map(len, photos))))
        if not len(batch):
            continue
        targets += ones
        others += against or []
        wanted = {
            "target": torch.tensor(ones),
            "versus": None if against is None else torch.tensor(against),
            "batch_size": batch_size,
        }
        for name in list(found):
            try:
                found[name].append(attribute(named[name], model, batch.pixels, rng=streams[name], **wanted))
            except DeepscopeError as error:
                del found[name]
                refused[name] = str(error)
                session.note(f"{name} is left out: {error}")
        if not found:
            reasons = "; ".join(dict.fromkeys(refused.values()))
            raise UnsupportedError(f"no method applies to {model.name}; {reasons}", what="compare")
    joined = Photos.joined(photos)
    require_some(targets, joined.skipped)
    maps = {name: torch.cat(parts) for name, parts in found.items()}
    pairs = torch.tensor(others) if versus is not None else None
    return Comparison(joined, named, maps, refused, _agreement(maps), torch.tensor(targets), pairs)


def _agreement(maps: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """(methods, methods) rank correlations, mean over the images."""
    flat = [per_pixel(found) for found in maps.values()]
    agreement = np.empty((len(flat), len(flat)))
    for i, first in enumerate(flat):
        for j, second in enumerate(flat[i:], start=i):
            agreement[i, j] = agreement[j, i] = _mean(rank_correlation(first, second))
    return agreement


def _mean(correlations: NDArray[np.float64]) -> float:
    """The mean over the images whose maps have an order; NaN where none has, all maps being constant."""
    defined = correlations[~np.isnan(correlations)]
    return float(defined.mean()) if defined.size else float("nan")
