"""`VisionModel`: a network together with how its input is made and what its outputs mean."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from deepscope import images
from deepscope.errors import DataError, ModelError, unknown
from deepscope.models.capabilities import LAYERS, Capabilities, require
from deepscope.models.capture import capture
from deepscope.models.classes import Classes
from deepscope.models.heads import Head
from deepscope.models.identity import network_sha256, weights_sha256
from deepscope.models.origin import Origin
from deepscope.models.outputs import Kind, Outputs
from deepscope.models.preprocessing import Preprocessing, displayed, normalised
from deepscope.models.weights import HALF
from deepscope.names import short

if TYPE_CHECKING:
    from deepscope.models.served import Served

_LARGER = 32
"""Pixels by which an input is larger than usual that shows whether a network takes other sizes."""


@dataclass(frozen=True, eq=False)
class VisionModel:
    """Any image classifier (or feature extractor), seen from pixel space.

    Epsilon, attributions and figures all live in pixels in [0, 1]: normalisation happens inside the
    graph, so gradients with respect to pixels need no further care.

    Attributes:
        name: what `load_model` calls it.
        network: takes normalised (N, C, H, W), gives logits or probabilities in any form that `Outputs` reads.
            Put into eval mode, its parameters frozen. One in half precision is replaced by a float32 copy.
        preprocessing: makes pixels from images.
        categories: one name per class, or per label; empty where the network has no class layer.
        wnids: the classes' WordNet identifiers, where they have one.
        aliases: other names of layers, as a publication calls them ("relu6") -> the module's name.
        origin: where the weights come from.
        architecture: `LIBRARY:NAME` that rebuilds the network; empty where it came from Python.
        head: what the scores mean; "features" where there are no categories.
        capabilities: what the network can be asked for; classes and channels follow from the other arguments.
        served: runs the network where no gradient is needed; None leaves that to PyTorch (`prediction.served`).
        outputs: reads what this network returns; not an argument, each model makes its own.

    Raises:
        ModelError: the preprocessing has not one mean and one deviation per channel.
    """

    name: str
    network: nn.Module
    preprocessing: Preprocessing
    categories: tuple[str, ...] = ()
    wnids: tuple[str, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    architecture: str = ""
    head: Head = Head()
    capabilities: Capabilities = Capabilities()
    served: Served | None = field(default=None, repr=False)
    outputs: Outputs = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.preprocessing.require_channels(self.name)
        if self.head.kind == "features":
            object.__setattr__(self, "categories", ())
            object.__setattr__(self, "wnids", ())
        channels, classes = len(self.preprocessing.mean), bool(self.categories)
        known = replace(self.capabilities, channels=channels, probabilities=classes)
        object.__setattr__(self, "capabilities", known)
        if not classes:
            object.__setattr__(self, "head", Head("features"))
        network = self.network
        if any(tensor.dtype in HALF for tensor in (*network.parameters(), *network.buffers())):
            network = copy.deepcopy(network).float()
        object.__setattr__(self, "network", network.eval())
        for parameter in network.parameters():  # ScriptModule has no requires_grad_ for all of them
            parameter.requires_grad_(False)
        object.__setattr__(self, "outputs", Outputs(self.name, len(self.categories), self.head))

    @property
    def title(self) -> str:
        """The name without the folders of a path."""
        return short(self.name)

    @property
    def planes(self) -> int:
        """Channels of the pixels: 3, also of networks for grey images; of networks for stacks as many as they take."""
        return self.preprocessing.planes

    @property
    def device(self) -> torch.device:
        """Where the network's tensors live."""
        tensor = next((t for group in (self.network.parameters(), self.network.buffers()) for t in group), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def to(self, device: torch.device) -> VisionModel:
        """The same model on another device (the network itself moves)."""
        return self.with_network(self.network.to(device), returns=self.outputs.kind)

    def with_network(self, network: nn.Module, *, returns: Kind | None) -> VisionModel:
        """The same model with another network, which returns logits or probabilities; None where that is not known."""
        made = replace(self, network=network, served=None)
        made.outputs.kind = returns
        return made

    def read(self, pictures: Iterable[images.Source]) -> Tensor:
        """Paths, bytes, PIL images or (H, W, 3) uint8 arrays -> (N, 3, H, W) pixels in [0, 1].

        Raises:
            DeepscopeError: an image cannot be read; `images.stream` is for folders where some may be bad.
        """
        pixels = [self.preprocessing(picture) for picture in pictures]
        if not pixels:
            raise DataError("no image was given: name at least one file or folder")
        return torch.stack(pixels).to(self.device)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in [0, 1] -> the network's input, in its dtype; part of the graph."""
        parameter = next(self.network.parameters(), pixels)
        return normalised(pixels, self._mean.to(pixels), self._std.to(pixels)).to(parameter.dtype)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in [0, 1] -> (N, C) logits in their dtype, differentiable with respect to them.

        Raises:
            ModelError: the model has no class layer, or its network returns no finite scores of its categories.
        """
        self.require_classes()
        network, inputs = self.network, self.normalise(pixels)
        if self.served and not (torch.is_grad_enabled() or torch.is_autocast_enabled(inputs.device.type)):
            if self.outputs.kind is None:  # which PyTorch alone can tell
                self.outputs(network, inputs[:1])
            network = cast(nn.Module, self.served) if self.outputs.kind else network
        return self.read_out(self.outputs(network, inputs)).to(pixels.dtype)

    def read_out(self, logits: Tensor) -> Tensor:
        """What this model returns where its network returns these logits; a contrast returns their differences."""
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, C) logits of this model -> (N, C) probabilities, by softmax or by a sigmoid per label."""
        return self.head.probabilities(logits)

    def log_probability(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N,) the logarithms of the probabilities of the classes (N,), of (N, C) logits of this model."""
        return self.head.log_probability(logits, classes)

    def objective(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N,) what is explained or maximised for the classes (N,), of (N, C) logits of this model; see `Head`."""
        head = Head("binary") if self.outputs.single and self.head.kind == "softmax" else self.head
        return head.objective(logits, classes)

    def displayed(self, pixels: Tensor) -> Tensor:
        """(..., C, H, W) pixels or levels -> (..., 3, H, W) to look at, in grey where the network sees no colours."""
        return displayed(pixels, self.capabilities.channels)

    def for_label(self, label: int) -> VisionModel:
        """The same network as a classifier of one label, with the classes "no LABEL" and "LABEL".

        Its decision is that of the label's threshold. Layers and weights are shared.
        """
        name = self.categories[label]
        head = Head("binary", (self.head.threshold(label),), label, len(self.categories))
        made = replace(self, categories=(f"no {name}", name), wnids=(), head=head)
        made.outputs.kind = self.outputs.kind
        return made

    def activations(self, pixels: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of the named layers, in one pass that stops after the last of them.

        Returns:
            the layers' names, as given -> outputs (N, ...), differentiable with respect to the pixels.

        Raises:
            UnknownNameError: no layer has that name.
            ModelError: the layer gives no tensor.
        """
        modules = {name: self.layer(name) for name in layers}
        return capture(self.network, self.normalise(pixels), modules)

    def layer(self, name: str) -> nn.Module:
        """The module of that name, as PyTorch or the publication calls it.

        Raises:
            UnsupportedError: the model is a black box.
            UnknownNameError: no layer has that name.
        """
        require(self, f"layer {name}", LAYERS)
        try:
            return self.network.get_submodule(self.aliases.get(name, name) or "?")
        except AttributeError:
            options = (*self.aliases, *self.layers)
            raise unknown("layer", name, options, listing=f"`deepscope models show {self.name}`") from None

    @cached_property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width where the network takes no others, found by one forward pass; None where it takes any."""
        if self.capabilities.input_size:
            return self.capabilities.input_size
        height, width = self.preprocessing.size
        pixels = torch.full((1, self.planes, height + _LARGER, width + _LARGER), 0.5, device=self.device)
        try:
            with torch.inference_mode():
                self.network(self.normalise(pixels))
        except torch.OutOfMemoryError:
            return None
        except Exception:  # libraries refuse by any kind of error
            return height, width
        return None

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names of all modules inside the network, in the order they were defined."""
        return tuple(name for name, _ in self.network.named_modules() if name)

    def category(self, text: str | int) -> int:
        """The index of a class given by name ("bee eater", "bee_eater"), WordNet identifier or number.

        A class whose name is a number goes by its name: of the classes "3" and "5", the text "5" means the second. A
        name that several classes share (ImageNet has two cranes) is refused with their numbers.

        Raises:
            UnknownNameError: no class has that name.
            ModelError: several classes have it, or the number is too large.
        """
        self.require_classes()
        return self._classes.index(text)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights: of their file where they came from one, of the tensors otherwise.

        Where the same weights may be read in several ways (labels and thresholds), it covers the way too.
        """
        weights = self.origin.sha256 or weights_sha256(self.network)
        if self.head.kind != "multilabel" and not self.head.thresholds:
            return weights
        return hashlib.sha256(f"{weights} {self.head}".encode()).hexdigest()

    @property
    def identity(self) -> str:
        """SHA-256 of what an answer depends on, for the names of kept results: hashed anew whenever it is asked for.

        It covers the weights as they are now, the layers and their code, preprocessing, classes and head.
        """
        read = (self.preprocessing.to_json(), self.categories, str(self.head), self.head.abstain_below)
        return hashlib.sha256(f"{self.fingerprint} {network_sha256(self.network)} {read}".encode()).hexdigest()

    def require_classes(self) -> None:
        """Raises ModelError where the model only gives features."""
        if not self.categories:
            raise ModelError(
                f"{self.name} has features only, no class layer: use it with `activations` or `transfer`, "
                "or choose a classifier",
                model=self.name,
            )

    @cached_property
    def _classes(self) -> Classes:
        return Classes(self.name, self.categories, self.wnids)

    @cached_property
    def _mean(self) -> Tensor:
        with torch.inference_mode(False):  # kept for later passes, which may need a gradient
            return torch.tensor(self.preprocessing.mean, device=self.device).view(-1, 1, 1)

    @cached_property
    def _std(self) -> Tensor:
        with torch.inference_mode(False):  # kept for later passes, which may need a gradient
            return torch.tensor(self.preprocessing.std, device=self.device).view(-1, 1, 1)
