"""Networks by name, without their weights: `torchvision:NAME`, `timm:NAME` and `deepscope:digits`."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any, cast, get_type_hints

import torch
from torch import Tensor, nn

from deepscope.errors import ModelError, unknown
from deepscope.models import digits
from deepscope.models.preprocessing import Interpolation, Preprocessing
from deepscope.models.weights import checked

LIBRARIES = ("torchvision", "timm", "deepscope")


@cache
def names(library: str) -> tuple[str, ...]:
    """Every architecture that the library can build."""
    if library == "deepscope":
        return (digits.NAME, digits.STRIDED)
    if library == "timm":
        import timm

        return tuple(timm.list_models())
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def resolve(text: str) -> str:
    """What a person typed -> `LIBRARY:NAME`; a bare name is looked for in torchvision, then timm.

    Raises:
        ModelError: no library has that architecture; the message offers the nearest names.
    """
    library, _, name = text.rpartition(":")
    if library and library not in LIBRARIES:
        raise unknown("library of architectures", library, LIBRARIES)
    for candidate in (library,) if library else LIBRARIES:
        if name.split(".")[0] in names(candidate):  # timm appends a tag of the weights: resnet18.a1_in1k
            return f"{candidate}:{name}"
    everywhere = (f"{candidate}:{n}" for candidate in LIBRARIES for n in names(candidate))
    raise unknown("model", text, everywhere, listing="`deepscope models`")


def skeleton(spec: str, *, classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
    """The network `LIBRARY:NAME` on the meta device: all shapes, no numbers, no time spent."""
    names(spec.partition(":")[0])  # imports the library: older ones make tensors then, which must not be on "meta"
    try:
        with torch.device("meta"):
            return _build(spec, classes, options)
    except NotImplementedError:  # a constructor that computes with tensors (RegNet's widths)
        return _with_own_buffers(spec, classes, options).to("meta")


def assemble(
    spec: str,
    weights: Mapping[str, Tensor],
    *,
    classes: int | None = None,
    partial: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network with these weights and no others: a parameter is never left random.

    Args:
        spec: `LIBRARY:NAME`.
        weights: the state dict; half precision becomes float32.
        classes: number of categories; None keeps the architecture's own number. Two may share a single logit.
        partial: where True, layers whose weights are absent are replaced by ones that refuse to run.
        options: other arguments of the architecture's builder, as timm names them; torchvision's have "in_chans" too.

    Raises:
        ModelError: weights are missing, left over, NaN or infinite, or of other shapes or types than the
            architecture's.
    """
    weights = checked(weights)
    network = skeleton(spec, classes=classes, options=options)
    _leave_out_auxiliary(network, spec, weights)
    if classes == 2 and _misfits(network, weights):
        binary = skeleton(spec, classes=1, options=options)
        _leave_out_auxiliary(binary, spec, weights)
        if not _misfits(binary, weights):
            network, classes = binary, 1
    wrong = _misfits(network, weights)
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in weights and not key.endswith("num_batches_tracked")]
    if wrong or (missing and not partial):
        first = f"{wrong[0]} does not fit" if wrong else f"{missing[0]} is missing"
        raise ModelError(f"these weights are not those of {spec}: {first} ({len(wrong) + len(missing)} such tensors)")
    if alone := [key for key in missing if "." not in key]:
        raise ModelError(f"these weights are not those of {spec}: {alone[0]}, which the whole network uses, is missing")
    if set(dict(network.named_buffers())) - set(wanted):
        network = _with_own_buffers(spec, classes, options)  # buffers that no weights file holds must be computed
        _leave_out_auxiliary(network, spec, weights)
    given = OrderedDict(weights)
    given._metadata = getattr(wanted, "_metadata", None)  # type: ignore[attr-defined]  # versions, which MNASNet asks for
    network.load_state_dict(given, strict=False, assign=True)
    for key in wanted.keys() - weights.keys():
        if key.endswith("num_batches_tracked"):
            _replace_buffer(network, key)
    for layer in {key.rpartition(".")[0] for key in missing}:
        network.set_submodule(layer, Absent(layer))
    return network


def _misfits(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """The weights that have no place in the network, or another shape or kind of numbers there."""
    places = {key: (value.shape, value.is_floating_point()) for key, value in network.state_dict().items()}
    return [key for key, value in weights.items() if places.get(key) != (value.shape, value.is_floating_point())]


@cache
def auxiliary(spec: str) -> tuple[str, ...]:
    """How the names of auxiliary classifiers begin, which only the training of Inception and GoogLeNet uses."""
    library, _, name = spec.partition(":")
    if library != "torchvision" or "aux_logits" not in _settings(name):
        return ()
    return tuple(f"{child}." for child, _ in skeleton(spec).named_children() if child.lower().startswith("aux"))


def _leave_out_auxiliary(network: nn.Module, spec: str, weights: Mapping[str, Tensor]) -> None:
    """Without the auxiliary classifiers that the weights lack, as torchvision's builder returns published weights."""
    for prefix in auxiliary(spec):
        if not any(key.startswith(prefix) for key in weights):
            setattr(network, prefix[:-1], None)
            setattr(network, "aux_logits", False)  # noqa: B010


class Absent(nn.Module):
    """Replaces a layer whose weights are missing. Running it is an error, never a random answer."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, _: Tensor) -> Tensor:
        """Raises ModelError: the weights are missing."""
        raise ModelError(f"the weights of layer {self.layer!r} are missing: choose an earlier layer")


def preprocessing(spec: str) -> Preprocessing:
    """What the library says its pretrained weights want."""
    library, _, name = spec.partition(":")
    if library == "timm":
        return _timm_preprocessing(name)
    preset: Any = published_weights(name).transforms()
    return Preprocessing(
        resize=int(preset.resize_size[0]),
        crop=int(preset.crop_size[0]),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def preprocessing_source(spec: str) -> str:
    """Where `preprocessing` takes it from, in words."""
    library, _, name = spec.partition(":")
    if library == "timm":
        import timm

        config = timm.get_pretrained_cfg(name)
        tag = f".{config.tag}" if config is not None and config.tag and "." not in name else ""
        return "the default: timm says nothing of it" if config is None else f"timm's configuration of {name}{tag}"
    return f"torchvision's {published_weights(name)}"


def published_weights(name: str) -> Any:
    """torchvision's default weights of an architecture: their address, what they were trained with, preprocessing."""
    import torchvision

    return torchvision.models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]


def published_classes(spec: str, digest: str) -> tuple[str, ...]:
    """The classes of a file of weights that is one that torchvision publishes for the architecture; else none.

    Args:
        spec: "torchvision:NAME"; timm's names hold no digests.
        digest: SHA-256 of the file, which published names begin with: "vgg16-397923af.pth".
    """
    import torchvision

    library, _, name = spec.partition(":")
    if library != "torchvision":
        return ()
    known: Any = torchvision.models.get_model_weights(name)  # pyright: ignore[reportAttributeAccessIssue]
    for weights in known:
        match = re.search(r"-([0-9a-f]{8,64})\.pth$", weights.url)
        if match and digest.startswith(match[1]):
            return tuple(weights.meta["categories"] or ())
    return ()


def publication_aliases(spec: str) -> dict[str, str]:
    """Layer names that publications use for VGG -> names in torchvision's module.

    "relu8" is what the transfer literature calls the output of the third fully connected layer, which
    has no ReLU behind it.
    """
    if not re.fullmatch(r"torchvision:vgg\d+(_bn)?", spec):
        return {}
    features = skeleton(spec).get_submodule("features")
    last = len(list(features.children())) - 1
    return {"pool5": f"features.{last}", "relu6": "classifier.1", "relu7": "classifier.4", "relu8": "classifier.6"}


def _build(spec: str, classes: int | None, more: Mapping[str, Any] | None = None) -> nn.Module:
    library, _, name = spec.partition(":")
    if library == "deepscope":
        return digits.strided() if name == digits.STRIDED else digits.network()
    options: dict[str, Any] = {**(more or {}), **({} if classes is None else {"num_classes": classes})}
    create: Callable[..., nn.Module]
    if library == "timm":
        import timm

        create = timm.create_model
        return create(name, pretrained=False, **options)
    import torchvision

    channels, implied = options.pop("in_chans", 3), _implied_by_weights(name)
    if channels != 3:
        implied.pop("transform_input", None)  # from one mean of RGB to another
    network = torchvision.models.get_model(name, weights=None, **implied, **options)
    return network if channels == 3 else _with_channels(network, channels)


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """The network with a first convolution of that many channels, which torchvision's builders have no argument for."""
    name, first = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    shape = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    network.set_submodule(name, nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **shape))  # type: ignore[arg-type]
    return network


def _implied_by_weights(name: str) -> dict[str, Any]:
    """What torchvision's builder sets where it is given published weights; without them it builds another network."""
    height, width = published_weights(name).meta["min_size"]
    implied = {"transform_input": True, "init_weights": False, "input_size": (height, width), "image_size": height}
    return {setting: value for setting, value in implied.items() if setting in _settings(name)}


def _settings(name: str) -> Mapping[str, Any]:
    """The arguments of the class of one of torchvision's networks."""
    import torchvision

    return signature(get_type_hints(torchvision.models.get_model_builder(name))["return"]).parameters


def _with_own_buffers(spec: str, classes: int | None, options: Mapping[str, Any] | None = None) -> nn.Module:
    """The network with real buffers, and its parameters on the meta device where its constructor allows that.

    Parameters without numbers cost no time and no memory. Constructors that derive buffers from parameters leave those
    without numbers too (Swin's attention masks), or fail (Swin v2): such a network is built whole.
    """
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=False):
            network = _build(spec, classes, options)
        if not any(buffer.is_meta for buffer in network.buffers()):
            return network
    except NotImplementedError:
        pass
    return _build(spec, classes, options)


def _timm_preprocessing(name: str) -> Preprocessing:
    import timm

    config = timm.get_pretrained_cfg(name)
    return Preprocessing() if config is None else of_timm(vars(config))


def of_timm(config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing that a configuration of timm describes, such as a network's `pretrained_cfg`."""
    _, height, width = config["input_size"]
    interpolation = cast(Interpolation, config["interpolation"].replace("random", "bilinear"))
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if config.get("crop_mode") == "squash" or height != width:
        return Preprocessing((height, width), None, interpolation, mean, std)
    return Preprocessing(math.floor(height / config["crop_pct"]), height, interpolation, mean, std)


def _replace_buffer(network: nn.Module, key: str) -> None:
    layer, _, name = key.rpartition(".")
    setattr(network.get_submodule(layer), name, torch.zeros((), dtype=torch.long))
