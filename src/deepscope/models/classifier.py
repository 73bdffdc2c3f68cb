"""A classifier on top of pretrained networks: layers, pooled, normalised, then one linear layer. All differentiable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.errors import SettingError, UnsupportedError
from deepscope.models.capture import capture
from deepscope.models.layouts import Layout, Reading
from deepscope.models.preprocessing import normalised

Pooling = Literal["mean", "max", "flatten", "pyramid"]
"""How maps become a vector; "pyramid" joins the means of the whole, of its 2 x 2 and of its 3 x 3 parts."""

NormalisationKind = Literal["raw", "l2", "power", "standard", "whiten"]
"""See `Normalisation`."""

_SMALL = 1e-6


@dataclass(frozen=True)
class View:
    """One way that a network sees an image.

    Attributes:
        mirrored: left and right exchanged.
        scale: sides of the input, relative to the pixels that are given.
        down, right: whole pixels that the image is moved by; its border is repeated.
        negative: black for white.
    """

    mirrored: bool = False
    scale: float = 1.0
    down: int = 0
    right: int = 0
    negative: bool = False

    @property
    def key(self) -> dict[str, object]:
        """What tells it from other views, and what it does not change is left out.

        But for mirrored and scale, which are always named: features and models kept under that name stay good.
        """
        kept = ("mirrored", "scale")
        return {name: value for name, value in asdict(self).items() if name in kept or value}

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in [0, 1] -> (N, 3, H * scale, W * scale)."""
        if self.down or self.right:
            reach = max(abs(self.down), abs(self.right))
            padded = functional.pad(pixels, [reach] * 4, mode="replicate")
            height, width = pixels.shape[2:]
            pixels = padded[..., reach - self.down :, reach - self.right :][..., :height, :width]
        if self.negative:
            pixels = 1 - pixels
        if self.scale != 1:
            size = [max(1, round(side * self.scale)) for side in pixels.shape[2:]]
            pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=self.scale < 1)
        return pixels.flip(-1) if self.mirrored else pixels


@dataclass(frozen=True)
class BackboneOrigin:
    """What rebuilds a backbone's network: its architecture (`LIBRARY:NAME`) and the outputs of its class layer."""

    name: str
    architecture: str
    classes: int | None


class Backbone(nn.Module):
    """Layers of a pretrained network as feature vectors.

    Args:
        network: takes normalised (N, 3, H, W), or (N, 1, H, W) where mean and std have one channel.
        mean, std: of the pixels that the network was trained on, by channel.
        layers: (module's name, pooling) of each feature vector; no network runs further than the last of them.
        views: what the network sees of each image; features are their mean.
        origin: rebuilds the network; None where that is not known.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        layers: Sequence[tuple[str, Pooling]],
        views: Sequence[View] = (View(),),
        origin: BackboneOrigin | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.origin = origin
        self.layers = tuple(layers)
        self.views = tuple(views)
        self._known: dict[tuple[int, ...], Mapping[str, Layout]] = {}  # size of the input -> layouts of its layers
        self.register_buffer("mean", torch.as_tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.as_tensor(std).view(-1, 1, 1), persistent=False)

    def extra_repr(self) -> str:
        """What tells it from other backbones of the network."""
        mean, std = ([round(value, 6) for value in one.flatten().tolist()] for one in (self.mean, self.std))
        return f"layers={self.layers}, views={self.views}, mean={mean}, std={std}"

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(N, 3, H, W) pixels in [0, 1] -> one (N, D) float32 tensor for each of `layers`."""
        seen = [self._features(inputs) for inputs in self.inputs(pixels)]
        return [torch.stack(list(vectors)).mean(0) for vectors in zip(*seen, strict=True)] if len(seen) > 1 else seen[0]

    def inputs(self, pixels: Tensor) -> list[Tensor]:
        """(N, 3, H, W) pixels in [0, 1] -> what the network sees of them, one tensor per view."""
        dtype = next((parameter.dtype for parameter in self.network.parameters()), pixels.dtype)
        return [normalised(view(pixels), self.mean, self.std).to(dtype) for view in self.views]

    def _features(self, inputs: Tensor) -> list[Tensor]:
        modules = {name: self.network.get_submodule(name) for name, _ in self.layers}
        size = tuple(inputs.shape[1:])
        if size in self._known or torch.compiler.is_compiling():  # an export follows a pass of the model
            found = capture(self.network, inputs, modules)
        else:
            with Reading(self.network, len(inputs)) as reading:
                found = capture(self.network, inputs, modules)
            of = reading.layouts().of
            self._known[size] = {name: of[name] for name in modules if name in of}
        known = self._known.get(size, {})
        return [pool(found[name].float(), pooling, known.get(name)) for name, pooling in self.layers]


class Normalisation(nn.Module):
    """Feature vectors brought to a common scale. Statistics come from the training features alone.

    "raw": divided by one number, the root mean square of the training vectors' norms, so that regularisation
    means the same on every layer. "l2": each vector divided by its own norm. "power": signed square roots, then
    "l2" (Perronnin et al. 2010). "standard": each dimension to mean 0 and deviation 1. "whiten": "l2", then
    principal components of nearly equal variance, then "l2" again (Jégou and Chum 2012).
    """

    shift: Tensor
    scale: Tensor
    rotation: Tensor

    def __init__(self, kind: NormalisationKind, shift: Tensor, scale: Tensor, rotation: Tensor) -> None:
        super().__init__()
        if kind not in get_args(NormalisationKind):
            raise SettingError("normalisation", f"must be one of {', '.join(get_args(NormalisationKind))}", got=kind)
        self.kind: NormalisationKind = kind
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self.register_buffer("rotation", rotation)

    @classmethod
    def fit(cls, kind: NormalisationKind, features: Tensor) -> Normalisation:
        """The normalisation with the statistics of (N, D) training features."""
        nothing = torch.empty(0)
        module = cls(kind, nothing, nothing, nothing)
        if kind == "raw":
            rms = features.square().sum(1).mean().sqrt().clamp(min=1e-12)
            module.scale = (1 / rms).reshape(1)
        elif kind == "standard":
            module.shift = features.mean(0)
            deviation = features.std(0, correction=0)
            module.scale = torch.where(deviation > 0, 1 / deviation.clamp(min=1e-12), 0) / features.shape[1] ** 0.5
        elif kind == "whiten":
            unit = functional.normalize(features)
            module.shift = unit.mean(0)
            _, singular, components = torch.linalg.svd((unit - module.shift).double(), full_matrices=False)
            # Directions of less than the mean variance are mostly noise, and are not blown up to the others' size.
            spread = (singular.square() + singular.square().mean()).sqrt()
            module.rotation = (components.T / spread).to(features)
        return module

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, D), or (N, kept components) where whitened."""
        if self.kind == "power":
            features = features * (features.abs() + _SMALL).rsqrt()
        if self.kind in ("l2", "power", "whiten"):
            features = functional.normalize(features)
        if self.shift.numel():
            features = features - self.shift
        if self.scale.numel():
            features = features * self.scale
        if self.rotation.numel():
            features = functional.normalize(features @ self.rotation)
        return features


@dataclass(frozen=True)
class HeadFit:
    """How the linear layer of a transferred classifier was fitted: enough to find out what each image contributed.

    Attributes:
        head: name of the head.
        regularisation: the strength that was chosen: C of the support vector machine and of logistic regression, the
            penalty of ridge regression.
        temperature: the layer's scores were divided by it.
        images: the first 16 hexadecimal digits of each training image's SHA-256; empty where they are not known.
    """

    head: str
    regularisation: float
    temperature: float
    images: tuple[str, ...] = ()


class Classifier(nn.Module):
    """Backbones, a normalisation for each of their feature vectors, and a linear layer on all of them together.

    It takes pixels, not normalised input: every backbone applies its own mean and deviation. The logits' softmax
    gives calibrated probabilities.

    Args:
        backbones, normalisations, head: its parts.
        fit: how the head was fitted; None where that is not known, or it was trained further.
    """

    def __init__(
        self,
        backbones: Sequence[Backbone],
        normalisations: Sequence[Normalisation],
        head: nn.Linear,
        fit: HeadFit | None = None,
    ) -> None:
        super().__init__()
        self.fit = fit
        self.backbones = nn.ModuleList(backbones)
        self.normalisations = nn.ModuleList(normalisations)
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in [0, 1] -> (N, C) logits."""
        vectors = [vector for backbone in self.backbones for vector in backbone(pixels)]
        return self.head(join(self.normalisations, vectors))


def join(normalisations: Sequence[nn.Module] | nn.ModuleList, vectors: Sequence[Tensor]) -> Tensor:
    """Each block of features through its normalisation, side by side; several blocks share one norm."""
    blocks = [normalise(block) for normalise, block in zip(normalisations, vectors, strict=True)]
    return torch.cat(blocks, 1) / len(blocks) ** 0.5


def pool(activation: Tensor, pooling: Pooling, layout: Layout | None = None) -> Tensor:
    """(N, C, H, W) maps, (N, H, W, C) maps or (N, T, C) tokens -> (N, D). Vectors stay as they are.

    Means and maxima of tokens include prefix tokens; a pyramid is that of the patches.

    Args:
        layout: which axes are positions; where it is not known, channels come first in maps and last in tokens.

    Raises:
        SettingError: the pooling does not exist.
        UnsupportedError: it needs maps and there are tokens that form no grid.
    """
    if pooling not in get_args(Pooling):
        raise SettingError("pooling", f"must be one of {', '.join(get_args(Pooling))}", got=pooling)
    if activation.ndim == 2 or pooling == "flatten":
        return activation.flatten(1)
    if activation.ndim == 3 and pooling != "pyramid":
        positions = 1 if layout is None else 3 - layout.channels
        return activation.mean(positions) if pooling == "mean" else activation.amax(positions)
    maps = None if layout is None else layout.maps(activation)
    activation = activation if maps is None else maps
    if activation.ndim != 4:
        raise UnsupportedError(
            f"a layer's output of shape {tuple(activation.shape[1:])} has no {pooling} pooling: use mean"
        )
    if pooling == "pyramid":
        return torch.cat([functional.adaptive_avg_pool2d(activation, parts).flatten(1) for parts in (1, 2, 3)], 1)
    return activation.mean((2, 3)) if pooling == "mean" else activation.amax((2, 3))
