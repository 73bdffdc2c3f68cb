"""The matrix of scores in what a network returns: a tensor, or a container that holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from deepscope.errors import ModelError

_MAIN = ("logits", "out", "output", "prediction")
"""Names of the logits in a container that holds other matrices as well."""


def scores_in(output: Any, name: str, images: int, widths: Sequence[int]) -> Tensor:
    """The (N, C) tensor of scores in what a network returns.

    Args:
        output: a tensor, or a tuple, list, dict or object that holds one.
        name: the model's, for errors.
        images: N.
        widths: the numbers of scores per image that are expected.

    Raises:
        ModelError: there is no such tensor, or several may be it.
    """
    found = output if isinstance(output, Tensor) else _logits_in(output, name, images, widths)
    if not _is_dense(found):
        raise ModelError(f"{name} returns a sparse, nested or quantized tensor: return dense logits")
    if found.ndim > 2 and found.shape[2:].numel() == 1:  # a head that is a 1 x 1 convolution
        found = found.flatten(1)
    if found.ndim != 2 or found.shape[0] != images or not found.is_floating_point():
        raise ModelError(
            f"{name} returns {_described(found)} for {images} images: a classifier returns floating-point "
            f"logits of shape ({images}, {widths[-1]})"
        )
    return found


def _logits_in(output: Any, name: str, images: int, widths: Sequence[int]) -> Tensor:
    """The one tensor of logits in a container."""
    held = dict(_held(output))
    if isinstance(held.get("logits"), Tensor):
        return held["logits"]
    tensors = {key: value for key, value in held.items() if isinstance(value, Tensor) and _is_dense(value)}
    matrices = {key: value for key, value in tensors.items() if _is_matrix(value, images)}
    found = matrices or tensors
    if len(found) == 1:
        return next(iter(found.values()))
    fitting = [key for key, value in matrices.items() if value.shape[1] in widths]
    if len(fitting) == 1 and fitting[0] in (*_MAIN, "0"):  # "0": the first of a tuple
        return matrices[fitting[0]]
    kind = type(output).__name__
    if not found:
        raise ModelError(f"{name} returns {kind}, which holds no dense tensor: return the logits")
    listed = " and ".join(f"{key!r} {tuple(value.shape)}" for key, value in list(found.items())[:4])
    raise ModelError(f"{name} returns {kind} in which {listed} may each be the logits: return one of them")


def _held(output: Any) -> Iterator[tuple[str, Any]]:
    """The names and values in a container; nothing in what is none."""
    if isinstance(output, Mapping):
        yield from ((str(key), value) for key, value in cast("Mapping[Any, Any]", output).items())
    elif hasattr(output, "_fields"):
        yield from zip(output._fields, output)
    elif dataclasses.is_dataclass(output):
        yield from ((field.name, getattr(output, field.name)) for field in dataclasses.fields(output))
    elif isinstance(output, (tuple, list)):
        yield from ((str(place), value) for place, value in enumerate(cast("tuple[Any, ...]", output)))
    elif hasattr(output, "logits"):
        yield "logits", output.logits


def _is_dense(value: Tensor) -> bool:
    return value.layout == torch.strided and not (value.is_nested or value.is_quantized)


def _is_matrix(value: Tensor, images: int) -> bool:
    """Whether it has one row per image, perhaps of a 1 x 1 convolution, and so may be the logits."""
    shaped = value.ndim == 2 or (value.ndim > 2 and value.shape[2:].numel() == 1)
    return shaped and value.shape[0] == images and value.is_floating_point()


def _described(found: Tensor) -> str:
    return f"{str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"
