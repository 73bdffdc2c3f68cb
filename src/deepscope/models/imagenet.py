"""The thousand classes of ImageNet-1k, as torchvision names them and WordNet numbers them."""

from __future__ import annotations

from functools import cache

NAME = "imagenet-1k"
"""What a weights file's metadata says instead of spelling the thousand names out."""


@cache
def categories() -> tuple[str, ...]:
    """The names, in the networks' output order; all differ ("crane" is the machine, "crane bird" the bird)."""
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


@cache
def wnids() -> tuple[str, ...]:
    """The WordNet identifiers ("n01440764"), in the same order."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())
