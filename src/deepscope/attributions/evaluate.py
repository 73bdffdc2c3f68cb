"""Evaluate attribution methods: faithfulness, stability, localisation, and a sanity check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.boxes import Boxes
from deepscope.attributions.boxes import Given as BoxesGiven
from deepscope.attributions.explain import attribute
from deepscope.attributions.faithfulness import Measure
from deepscope.attributions.masks import Given as MasksGiven
from deepscope.attributions.masks import Masks
from deepscope.attributions.measuring import CHANCE, NOTHING, Batch, Values, joined, measure_batch
from deepscope.attributions.naming import as_measures, as_methods, labels
from deepscope.attributions.sanity import SanityCheck, check_sanity
from deepscope.errors import DeepscopeError, SettingError, UnsupportedError
from deepscope.images import Skipped
from deepscope.inputs import Given, Images, Photos, gather, stream_photos
from deepscope.inputs.given import Item
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, require
from deepscope.names import distinct
from deepscope.render import Presented
from deepscope.session import Session

_PASSES = 80
"""Forward passes per image of all measures of a map, about."""

EVALUATED = ("saliency", "smooth-grad", "integrated-gradients", "guided-backpropagation", "grad-cam")
"""The methods evaluated where none is named."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured on one network.

    Attributes:
        model: the classifier.
        values: method's label, or "random" for random maps -> measure -> (N,) values; of the methods that apply.
        refused: method's label -> why it does not apply to the model.
        constant: method's label, or "random" -> maps that are the same everywhere or not finite; their values are NaN.
        sanity: the sanity check; None where it was left out.
        unchecked: why it had to be left out; empty where it was made, or not asked for.
        paths: the images' files, or names.
        digests: SHA-256 of each file or image.
        skipped: what could not be read.
    """

    model: VisionModel
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    refused: Mapping[str, str]
    constant: Mapping[str, int]
    sanity: SanityCheck | None
    unchecked: str
    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, eq=False)
class Evaluation(Presented):
    """How far the maps of attribution methods can be trusted, on N images.

    Attributes:
        networks: what was measured on the model and, where one was given, on the model to compare it with.
        methods: by label.
        measures: by label; `values` also holds "energy-pointing" and "relevance-rank" where boxes or masks were given.
    """

    networks: tuple[Measurements, ...]
    methods: Mapping[str, Attribution]
    measures: Mapping[str, Measure]

    @property
    def names(self) -> tuple[str, ...]:
        """The networks' names, which differ: of two with one name, the second one is numbered."""
        return tuple(distinct(network.model.name for network in self.networks))

    @property
    def values(self) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
        """Method, or "random" -> measure -> (N,) values of the model."""
        return self.networks[0].values

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per model, method, measure and image: the value."""
        rows = [
            (name, method, measure, str(path), float(value))
            for name, network in zip(self.names, self.networks)
            for method, of_method in network.values.items()
            for measure, values in of_method.items()
            for path, value in zip(network.paths, values)
        ]
        names = ("model", "method", "measure", "image", "value")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def evaluate(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    methods: Iterable[Attribution | str] | Attribution | str = EVALUATED,
    *,
    measures: Iterable[Measure | str] | Measure | str = (),
    boxes: BoxesGiven | None = None,
    masks: MasksGiven | None = None,
    against: VisionModel | None = None,
    sanity: int = 16,
    limit: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    session: Session | None = None,
) -> Evaluation:
    """Measure how far attribution maps of the predicted class can be trusted.

    Random maps are measured as a baseline: a method that does not beat them shows nothing. In the sanity check, a map
    must change when the upper layers of the network are shuffled. Measurements are kept in the cache. A method that
    does not apply to a network is left out of its measurements, with the reason.

    Args:
        model: a classifier.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        methods: attribution methods, or their names; "all" means all of them.
        measures: measures, or their names; by default all of them.
        boxes: the objects' boxes, for the pointing game and relevance rank accuracy: a CSV file
            (file,left,top,right,bottom, in pixels), or {"cat.jpg": [(left, top, right, bottom), ...]}; images of one
            name are told apart by the ends of their paths (`bedroom/1.jpg`), and those from memory are called
            "image-0" and so on.
        masks: the objects' masks instead: a folder with an image of the same name and size for each image, in which
            everything that is not black is the object, or {"cat.jpg": (H, W) array}. Folders in it have the names of
            the images' folders (`bedroom/1.png` is the mask of `bedroom/1.jpg`).
        against: another classifier, measured on the same images.
        sanity: images for the sanity check; 0 skips it.
        limit: most images to use, drawn at random.
        batch_size: images per batch; the values do not depend on it.
        seed: of the draw, and of methods and measures that draw random numbers.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, both boxes and masks are given, or they are of none of these images.
        ModelError: a model has no class layer.
        UnsupportedError: no method applies to a model, or a measure does not.
        FileError: the boxes or masks cannot be read, or none is of these images.
        DataError: no image could be read.

    Example:
        >>> import deepscope as ds
        >>> photo = ds.data.photographs.bundled("chelsea.png")
        >>> model = ds.load_model("efficientnet_lite0")
        >>> found = ds.attributions.evaluate(model, photo, "grad-cam", measures=["roughness"], sanity=0)
        >>> bool(found.values["grad-cam"]["roughness"] < found.values["random"]["roughness"])
        True
    """
    chosen, asked = as_methods(methods), as_measures(measures)
    if sanity < 0:
        raise SettingError("sanity", "must be a number of images, or 0", got=sanity)
    if limit is not None and limit < 1:
        raise SettingError("limit", "must be at least 1", got=limit)
    models = (model, *([against] if against else []))
    if against and against.planes != model.planes:
        raise SettingError("against", f"must take images of as many channels as {model.name}, {model.planes}")
    for one in models:
        one.require_classes()
        for needed in (*chosen, *asked):
            needed.require(one)
    session = Session.of(session, device=model.device, seed=seed)
    objects = _objects(boxes, masks)
    if objects:
        for one in models:
            require(one, "a measure of where the object is", RGB)
    given = gather(images, channels=model.planes)
    given = _listed(given) if objects or against else given
    if objects:  # of all images: which of them are drawn must not change whose boxes they are
        objects.require(item.path for item in given.items)
    given = given.some(limit, session)
    if objects:
        objects.require(item.path for item in given.items)
    plan = _Plan(tuple(chosen), tuple(asked), objects, sanity, batch_size, session)
    if against:
        plan.require_any(against, given)
    return Evaluation(
        tuple(plan.run(one, given) for one in models),
        dict(zip(labels(chosen), chosen)),
        dict(zip(labels(asked), asked)),
    )


def _objects(boxes: BoxesGiven | None, masks: MasksGiven | None) -> Boxes | Masks | None:
    """Where the objects are, as a person gave it."""
    if boxes is not None and masks is not None:
        raise SettingError("masks", "cannot be combined with {boxes}: give one of them")
    if masks is not None:
        return Masks.of(masks)
    return None if boxes is None else Boxes.of(boxes)


def _listed(given: Given) -> Given:
    """The images as a list, to be read more than once."""
    return given if given.count is not None else Given(tuple(given.items), given.roots, given.skipped)


@dataclass(frozen=True)
class _Plan:
    """What is measured on each network."""

    methods: tuple[Attribution, ...]
    measures: tuple[Measure, ...]
    objects: Boxes | Masks | None
    sanity: int
    batch_size: int
    session: Session

    def require_any(self, model: VisionModel, given: Given) -> None:
        """Refuse a network that no method applies to, by one image: before another one is measured on all of them."""
        quiet, reasons = replace(self.session, quiet=True), list[str]()
        for batch in stream_photos(model, given, quiet, batch_size=1):
            if not len(batch):
                continue
            for method in self.methods:
                try:
                    attribute(method, model, batch.pixels, batch.predicted, rng=quiet.rng("explain", method.name))
                except DeepscopeError as error:
                    reasons.append(str(error))
                else:
                    return
            raise _nothing_applies(model, reasons)

    def run(self, model: VisionModel, given: Given) -> Measurements:
        """Measure every method on every image, batch by batch."""
        methods = dict(zip(labels(self.methods), self.methods))
        by_label: dict[str, Attribution | None] = {**methods, CHANCE: None}
        refused: dict[str, str] = {}
        parts: dict[str, list[Values]] = {name: [] for name in by_label}
        paths: list[Path] = []
        digests: list[bytes] = []
        skipped: list[Skipped] = []
        few: list[Photos] = []
        unchecked = "" if model.capabilities.activations else f"{model.name} has no layers to shuffle"
        sanity = 0 if unchecked else self.sanity
        for batch in stream_photos(model, given, self.session, batch_size=self.batch_size, text="measuring"):
            skipped += batch.skipped
            if not len(batch):
                continue
            items = cast("Sequence[Item]", given.items)
            inside = None if self.objects is None else self.objects.inside(batch, items)
            images = Batch(batch, len(paths), inside, passes=len(batch) * len(parts) * _PASSES)
            for name in list(parts):
                try:
                    parts[name].append(measure_batch(by_label[name], images, self.measures, self.session))
                except DeepscopeError as error:
                    if by_label[name] is None:
                        raise
                    del parts[name], methods[name]
                    refused[name] = str(error)
                    self.session.note(f"{name} is left out: {error}")
            if not methods:
                raise _nothing_applies(model, refused.values())
            few.append(batch[range(min(len(batch), max(sanity - len(paths), 0)))])
            paths += batch.paths
            digests += batch.digests
        checked = None
        if sanity:
            try:
                checked = check_sanity(methods, Photos.joined(few), self.session)
            except DeepscopeError as error:  # what was measured holds without it
                unchecked = str(error)
        unchecked = unchecked if self.sanity else ""
        if unchecked:
            self.session.note(f"the sanity check is left out: {unchecked}")
        values = {name: joined(found) for name, found in parts.items()}
        constant = {name: int(found.pop(NOTHING).sum()) for name, found in values.items()}
        rows = tuple(paths), tuple(digests), tuple(skipped)
        return Measurements(model, values, refused, constant, checked, unchecked, *rows)


def _nothing_applies(model: VisionModel, reasons: Iterable[str]) -> UnsupportedError:
    text = "; ".join(dict.fromkeys(reasons))
    return UnsupportedError(f"no method applies to {model.name}; {text}", what="evaluate")
