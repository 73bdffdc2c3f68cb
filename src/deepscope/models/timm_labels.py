"""What timm knows of the classes of a network that it configures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepscope.models import imagenet


def categories(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a network's outputs, as far as timm knows them; none of an embedding (CLIP's), which has no classes.

    Args:
        config: a network's `pretrained_cfg`.
    """
    count = config.get("num_classes")
    if count == len(imagenet.categories()):
        return imagenet.categories()
    names = config.get("label_names") or ()
    if names and len(names) == count:
        described = config.get("label_descriptions") or {}
        return tuple(str(described.get(name, name)) for name in names)
    info = _table(config)
    return () if info is None or not count else tuple(info.index_to_description(index) for index in range(count))


def wnids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """WordNet identifiers of the classes of one of ImageNet's subsets."""
    info = None if config.get("label_names") else _table(config)
    return () if info is None else tuple(info.label_names())


def is_embedding(network: object) -> bool:
    """Whether what a network of timm returns are features: it has its published outputs, and these are no classes."""
    config = getattr(network, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or "num_classes" not in config or not config.get("architecture"):
        return False
    count = getattr(network, "num_classes", None)
    return count == 0 or (count == config["num_classes"] and not categories(config))


def _table(config: Mapping[str, Any]) -> Any:
    """timm's table of the subset of ImageNet that a network was trained on; None where it was none."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(dict(config))
    return ImageNetInfo(subset) if subset else None
