"""Models whose weights torchvision and timm publish and download themselves."""

from __future__ import annotations

import pickle
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

import torch
from torch import nn

from deepscope.errors import FileError, ModelError
from deepscope.files import sha256
from deepscope.models import architectures, imagenet, timm_labels
from deepscope.models.origin import Origin
from deepscope.models.source import Entry, ModelSource
from deepscope.models.vision_model import VisionModel
from deepscope.models.weights import checked
from deepscope.session import Session


@dataclass(frozen=True)
class Torchvision(ModelSource):
    """`torchvision:NAME`, with torchvision's default weights, preprocessing and categories."""

    rank: ClassVar[int] = 20

    def entries(self, session: Session) -> Iterator[Entry]:
        """Every classifier of torchvision."""
        for name in architectures.names("torchvision"):
            path = _checkpoint(architectures.published_weights(name).url)
            where = f"{path}" if path.is_file() else f"download: {architectures.published_weights(name).url}"
            yield Entry(f"torchvision:{name}", f"torchvision:{name}", where, path.is_file())

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model, from torch hub's cache or the network."""
        bare = name.removeprefix("torchvision:")
        if bare not in architectures.names("torchvision"):
            if bare != name:
                architectures.resolve(name)
            return None
        spec = f"torchvision:{bare}"
        weights = architectures.published_weights(bare)
        path = _checkpoint(weights.url)
        if path.is_file():
            _require_digest(path)
        else:
            require_network(spec, weights.url, path)
        try:
            state = weights.get_state_dict(progress=not session.quiet, check_hash=True, weights_only=True)
        except _UNREADABLE as error:
            raise ModelError(
                f"the weights of {spec} cannot be read ({_reason(error)}): put {weights.url} at {path}"
            ) from None
        if not isinstance(state, Mapping):
            raise FileError(f"{path} holds {type(state).__name__}, not weights: put {weights.url} there")
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

    rank: ClassVar[int] = 21

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
            raise ModelError(f"timm publishes no weights for {bare}: `deepscope models 'timm:*'` lists the others")
        downloaded = not _in_hub_cache(bare)
        if not downloaded:
            _require_digests(_cached(config))
        else:
            url = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
            require_network(f"timm:{bare}", url, _cached(config))
        try:
            network: nn.Module = timm.create_model(bare, pretrained=True)
        except _UNREADABLE as error:
            raise ModelError(f"the weights of timm:{bare} cannot be read ({_reason(error)})") from None
        if downloaded:
            _require_digests(_cached(config))
        checked(network.state_dict())
        about = config.to_dict()
        categories = timm_labels.categories(about)
        return VisionModel(
            name=f"timm:{bare}",
            network=network,
            preprocessing=architectures.preprocessing(f"timm:{bare}"),
            categories=categories,
            wnids=timm_labels.wnids(about) if categories else (),
            origin=Origin(f"timm, {config.hf_hub_id or config.url}", licence=config.license or ""),
            architecture=f"timm:{bare}",
        )


_UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, pickle.PickleError)
"""What loading a file raises that is missing, damaged, or something else than weights."""

_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")
_BLOB = re.compile(r"[0-9a-f]{64}")


def _checkpoint(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def _require_digest(path: Path) -> None:
    """torch.hub checks the digest in a file's name only when it downloads the file; here, whenever it is read."""
    match = _DIGEST_IN_NAME.search(path.name)
    if match and not sha256(path).startswith(match[1]):
        raise FileError(f"{path} is not the published file: its SHA-256 does not begin with {match[1]}; remove it")


def _require_digests(path: Path) -> None:
    """The same of a file of torch.hub's, or of Hugging Face's folder, where large files have digests as names."""
    if path.is_file():
        _require_digest(path)
    for blob in path.glob("blobs/*") if path.is_dir() else ():
        if _BLOB.fullmatch(blob.name) and blob.is_file() and sha256(blob) != blob.name:
            raise FileError(f"{blob} is damaged: its SHA-256 is not its name; remove it, so that it is fetched again")


def _without_auxiliary(state: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """GoogLeNet and Inception publish auxiliary classifiers that only training uses."""
    wanted = network.state_dict()
    return {key: value for key, value in state.items() if key in wanted}


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _cached(config: Any) -> Path:
    """Where timm's weights are kept: the hub's folder of the model, or torch.hub's file."""
    if config.hf_hub_id:
        return _hub_cache() / f"models--{config.hf_hub_id.replace('/', '--')}"
    return _checkpoint(config.url or "")


def _in_hub_cache(name: str) -> bool:
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.hf_hub_id or config.url) and _cached(config).exists()


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def require_network(name: str, url: str, path: Path) -> None:
    """Ask the name server once, rather than let a library retry for a minute."""
    host = urlparse(url).hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        raise ModelError(
            f"the weights of {name} are missing and {host} cannot be reached: "
            f"fetch {url} elsewhere and put it at {path}, or choose a model that `deepscope models` shows as available"
        ) from None
