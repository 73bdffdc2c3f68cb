"""Networks for two kinds of images: normalisation layers exist twice, and every image chooses between the two.

A classifier that was tuned to a target keeps the layers of its source as well. An image that looks like those of the
target passes through the tuned layers, any other image through the source's, with the source model's own result.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepscope.errors import ModelError
from deepscope.models.weights import checked

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers that normalise and may exist twice."""

MOST_CHANNELS = 256
"""Channels of the layer by which images are told apart: the covariance of twice as many numbers is estimated."""

_RIDGE = 0.01
_PASSES = 0.98
"""Share of the target's images that the limit lets pass, before they were used to fit the distance."""
_SLACK = 1e-3
"""Added to the limit, of which distances are rounded: those of equal images would else lie above it."""
_LEAST = 1e-8
_PARTS = _SOURCE, _TARGET, _LIKENESS = ".for_source.", ".for_target.", ".likeness."
_CHOICE: ContextVar[Tensor | None] = ContextVar("images of the target in this pass", default=None)


class _Reached(Exception):
    """Ends a pass; it is no error."""


class Likeness(nn.Module):
    """Whether images look like those of the target: a limit on the squared Mahalanobis distance from their mean.

    Args:
        mean, precision: (D,) and (D, D) of the descriptions of the target's images.
        limit: (); images beyond it are not of the target.
    """

    mean: Tensor
    precision: Tensor
    limit: Tensor

    def __init__(self, mean: Tensor, precision: Tensor, limit: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("precision", precision)
        self.register_buffer("limit", limit)

    @classmethod
    def fit(cls, described: Tensor) -> Likeness:
        """From (N, D) descriptions of at least four images of the target.

        Each half is measured by its distance from the other, so that the limit is that of images not seen before.
        """
        described = described.double()
        halves = described[::2], described[1::2]
        held = torch.cat([cls._of(one, described.new_zeros(())).distance(two) for one, two in (halves, halves[::-1])])
        return cls._of(described, held.quantile(_PASSES) * (1 + _SLACK) + _SLACK).float()

    @classmethod
    def _of(cls, described: Tensor, limit: Tensor) -> Likeness:
        away = described - described.mean(0)
        covariance = away.T @ away / len(away) + _RIDGE * torch.eye(away.shape[1]).to(away)
        return cls(described.mean(0), torch.linalg.inv(covariance).contiguous(), limit)

    def distance(self, described: Tensor) -> Tensor:
        """(N, D) -> (N,) squared Mahalanobis distances."""
        away = described.to(self.mean) - self.mean
        return (away @ self.precision * away).sum(1)

    def forward(self, described: Tensor) -> Tensor:
        """(N, D) -> (N,) whether the images look like the target's."""
        return self.distance(described) <= self.limit


class Switched(nn.Module):
    """A normalisation layer that exists twice.

    Args:
        for_source, for_target: the layers.
        likeness: chooses for the whole network; only the layer that runs first has one.
    """

    def __init__(self, for_source: nn.Module, for_target: nn.Module, likeness: Likeness | None = None) -> None:
        super().__init__()
        self.for_source, self.for_target, self.likeness = for_source, for_target, likeness

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, ...) -> the same shape.

        Raises:
            ModelError: the layer runs without the one that chooses.
        """
        if self.likeness is not None:
            assert isinstance(self.for_source, _BatchNorm)
            _CHOICE.set(self.likeness(describe(inputs, self.for_source)))
        chosen = _CHOICE.get()
        exported = torch.compiler.is_compiling()  # which would fix the number of images
        if chosen is None or (not exported and len(chosen) != len(inputs)):
            raise ModelError("a layer of a tuned network cannot run alone: which images suit it is decided further up")
        chosen = chosen.reshape(-1, *[1] * (inputs.ndim - 1))
        return torch.where(chosen, self.for_target(inputs), self.for_source(inputs))


def describe(inputs: Tensor, norm: _BatchNorm) -> Tensor:
    """(N, C, H, W) inputs of a batch normalisation -> (N, 2C): means and logarithms of mean squares.

    In units of the running statistics. Noise, blur and contrast change the mean squares of the first layer's channels.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    inputs = inputs.detach().to(norm.running_mean)
    means = inputs.mean((2, 3)) - norm.running_mean
    squares = inputs.var((2, 3), correction=0) + means.square()
    variance = norm.running_var + norm.eps
    return torch.cat([means * variance.rsqrt(), (squares / variance).clamp(min=_LEAST).log()], 1)


def first_norm(network: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, Tensor] | None:
    """The layer by which images can be told apart, and (N, 2C) descriptions of the inputs at it.

    It is the normalisation layer that runs first; the network runs no further.

    Returns:
        None where that is no batch normalisation of maps with running statistics.
    """
    names = {layer: name for name, layer in norms(network)}
    reached: list[tuple[nn.Module, Tensor]] = []

    def before(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        reached.append((layer, given[0]))
        raise _Reached

    handles = [layer.register_forward_pre_hook(before) for layer in names]
    try:
        for part in inputs:
            with suppress(_Reached), torch.no_grad():
                network(part)
    finally:
        for handle in handles:
            handle.remove()
    first = reached[0][0] if reached else None
    if not isinstance(first, nn.BatchNorm2d) or first.running_mean is None or first.num_features > MOST_CHANNELS:
        return None
    return names[first], torch.cat([describe(given, first) for _, given in reached])


def switch(network: nn.Module, tuned: nn.Module, gate: str, likeness: Likeness) -> None:
    """Give the network the normalisation layers of a tuned copy of it as well."""
    for name, layer in norms(network):
        second = copy.deepcopy(tuned.get_submodule(name))
        network.set_submodule(name, Switched(layer, second, likeness if name == gate else None))


def norms(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The names of its normalisation layers, and the layers."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, NORMS)]


def is_switched(network: nn.Module) -> bool:
    """Whether it has layers that exist twice."""
    return any(isinstance(module, Switched) for module in network.modules())


def plain(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the source's network under their usual names, and what belongs to the target."""
    layers = _twice(weights)
    own, other = {}, {}
    for key, value in weights.items():
        layer, part, rest = next((split for split in map(key.partition, _PARTS) if split[0] in layers), (key, "", ""))
        if part in ("", _SOURCE):
            own[f"{layer}.{rest}" if part else key] = value
        else:
            other[key] = value
    return own, other


def attach(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put what `plain` took out of a network's weights back into the network that was built from the others.

    Raises:
        ModelError: there is no such layer, or its weights have other names, shapes or types.
    """
    weights, layers = checked(weights), dict(norms(network))
    for name in sorted(_twice(weights)):
        if name not in layers:
            raise ModelError(f"{name} is no normalisation layer of the network, and its weights are for one")
        second = copy.deepcopy(layers[name])
        second.load_state_dict(_fitting(weights, name + _TARGET, second.state_dict()), assign=True)
        network.set_submodule(name, Switched(layers[name], second, _likeness(weights, name, layers[name])))


def _twice(weights: Mapping[str, Tensor]) -> set[str]:
    """The layers that exist twice."""
    return {key.partition(_TARGET)[0] for key in weights if _TARGET in key}


def _likeness(weights: Mapping[str, Tensor], name: str, norm: nn.Module) -> Likeness | None:
    start = name + _LIKENESS
    if not any(key.startswith(start) for key in weights):
        return None
    if not isinstance(norm, nn.BatchNorm2d) or norm.num_features > MOST_CHANNELS:
        raise ModelError(f"{name} cannot tell images apart: it is no batch normalisation of a few channels")
    numbers = 2 * norm.num_features
    wanted = {"mean": torch.empty(numbers), "precision": torch.empty(numbers, numbers), "limit": torch.empty(())}
    return Likeness(**_fitting(weights, start, wanted))


def _fitting(weights: Mapping[str, Tensor], start: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin so, where they have the names, shapes and types of those that are wanted."""
    found = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
    kinds = [{key: (value.shape, value.dtype) for key, value in given.items()} for given in (found, wanted)]
    if kinds[0] != kinds[1]:
        raise ModelError(f"the weights of {start.rstrip('.')} are not those of such a layer")
    return found
