"""Which architecture a set of weights belongs to: what fits by the names and shapes of tensors, and what comes nearest.

The number of parameters of every architecture is known without building it, so only the few whose number agrees with
that of the weights are built, on the meta device.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from deepscope.errors import ModelError
from deepscope.models import architectures
from deepscope.models.options import MOST_CLASSES
from deepscope.models.preprocessing import MOST_CHANNELS
from deepscope.models.state_dicts import Shapes

_BUFFERS = (
    *("running_mean", "running_var", "num_batches_tracked"),
    *("relative_position_index", "relative_coords_table"),  # of torchvision's Swin and MaxViT
)
_SECONDS = 10.0
"""Of this process, for finding the nearest architecture where none fits: other programs do not change what is found."""
_CLOSE = 0.1
"""The share of tensors that differ below which an architecture is near enough: the class layer was changed, say."""
_NEAR = 0.5
"""How far the number of parameters of the nearest architecture may be from that of the weights, relatively."""
_HEADS = 2
"""Class layers that a network may have: a distilled transformer has two."""
LEFT_OVER = "is left over"
"""How the difference ends of a tensor that the architecture lacks."""
_USUAL = 1000
_LAST = 6
"""Tensors at the end of a network, one of which is as wide as its features."""


@dataclass(frozen=True)
class Comparison:
    """Weights beside an architecture.

    Attributes:
        spec: `LIBRARY:NAME`.
        classes: of the weights' class layer.
        resized: whether that differs from the architecture's own number.
        channels: of the images, by the weights' first convolution.
        differences: in words, one per tensor; empty where the weights fit.
        unlike: number of tensors that differ, relative to those of the network and the weights.
    """

    spec: str
    classes: int
    resized: bool
    channels: int
    differences: tuple[str, ...]
    unlike: float

    @property
    def fits(self) -> bool:
        """Whether every tensor has its place."""
        return not self.differences


def compare(spec: str, given: Shapes) -> Comparison:
    """Compare the weights with an architecture, which gets as many classes as their class layer.

    Auxiliary classifiers, which only training uses, are left out of the comparison where the weights lack them.

    Raises:
        ModelError: the class layer is larger than any classifier's.
    """
    head, own = _head(spec)
    counts = {given[name][0] for name in head if given.get(name)}
    classes = counts.pop() if len(counts) == 1 else own
    if classes > MOST_CLASSES:
        raise ModelError(f"a class layer of {classes:,} classes: a classifier has at most {MOST_CLASSES:,}")
    channels = _channels(spec, given)
    wanted = _shapes(spec, None if classes == own else classes, channels)
    auxiliary = architectures.auxiliary(spec)
    given = {name: shape for name, shape in given.items() if not name.startswith(auxiliary)}
    wanted = {name: shape for name, shape in wanted.items() if not name.startswith(auxiliary)}
    found = tuple(_differences(wanted, given))
    unlike = len(found) / max(len(wanted.keys() | given.keys()), 1)
    return Comparison(spec, classes, classes != own, channels, found, unlike)


def _channels(spec: str, given: Shapes) -> int:
    """Channels of the images that the weights were made for: those of RGB, but for a first convolution of others."""
    shapes = _shapes(spec, None)
    first = _first_convolution(shapes)
    usual, found = shapes.get(first, ()), given.get(first, ())
    alike = usual[1:2] == (3,) and (found[:1], found[2:]) == (usual[:1], usual[2:])
    return found[1] if alike and 0 < found[1] <= MOST_CHANNELS else 3


def _of_colour(given: Shapes) -> Shapes:
    """The same shapes with a first convolution of RGB images, by which architectures are counted."""
    first = _first_convolution(given)
    return {**given, first: (given[first][0], 3, *given[first][2:])} if first else given


def _first_convolution(shapes: Shapes) -> str:
    return next((name for name, shape in shapes.items() if len(shape) == 4), "")


def _differences(wanted: Shapes, given: Shapes) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in given:
            if not name.endswith("num_batches_tracked"):
                yield f"{name} {shape} is missing"
        elif given[name] != shape:
            yield f"{name} is {given[name]} instead of {shape}"
    yield from (f"{name} {shape} {LEFT_OVER}" for name, shape in given.items() if name not in wanted)


def fitting(given: Shapes) -> list[Comparison]:
    """The architectures of torchvision and timm that the weights fit."""
    plausible = dict.fromkeys((*_plausible(given), *_plausible(_of_colour(given))))
    return [found for found in (compare(spec, given) for spec in plausible) if found.fits]


def nearest(
    readings: Sequence[Shapes], *, each: Callable[[], object] = lambda: None
) -> tuple[Comparison, Shapes] | None:
    """The architecture that differs least from the weights, within a bounded time; None where none comes near.

    Args:
        readings: names and shapes of the weights, in each way that they may be read.
        each: called for every architecture that was compared.
    """
    best: tuple[Comparison, Shapes] | None = None
    until = time.process_time() + _SECONDS
    sizes = _likely_sizes(min(readings, key=_parameters))
    distances = {spec: min(abs(count - size) / size for size in sizes) for spec, count in _counts().items()}
    for spec in sorted((s for s, far in distances.items() if far < _NEAR), key=lambda spec: distances[spec]):
        if time.process_time() > until or (best is not None and best[0].unlike < _CLOSE):
            break
        for given in readings:
            found = compare(spec, given)
            if best is None or found.unlike < best[0].unlike:
                best = found, given
        each()
    return None if best is None or best[0].unlike > _NEAR else best


def _likely_sizes(given: Shapes) -> list[int]:
    """The parameters that the weights would have with the usual class layer behind one of their last layers."""
    size = _parameters(given)
    widths = {width for shape in list(given.values())[-_LAST:] for width in shape[:2] if width > 1}
    return [max(size, 1), *(size + _USUAL * width for width in widths)]


def _plausible(given: Shapes) -> list[str]:
    """The architectures with as many parameters as the weights, but for the number of classes."""
    size = _parameters(given)
    heads = {(shape[0], math.prod(shape[1:]) + bias) for shape, bias in _layers(given)}
    found = []
    for spec, count in _counts().items():
        rest = count - size
        if rest == 0 or any(_explains(rest, classes, each, spec) for classes, each in heads):
            found.append(spec)
    return found or [spec for spec in _counts() if architectures.auxiliary(spec)]  # the weights may lack a part of them


def _explains(rest: int, classes: int, each: int, spec: str) -> bool:
    """Whether another number of classes accounts for that many additional parameters."""
    fits = (classes + rest // (each * heads) for heads in range(1, _HEADS + 1) if rest % (each * heads) == 0)
    return any(own > 0 and own == _own_classes(spec) for own in fits)


def _layers(given: Shapes) -> Iterator[tuple[tuple[int, ...], int]]:
    """Weights that may be a class layer's, and whether it has a bias."""
    for name, shape in given.items():
        if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)):
            yield shape, int(name.endswith("weight") and name[: -len("weight")] + "bias" in given)


def _parameters(given: Shapes) -> int:
    return sum(math.prod(shape) for name, shape in given.items() if not name.endswith(_BUFFERS))


@cache
def _counts() -> Mapping[str, int]:
    """The parameters of every architecture that the installed libraries have."""
    counts: dict[str, int] = json.loads(files("deepscope.models").joinpath("parameters.json").read_text())
    here = {f"{library}:{name}" for library in ("torchvision", "timm") for name in architectures.names(library)}
    return {spec: count for spec, count in counts.items() if spec in here}


@cache
def _own_classes(spec: str) -> int:
    """The number of classes that the library gives the architecture by itself."""
    library, _, name = spec.partition(":")
    if library != "timm":
        return _USUAL
    import timm

    config = timm.get_pretrained_cfg(name)
    return _USUAL if config is None or not config.num_classes else config.num_classes


@cache
def _shapes(spec: str, classes: int | None, channels: int = 3) -> Shapes:
    options = {} if channels == 3 else {"in_chans": channels}
    network = architectures.skeleton(spec, classes=classes, options=options)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@cache
def _head(spec: str) -> tuple[tuple[str, ...], int]:
    """The tensors that depend on the number of classes, and the architecture's own number."""
    usual, other = _shapes(spec, None), _shapes(spec, 7)
    names = tuple(name for name in usual if name in other and usual[name] != other[name])
    auxiliary = architectures.auxiliary(spec)
    names = tuple(name for name in names if not name.startswith(auxiliary))
    return names, usual[names[0]][0] if names else _USUAL
