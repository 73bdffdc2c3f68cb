"""Networks for two domains at once: a joined batch goes through one set of weights, each part normalised on its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation.domain_norm import SOURCE, DomainNorm, Sizes, Statistics
from deepscope.models import digits
from deepscope.models.classifier import Backbone, Classifier, Normalisation, View


class DomainNetwork(nn.Module, ABC):
    """A feature extractor and a label classifier for inputs of two domains.

    Attributes:
        width: number of features.
        classes: number of classes.
    """

    width: int
    classes: int

    @abstractmethod
    def features(self, inputs: Tensor, sizes: Sizes) -> Tensor:
        """(N, ...) inputs -> (N, width) features, in which the domains are to become alike."""

    @abstractmethod
    def classify(self, features: Tensor, sizes: Sizes) -> Tensor:
        """(N, width) features -> (N, classes) logits, in full precision."""

    @property
    @abstractmethod
    def class_layers(self) -> Sequence[nn.Module]:
        """The layers that `classify` runs."""

    @abstractmethod
    def calibrate(self, source: Tensor, target: Tensor) -> None:
        """Compute what is fixed before training (the domains' means) from their stored inputs."""

    @abstractmethod
    def stored(self, inputs: Tensor) -> Tensor:
        """Inputs as they are stored (bytes, say) -> as the network takes them."""

    def forward(self, inputs: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Features and logits of inputs (N, ...) of one domain."""
        sizes = (len(inputs), 0) if domain == SOURCE else (0, len(inputs))
        features = self.features(inputs, sizes)
        return features, self.classify(features, sizes)


class DigitNetwork(DomainNetwork):
    """The MNIST network of Ganin and Lempitsky (2015): two 5 x 5 convolutions, then 100, 100, 10.

    Features are the 768 activations of the second pooling. With statistics other than "none", each layer but the last
    is batch-normalised; dropout acts on the features and both hidden layers.

    Args:
        statistics: of batch normalisation.
        dropout: share of activations that are set to zero.
        centre: subtract each domain's own mean colour.
    """

    width = 768

    means: Tensor

    def __init__(self, statistics: Statistics, dropout: float, *, centre: bool, classes: int = 10) -> None:
        super().__init__()
        self.classes, self.dropout, self.centre = classes, dropout, centre
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 5), nn.Conv2d(32, 48, 5)
        self.hidden1, self.hidden2 = nn.Linear(self.width, 100), nn.Linear(100, 100)
        self.output = nn.Linear(100, classes)
        self.norms = nn.ModuleList(DomainNorm(channels, statistics) for channels in (32, 48, 100, 100))
        self.register_buffer("means", torch.zeros(2, 3))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def class_layers(self) -> Sequence[nn.Module]:
        """Two hidden layers and the class layer, and their normalisation."""
        return (self.hidden1, self.hidden2, self.output, *self.norms[2:])

    def calibrate(self, source: Tensor, target: Tensor) -> None:
        """The domains' mean colours, of (N, 1 or 3, 28, 28) uint8."""
        if self.centre:
            sums = [pixels.sum((2, 3), dtype=torch.int32) for pixels in (source, target)]
            colours = [each.double().mean(0).expand(3) / (255 * source.shape[2] * source.shape[3]) for each in sums]
            self.means.copy_(torch.stack(colours))

    def stored(self, inputs: Tensor) -> Tensor:
        """(N, 1 or 3, 28, 28) uint8 -> (N, 3, 28, 28) pixels in [0, 1]."""
        return (inputs.float() / 255).expand(-1, 3, -1, -1)

    def features(self, inputs: Tensor, sizes: Sizes) -> Tensor:
        """(N, 3, 28, 28) pixels in [0, 1] -> (N, 768)."""
        rows = torch.repeat_interleave(self.means, torch.tensor(sizes, device=inputs.device), dim=0)
        x = (inputs - rows[:, :, None, None]).contiguous(memory_format=torch.channels_last)
        x = functional.relu(functional.max_pool2d(self.norms[0](self.conv1(x), sizes), 2))
        x = functional.relu(functional.max_pool2d(self.norms[1](self.conv2(x), sizes), 2))
        return functional.dropout(x.flatten(1), self.dropout, self.training)

    def classify(self, features: Tensor, sizes: Sizes) -> Tensor:
        """(N, 768) -> (N, C)."""
        x = features
        for number, layer in enumerate((self.hidden1, self.hidden2), start=2):
            x = functional.relu(self.norms[number](layer(x), sizes))
            x = functional.dropout(x, self.dropout, self.training)
        return full(self.output(x))

    @torch.no_grad()
    def classifier(self, domain: int, views: Sequence[View] = (View(),)) -> Classifier:
        """The network for one domain alone, normalisation folded into its weights: the paper's plain layers.

        Its last hidden layer is the mean over the views.
        """
        device = self.means.device
        plain = digits.network().to(device)
        for name, norm in zip(("conv1", "conv2", "hidden1", "hidden2"), self.norms, strict=True):
            layer = plain.get_submodule(name)
            layer.load_state_dict(self.get_submodule(name).state_dict())
            assert isinstance(norm, DomainNorm) and isinstance(layer, (nn.Conv2d, nn.Linear))
            norm.fold(layer, domain)
        head = nn.Linear(100, self.classes, device=device)
        head.load_state_dict(self.output.state_dict())
        backbone = Backbone(plain, self.means[domain].tolist(), (1.0, 1.0, 1.0), [("relu4", "flatten")], views)
        nothing = torch.empty(0)
        return Classifier([backbone], [Normalisation("raw", nothing, nothing, nothing)], head).to(device).eval()


class FeatureNetwork(DomainNetwork):
    """A linear bottleneck and a linear classifier on a pretrained network's features, standardised for each domain.

    Without a nonlinearity the two are one linear layer in the end, which is how the network is saved.

    Args:
        inputs: features of the pretrained network.
        classes: number of classes.
        width: of the bottleneck.
        dropout: share of inputs that are set to zero.
        centre: standardise each domain by its own mean and deviation; else both by the source's.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: int, classes: int, *, width: int = 256, dropout: float, centre: bool) -> None:
        super().__init__()
        self.width, self.classes, self.dropout, self.centre = width, classes, dropout, centre
        self.bottleneck, self.output = nn.Linear(inputs, width), nn.Linear(width, classes)
        self.register_buffer("shift", torch.zeros(2, inputs))
        self.register_buffer("scale", torch.ones(2, inputs))

    @property
    def class_layers(self) -> Sequence[nn.Module]:
        """The class layer."""
        return (self.output,)

    def calibrate(self, source: Tensor, target: Tensor) -> None:
        """The domains' means and deviations, of (N, D) features."""
        for row, features in enumerate((source, target if self.centre else source)):
            deviation = features.std(0, correction=0)
            self.shift[row] = features.mean(0)
            self.scale[row] = torch.where(deviation > 0, 1 / deviation.clamp(min=1e-12), 0) / features.shape[1] ** 0.5

    def stored(self, inputs: Tensor) -> Tensor:
        """(N, D) features stay as they are."""
        return inputs

    def features(self, inputs: Tensor, sizes: Sizes) -> Tensor:
        """(N, D) -> (N, width)."""
        rows = torch.tensor(sizes, device=inputs.device)
        shift, scale = (torch.repeat_interleave(values, rows, dim=0) for values in (self.shift, self.scale))
        # Standardised rows have norm 1; the layers below are initialised for deviation 1.
        standard = (inputs - shift) * scale * inputs.shape[1] ** 0.5
        return full(self.bottleneck(functional.dropout(standard, self.dropout, self.training)))

    def classify(self, features: Tensor, sizes: Sizes) -> Tensor:
        """(N, width) -> (N, C)."""
        del sizes
        return full(self.output(features))

    @torch.no_grad()
    def head(self, domain: int) -> tuple[Normalisation, nn.Linear]:
        """The layers on the pretrained features for one domain: their normalisation and one linear layer."""
        linear = nn.Linear(self.bottleneck.in_features, self.classes, device=self.shift.device)
        linear.weight.copy_(self.output.weight @ self.bottleneck.weight * self.bottleneck.in_features**0.5)
        linear.bias.copy_(self.output.weight @ self.bottleneck.bias + self.output.bias)
        return Normalisation("standard", self.shift[domain], self.scale[domain], torch.empty(0)), linear


def full(outputs: Tensor) -> Tensor:
    """At least float32: losses need more digits than bfloat16 has."""
    return outputs.float() if outputs.dtype.itemsize < 4 else outputs
