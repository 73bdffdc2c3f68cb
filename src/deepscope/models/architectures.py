"""Networks by name, without their weights: `torchvision:NAME`, `timm:NAME` and `deepscope:digits`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepscope.errors import InputError, unknown
from deepscope.models import digits
from deepscope.models.preprocessing import Interpolation, Preprocessing

LIBRARIES = ("torchvision", "timm", "deepscope")


@cache
def names(library: str) -> tuple[str, ...]:
    """Every architecture that the library can build."""
    if library == "deepscope":
        return (digits.NAME,)
    if library == "timm":
        import timm

        return tuple(timm.list_models())
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def resolve(text: str) -> str:
    """What a person typed -> `LIBRARY:NAME`; a bare name is looked for in torchvision, then timm.

    Raises:
        InputError: no library has that architecture; the nearest names are offered.
    """
    library, _, name = text.rpartition(":")
    if library and library not in LIBRARIES:
        raise unknown("library of architectures", library, LIBRARIES)
    for candidate in (library,) if library else LIBRARIES:
        if name.split(".")[0] in names(candidate):  # timm appends a tag of the weights: resnet18.a1_in1k
            return f"{candidate}:{name}"
    everywhere = (f"{candidate}:{n}" for candidate in LIBRARIES for n in names(candidate))
    raise unknown("model", text, everywhere, listing="`deepscope models --all`")


def skeleton(spec: str, *, classes: int | None = None) -> nn.Module:
    """The network `LIBRARY:NAME` on the meta device: all shapes, no numbers, no time spent."""
    try:
        with torch.device("meta"):
            return _build(spec, classes)
    except NotImplementedError:  # a constructor that reads its own numbers (RegNet's initialisation)
        return _build(spec, classes).to("meta")


def assemble(
    spec: str, weights: Mapping[str, Tensor], *, classes: int | None = None, partial: bool = False
) -> nn.Module:
    """The network with these weights and no others: a parameter is never left random.

    Args:
        spec: `LIBRARY:NAME`.
        weights: the state dict.
        classes: outputs of the class layer; None keeps the architecture's own number.
        partial: where True, layers whose weights are absent are replaced by ones that refuse to run.

    Raises:
        InputError: weights are missing, left over, or of other shapes than the architecture's.
    """
    network = skeleton(spec, classes=classes)
    if set(dict(network.named_buffers())) - set(network.state_dict()):
        network = _build(spec, classes)  # buffers that no weights file holds must be computed
    wanted = network.state_dict()
    shapes = {key: tuple(value.shape) for key, value in wanted.items()}
    wrong = [key for key, value in weights.items() if shapes.get(key) != tuple(value.shape)]
    missing = [key for key in wanted if key not in weights and not key.endswith("num_batches_tracked")]
    if wrong or (missing and not partial):
        first = f"{wrong[0]} does not fit" if wrong else f"{missing[0]} is missing"
        raise InputError(f"these weights are not those of {spec}: {first} ({len(wrong) + len(missing)} such tensors)")
    network.load_state_dict(dict(weights), strict=False, assign=True)
    for key in wanted.keys() - weights.keys():
        if key.endswith("num_batches_tracked"):
            _replace_buffer(network, key)
    for layer in {key.rpartition(".")[0] for key in missing}:
        network.set_submodule(layer, Absent(layer))
    return network


class Absent(nn.Module):
    """Stands where a layer's weights are not here. Running it is an error, never a random answer."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, _: Tensor) -> Tensor:
        """Raises InputError: the weights are not here."""
        raise InputError(f"the weights of layer {self.layer!r} are not here: choose an earlier layer")


def preprocessing(spec: str) -> Preprocessing:
    """What the library says its pretrained weights want."""
    library, _, name = spec.partition(":")
    if library == "timm":
        return _timm_preprocessing(name)
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    preset: Any = weights.transforms()
    return Preprocessing(
        resize=int(preset.resize_size[0]),
        crop=int(preset.crop_size[0]),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


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


def _build(spec: str, classes: int | None) -> nn.Module:
    library, _, name = spec.partition(":")
    if library == "deepscope":
        return digits.network()
    options: dict[str, int] = {} if classes is None else {"num_classes": classes}
    create: Callable[..., nn.Module]
    if library == "timm":
        import timm

        create = timm.create_model
        return create(name, pretrained=False, **options)
    import torchvision

    create = torchvision.models.get_model
    if name in ("googlenet", "inception_v3"):
        return create(name, weights=None, init_weights=False, **options)
    return create(name, weights=None, **options)


def _timm_preprocessing(name: str) -> Preprocessing:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None:
        return Preprocessing()
    _, height, width = config.input_size
    interpolation = cast(Interpolation, config.interpolation if config.interpolation != "random" else "bilinear")
    if config.crop_mode == "squash" or height != width:
        return Preprocessing((height, width), None, interpolation, tuple(config.mean), tuple(config.std))
    resize = math.floor(height / config.crop_pct)
    return Preprocessing(resize, height, interpolation, tuple(config.mean), tuple(config.std))


def _replace_buffer(network: nn.Module, key: str) -> None:
    layer, _, name = key.rpartition(".")
    setattr(network.get_submodule(layer), name, torch.zeros((), dtype=torch.long))
