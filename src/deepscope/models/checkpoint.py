"""Classifiers from the weights that training programs save: `.pth`, `.pt`, `.ckpt`, `.bin`, and bare `.safetensors`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from deepscope.errors import DeepscopeError, FileError, ModelError, SettingError
from deepscope.kept import Cache, code_of
from deepscope.machine import version_of
from deepscope.models import architectures, imagenet, recognition, state_dicts, tensor_names
from deepscope.models.options import ModelOptions
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.recognition import Comparison
from deepscope.models.source import ModelSource, exists
from deepscope.models.state_dicts import StateDict
from deepscope.models.tensor_names import is_averaged, moved_head
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".tar")
_LISTED = 8
"""Architectures or tensors that a message names."""
_BUILD = "build a network that was changed in a function of your own, and open file.py:function"
_VERSIONS = ("deepscope", "torchvision", "timm")


@dataclass(frozen=True)
class Checkpoint(ModelSource):
    """A file of weights, by its path, whatever its suffix."""

    rank: ClassVar[int] = 3
    reads_architecture: ClassVar[bool] = True
    patterns: ClassVar[tuple[str, ...]] = tuple(f"*{suffix}" for suffix in SUFFIXES)

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model, whose architecture is given, named in the file, or found by names and shapes of the weights."""
        path = Path(name)
        if not exists(path):
            return None
        if path.suffix.lower() not in (*SUFFIXES, ".safetensors") and not state_dicts.is_weights(path):
            return None
        options = ModelOptions.of(name, session)
        readings = state_dicts.read(path)
        try:
            if options.architecture:
                weights, found = _as_given(architectures.resolve(options.architecture), readings)
            else:
                weights, found = _recognised(readings, session)
                why = "as the file says" if found.spec in weights.named else "which alone has such tensors"
                session.note_once(f"{name} is", f"{path.name}: the architecture is {found.spec}, {why}")
            _require_only_network(weights, readings)
            if not options.architecture:
                _require_only_architecture(weights, found, readings, session)
            return _model(path, weights, found, options, session)
        except (FileError, SettingError):
            raise
        except DeepscopeError as error:
            raise ModelError(f"{path}: {error}", model=name) from None


def _model(path: Path, weights: StateDict, found: Comparison, options: ModelOptions, session: Session) -> VisionModel:
    """The network with its weights, and what the file does not say of it, said."""
    auxiliary = architectures.auxiliary(found.spec)
    tensors = {name: value for name, value in weights.load().items() if not name.startswith(auxiliary)}
    network = architectures.assemble(
        found.spec,
        tensors,
        classes=found.classes if found.resized else None,
        options={} if found.channels == 3 else {"in_chans": found.channels},
    )
    own = architectures.preprocessing(found.spec).of_channels(found.channels)
    preprocessing = options.preprocessed(own)
    digest = weights.sha256
    stored = weights.classes if len(weights.classes) == found.classes else ()
    published = () if options.classes else stored or architectures.published_classes(found.spec, digest)
    origin = Origin(
        source=f"{path.name}{''.join(f'[{key!r}]' for key in weights.place)}",
        sha256=digest,
        preprocessing=architectures.preprocessing_source(found.spec),
        classes="" if options.classes or published else "numbers: the file does not name them",
    )
    if moved := moved_head(weights.names):
        session.note_once(
            f"head of {path}",
            f"{path.name}: its class layer {moved[0]} is read as {moved[1]} of {found.spec}, with nothing but dropout "
            "before it; if the network differs otherwise, open it with a function of your own, file.py:function",
        )
    if said := _left_open(own, found, options, origin, named=bool(published)):
        session.note_once(f"{path} says", f"{path.name}: {said}")
    return VisionModel(
        name=path.stem,
        network=network,
        preprocessing=preprocessing,
        categories=published or tuple(f"class {number}" for number in range(max(found.classes, 2))),
        wnids=imagenet.wnids() if published == imagenet.categories() else (),
        aliases=architectures.publication_aliases(found.spec),
        origin=origin,
        architecture=found.spec,
    )


def _left_open(own: Preprocessing, found: Comparison, options: ModelOptions, origin: Origin, *, named: bool) -> str:
    """What the file does not say and the person did not either; empty where nothing is left open."""
    said: list[str] = []
    if not options.preprocessing:
        said.append(f"preprocessing is that of {origin.preprocessing} (resize {own.resize}, crop {own.size[0]})")
        if found.channels != 3:
            said[0] += f", with the average of RGB's mean and std for each of {found.channels} channels"
        said[0] += "; if it was trained on other sizes, give them as preprocessing, such as 'resize 64, crop 64'"
    if not (options.classes or named):
        hint = ", or 'imagenet-1k'" if found.classes == len(imagenet.categories()) else ""
        said.append(f"its {found.classes:,} classes have no names: give them, or a file of them, as classes{hint}")
    return "; ".join(said)


def _require_only_network(weights: StateDict, readings: Sequence[StateDict]) -> None:
    """Refuse a dictionary of two networks with the same tensors, such as a student and its teacher."""
    if is_averaged(weights.names):
        return
    used = set(weights.names.values())
    for other in readings:
        if other.place == weights.place and other.shapes == weights.shapes and used.isdisjoint(other.names.values()):
            first, second = (next(iter(one.names.values())) for one in (weights, other))
            raise ModelError(f"it holds two networks that fit, with the tensors {first} and {second}: save one of them")


def _require_only_architecture(
    weights: StateDict, found: Comparison, readings: Sequence[StateDict], session: Session
) -> None:
    """Refuse a dictionary of two networks of different architectures, of which the person named neither."""
    whole = max((one for one in readings if one.place == weights.place), key=lambda one: len(one.names))
    used, shape_of = set(weights.names.values()), {key: whole.shapes[name] for name, key in whole.names.items()}
    left = tuple(key for key in shape_of if key not in used)
    for names in tensor_names.readings(left) if left and not is_averaged(weights.names) else ():
        shapes = {name: shape_of[key] for name, key in names.items()}
        if fits := _fitting(replace(weights, names=names, shapes=shapes), session):
            both = " and ".join(sorted({found.spec, fits[0].spec}))
            raise SettingError("architecture", f"must be given: {weights.path} holds two networks, {both}")


def _as_given(spec: str, readings: Sequence[StateDict]) -> tuple[StateDict, Comparison]:
    """The weights as the architecture that the person named."""
    compared = [(recognition.compare(spec, reading.shapes), reading) for reading in readings]
    for found, reading in compared:
        if found.fits:
            return reading, found
    found, _ = min(compared, key=lambda pair: pair[0].unlike)
    raise ModelError(f"the weights are not those of {_differing(found)}; {_BUILD}")


def _recognised(readings: Sequence[StateDict], session: Session) -> tuple[StateDict, Comparison]:
    """The one architecture that the weights fit."""
    for reading in readings:
        fits = _fitting(reading, session)
        if len(fits) == 1:
            return reading, fits[0]
        if fits:
            listed = ", ".join(found.spec for found in fits[:_LISTED])
            more = f" and {len(fits) - _LISTED} more" if len(fits) > _LISTED else ""
            raise SettingError(
                "architecture", f"must be given: the weights in {reading.path} fit {listed}{more}; choose one"
            )
    with session.progress("looking for the nearest architecture") as advance:
        near = recognition.nearest([reading.shapes for reading in readings], each=advance)
    path = readings[0].path
    if near is None:
        raise ModelError(
            f"the weights fit no architecture of torchvision or timm, and none comes near: open the network with a "
            f"function of your own, file.py:function, that builds it and loads {path.name}"
        )
    raise ModelError(
        f"the weights fit no architecture of torchvision or timm; the nearest is {_differing(near[0])}; {_BUILD}"
    )


def _fitting(reading: StateDict, session: Session) -> list[Comparison]:
    """The architectures that fit; which they are is kept in the cache."""
    libraries = [f"{name} {version_of(name)}" for name in _VERSIONS]
    about = json.dumps([libraries, code_of(recognition.__name__), sorted(reading.shapes.items()), reading.named])
    entry = f"{hashlib.sha256(about.encode()).hexdigest()}.json"
    cache = Cache(session, session.cache / "architectures")
    kept = cache.read(entry)
    if kept is not None:
        return [recognition.compare(spec, reading.shapes) for spec in json.loads(kept)]
    fits = recognition.fitting(reading.shapes)
    if reading.named:  # by the program that trained it
        fits = [found for found in fits if found.spec in reading.named] or fits
    cache.write(entry, json.dumps([found.spec for found in fits]).encode())
    return fits


def _differing(found: Comparison) -> str:
    """How many tensors differ, with one that is missing and one that is left over, where there are both."""
    first, *others = found.differences
    if not others:
        return f"{found.spec}: one tensor differs: {first}"
    second = next((text for text in others if text.endswith(recognition.LEFT_OVER)), others[0])
    return f"{found.spec}: {len(found.differences):,} tensors differ, such as {first}; {second}"
