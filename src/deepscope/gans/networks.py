"""DCGAN's generator and discriminator, with or without classes.

The first layer of the one and the last of the other have a single pixel as input or output. As matrix products with
the weights of the paper's (transposed) convolutions, they are faster.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from deepscope.gans.architecture import Architecture

_START = 4
_LEAK = 0.2
_SIDE, _STRIDE, _PADDING = 4, 2, 1
"""Of DCGAN's convolutions: to half the side, or to twice."""

UNSHIFTED = ("spectral", "none")
"""Normalisations of the discriminator that shift nothing, so that its logit needs a bias.

Without either, half the contrast halves every logit: an image that looks generated comes nearer to real with each loss
of contrast, and the generator's images fade to grey. Biases in its convolutions slow short trainings down.
"""


class Generator(nn.Module):
    """z and, where there are classes, y -> images.

    Args:
        architecture: side, latent and width.
        channels: of the images, 1 or 3.
        classes: 0 without labels.
    """

    def __init__(self, architecture: Architecture, channels: int, classes: int) -> None:
        super().__init__()
        self.latent, self.classes = architecture.latent, classes
        widths = [architecture.width << stage for stage in reversed(range(architecture.stages))]
        self.start = nn.Linear(self.latent + classes, widths[0] * _START**2, bias=False)
        self.layers = nn.Sequential(nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))
        for before, after in pairwise(widths):
            self.layers.extend([_up(before, after), nn.BatchNorm2d(after), nn.ReLU(inplace=True)])
        self.layers.append(_up(widths[-1], channels))
        _initialise(self)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """(N, latent) normal numbers and (N,) int64 labels -> (N, C, H, W) in [-1, 1], float32.

        Without classes the labels are ignored.
        """
        return self.layers(self._started(z, labels)).float().tanh()

    def first(self, z: Tensor, labels: Tensor) -> Tensor:
        """The same arguments -> (N, channels, 4, 4) after the first layer and its normalisation, before its ReLU."""
        return self.layers[:1](self._started(z, labels))

    def _started(self, z: Tensor, labels: Tensor) -> Tensor:
        if self.classes:
            z = torch.cat([z, functional.one_hot(labels, self.classes).to(z)], dim=1)
        first = self.start(z).unflatten(1, (-1, _START, _START))
        return first.contiguous(memory_format=torch.channels_last)


class Discriminator(nn.Module):
    """Images and, where it is given them, labels -> one logit each: high for real.

    Args:
        architecture: everything but latent.
        channels: of the images.
        classes: 0 without labels.
    """

    def __init__(self, architecture: Architecture, channels: int, classes: int) -> None:
        super().__init__()
        width = architecture.discriminator_width or architecture.width
        self.packing = architecture.packing
        self.concatenated = classes if architecture.label_in_discriminator == "concatenated" else 0
        kind = architecture.normalisation
        self.first = nn.Sequential(_down(channels * self.packing, width), nn.LeakyReLU(_LEAK))
        self.layers = nn.Sequential()
        for stage in range(architecture.stages - 1):
            before, after = width << stage, width << (stage + 1)
            more = self.concatenated if stage == 0 else 0
            self.layers.extend([_down(before + more, after), _norm(kind, after), nn.LeakyReLU(_LEAK, inplace=True)])
        features = (width << (architecture.stages - 1)) * _START**2
        self.head = nn.Linear(features, 1, bias=kind in UNSHIFTED)
        projected = architecture.label_in_discriminator == "projected"
        self.by_class = nn.Linear(features, classes, bias=False) if classes and projected else None
        _initialise(self)
        if kind == "none":
            _keep_size(self)
        if kind == "spectral":
            for module in [m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]:
                spectral_norm(module)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] and (N,) int64 labels -> (N / packing,) logits, in the images' own precision."""
        packed = images.reshape(len(images) // self.packing, -1, *images.shape[2:])
        x = self.first(packed.contiguous(memory_format=torch.channels_last))
        layers = self.layers
        if self.concatenated:
            second, layers = layers[0], layers[1:]
            assert isinstance(second, nn.Conv2d)
            x = _with_planes(second.weight, x, functional.one_hot(labels, self.concatenated))
        features = layers(x).permute(0, 2, 3, 1).flatten(1)  # as channels_last has them: no copy
        logits = self.head(features).squeeze(1)
        if self.by_class is not None:
            logits = logits + self.by_class(features).gather(1, labels[:, None]).squeeze(1)
        return logits.to(images.dtype)


def _down(before: int, after: int) -> nn.Conv2d:
    """(N, before, 2H, 2W) -> (N, after, H, W)."""
    return nn.Conv2d(before, after, _SIDE, _STRIDE, _PADDING, bias=False)


def _up(before: int, after: int) -> nn.ConvTranspose2d:
    """(N, before, H, W) -> (N, after, 2H, 2W)."""
    return nn.ConvTranspose2d(before, after, _SIDE, _STRIDE, _PADDING, bias=False)


def _with_planes(weight: Tensor, x: Tensor, one_hot: Tensor) -> Tensor:
    """The convolution of x (N, C, H, W) with a constant plane for each of K classes joined to it, (N, K) their values.

    What the planes add is the same for all images of a class, so it is computed once per class. This is exact, and
    saves a fifth of a training step: few processors are fast at convolutions of C + K channels.
    """
    own, planes = weight.split([x.shape[1], one_hot.shape[1]], dim=1)
    classes = torch.eye(one_hot.shape[1], dtype=x.dtype, device=x.device)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    added = functional.conv2d(classes, planes, None, _STRIDE, _PADDING).permute(0, 2, 3, 1)
    chosen = one_hot.to(added) @ added.flatten(1)
    own = own.contiguous(memory_format=torch.channels_last)
    return functional.conv2d(x, own, None, _STRIDE, _PADDING) + chosen.unflatten(1, added.shape[1:]).permute(0, 3, 1, 2)


def _norm(kind: str, channels: int) -> nn.Module:
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case _:
            return nn.Identity()


def _initialise(network: nn.Module) -> None:
    """As in the paper: weights from N(0, 0.02), scales from N(1, 0.02)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.normal_(module.weight, 1.0, 0.02)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _keep_size(network: Discriminator) -> None:
    """Weights that neither enlarge nor shrink what passes through (He et al. 2015); first logits are half as large."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, _LEAK)
    with torch.no_grad():
        for head in (network.head, network.by_class):
            if head is not None:
                head.weight.mul_(0.5)
