"""Models whose weights torchvision and timm publish and download themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

import torch
from torch import nn

from deepscope.errors import InputError
from deepscope.files import sha256
from deepscope.models import architectures, imagenet
from deepscope.models.source import Entry, ModelSource
from deepscope.models.vision_model import Origin, VisionModel
from deepscope.session import Session


@dataclass(frozen=True)
class Torchvision(ModelSource):
    """`torchvision:NAME`, with torchvision's default weights, preprocessing and categories."""

    rank: ClassVar[int] = 2

    def entries(self, session: Session) -> Iterator[Entry]:
        """Every classifier of torchvision."""
        for name in architectures.names("torchvision"):
            path = _checkpoint(_weights(name).url)
            where = f"{path}" if path.is_file() else f"download: {_weights(name).url}"
            yield Entry(f"torchvision:{name}", f"torchvision:{name}", where, path.is_file())

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model, from torch hub's cache or the network."""
        bare = name.removeprefix("torchvision:")
        if bare not in architectures.names("torchvision"):
            if bare != name:
                architectures.resolve(name)
            return None
        weights = _weights(bare)
        path = _checkpoint(weights.url)
        if not path.is_file():
            _require_network(f"torchvision:{bare}", weights.url, path)
        try:
            state = weights.get_state_dict(progress=not session.quiet, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"the weights of torchvision:{bare} cannot be fetched ({error}): put {weights.url} at {path}"
            ) from None
        spec = f"torchvision:{bare}"
        network = architectures.assemble(spec, _without_auxiliary(state, architectures.skeleton(spec)))
        categories = tuple(weights.meta["categories"])
        return VisionModel(
            name=spec,
            network=network,
            preprocessing=architectures.preprocessing(spec),
            categories=categories,
            wnids=imagenet.wnids() if categories == imagenet.categories() else (),
            aliases=architectures.publication_aliases(spec),
            origin=Origin(weights.url, sha256(path)),
            architecture=spec,
        )


@dataclass(frozen=True)
class Timm(ModelSource):
    """`timm:NAME`, with timm's default pretrained weights and configuration."""

    rank: ClassVar[int] = 3

    def entries(self, session: Session) -> Iterator[Entry]:
        """Every architecture of timm."""
        import timm

        pretrained = {name.split(".")[0] for name in timm.list_pretrained()}
        for name in architectures.names("timm"):
            where = "download by timm" if name in pretrained else "timm publishes none"
            yield Entry(f"timm:{name}", f"timm:{name}", where, name in pretrained and _in_hub_cache(name))

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model, from the Hugging Face cache or the network."""
        import timm

        bare = name.removeprefix("timm:")
        if bare.split(".")[0] not in architectures.names("timm"):
            if bare != name:
                architectures.resolve(name)
            return None
        config: Any = timm.get_pretrained_cfg(bare, allow_unregistered=False)
        if config is None or not config.has_weights:
            raise InputError(f"timm publishes no weights for {bare}: choose another with `deepscope models --all`")
        if not _in_hub_cache(bare):
            folder = f"models--{config.hf_hub_id.replace('/', '--')}"
            _require_network(f"timm:{bare}", f"https://huggingface.co/{config.hf_hub_id}", _hub_cache() / folder)
        try:
            network: nn.Module = timm.create_model(bare, pretrained=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"the weights of timm:{bare} cannot be fetched ({str(error).splitlines()[0]})") from None
        is_imagenet = config.num_classes == len(imagenet.categories())
        return VisionModel(
            name=f"timm:{bare}",
            network=network,
            preprocessing=architectures.preprocessing(f"timm:{bare}"),
            categories=imagenet.categories() if is_imagenet else _timm_categories(config),
            wnids=imagenet.wnids() if is_imagenet else (),
            origin=Origin(f"timm, {config.hf_hub_id or config.url}", licence=config.license or ""),
            architecture=f"timm:{bare}",
        )


def _weights(name: str) -> Any:
    import torchvision

    return torchvision.models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]


def _checkpoint(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def _without_auxiliary(state: dict[str, Any], network: nn.Module) -> dict[str, Any]:
    """GoogLeNet and Inception publish auxiliary classifiers that only training uses."""
    wanted = network.state_dict()
    return {key: value for key, value in state.items() if key in wanted}


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _in_hub_cache(name: str) -> bool:
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    repository = (config.hf_hub_id or "").replace("/", "--") if config is not None else ""
    return bool(repository) and (_hub_cache() / f"models--{repository}").is_dir()


def _timm_categories(config: Any) -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo

    for subset in ("imagenet-12k", "imagenet-21k", "imagenet-22k"):
        info = ImageNetInfo(subset)
        if len(info.label_names()) == config.num_classes:
            return tuple(info.index_to_description(index) for index in range(config.num_classes))
    return tuple(config.label_names or (f"class {index}" for index in range(config.num_classes)))


def _require_network(name: str, url: str, path: Path) -> None:
    """Ask the name server once, rather than let a library retry for a minute."""
    host = urlparse(url).hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        raise InputError(
            f"the weights of {name} are not here and {host} cannot be reached: "
            f"fetch {url} elsewhere and put it at {path}, or choose a model that `deepscope models` shows as here"
        ) from None
