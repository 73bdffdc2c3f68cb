"""From an image to the pixels a network was trained on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope import images
from deepscope.errors import ModelError, SettingError
from deepscope.models import documents

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

MOST_PIXELS = 2240**2
"""That a file's description may ask a network to take per image: 224 x 224, ten times larger."""
MOST_CHANNELS = 64
"""Of an image: hyperspectral cameras have more, which are reduced first."""
_LONGEST = 8192
"""Side of an image in pixels."""
_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as in Pillow's `convert("L")`."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input.

    Attributes:
        resize: the shorter side after resizing (aspect kept), or exact (height, width).
        crop: side of the central square cut out, or (height, width); None keeps everything.
        interpolation: filter of the resize, always with antialiasing.
        mean, std: per channel, of pixels in [0, 1]; applied inside the graph by `VisionModel`. A network for grey
            images has one of each; its pixels are still RGB, and `normalised` makes them grey. Other numbers of
            channels are those of NumPy and TIFF stacks, whose levels are divided by the largest of their type.

    Raises:
        SettingError: a side is not a number of pixels, there is no such filter, or a mean or deviation is not finite.
    """

    resize: int | tuple[int, int] = 256
    crop: int | tuple[int, int] | None = 224
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        _require_side("resize", self.resize)
        if self.crop is not None:
            _require_side("crop", self.crop)
        if self.interpolation not in get_args(Interpolation):
            raise SettingError(
                "interpolation", f"must be {' or '.join(get_args(Interpolation))}", got=self.interpolation
            )
        for name in ("mean", "std"):
            object.__setattr__(self, name, _channels(name, getattr(self, name)))

    def __str__(self) -> str:
        """In words: `resize 256 (bilinear), crop 224 x 224, mean 0.485 0.456 0.406, std 0.229 0.224 0.225`."""
        resize = self.resize if isinstance(self.resize, int) else "{} x {}".format(*self.resize)
        crop = "" if self.crop is None else ", crop {} x {}".format(*self.size)
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"resize {resize} ({self.interpolation}){crop}, mean {mean}, std {std}"

    @property
    def planes(self) -> int:
        """Channels of the pixels: 3, also of grey images; of stacks as many as they have."""
        return 3 if len(self.mean) == 1 else len(self.mean)

    def of_channels(self, channels: int) -> Preprocessing:
        """The same for images of that many channels: if they are not RGB, each has the average mean and deviation."""
        if channels == len(self.mean):
            return self
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return replace(self, mean=(mean,) * channels, std=(std,) * channels)

    @property
    def stacks(self) -> bool:
        """Whether images have other channels than grey or RGB."""
        return self.planes != 3

    def __call__(self, source: images.Source) -> torch.Tensor:
        """Any image -> (planes, H, W) float32 pixels in [0, 1], not yet normalised: `levels` as pixels.

        Raises:
            UnreadableImage: it cannot be read.
        """
        return self._stack(source) if self.stacks else from_levels(self.levels(source))

    def _stack(self, source: images.Source) -> torch.Tensor:
        """Each channel resized on its own, by the same filter."""
        stack = images.read_stack(source, self.planes)
        height, width, _ = stack.shape
        size, filtering = self._resized((width, height)), getattr(Image.Resampling, self.interpolation.upper())
        channels: list[NDArray[Any]] = []
        for channel in range(self.planes):
            image = Image.fromarray(np.ascontiguousarray(stack[..., channel])).resize(size, filtering)
            channels.append(np.asarray(image if self.crop is None else _centre(image, *_pair(self.crop))))
        return torch.from_numpy(np.stack(channels)).clamp_(0, 1)

    def levels(self, source: images.Source) -> torch.Tensor:
        """Any image -> (planes, H, W) uint8.

        The one way to read an image for a model: how far a large JPEG shrinks while it is decoded is part of it. An
        image that is given decoded (PIL, array) is taken at its own size.

        Raises:
            UnreadableImage: it cannot be read.
        """
        if self.stacks:
            return self._stack(source).mul_(255).round_().byte()
        image = images.decode(source, at_least=self.decode_at_least)
        image = image.resize(self._resized(image.size), getattr(Image.Resampling, self.interpolation.upper()))
        if self.crop is not None:
            image = _centre(image, *_pair(self.crop))
        array = np.asarray(image, dtype=np.uint8)
        return torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pixels; where nothing is cropped, of a square image's pixels."""
        return _pair(self.resize if self.crop is None else self.crop)

    @property
    def decode_at_least(self) -> int:
        """The shorter side a JPEG may shrink to while it is decoded: twice what the resize makes of it.

        libjpeg's own halving costs next to nothing; from twice the size down, the filter above decides what is seen.
        """
        return 2 * min(_pair(self.resize))

    def seen(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of an image of (width, height) that the network sees: left, top, right and bottom, as shares of it.

        Beyond 0 and 1 lies the black border around images that are smaller than what is cut out.
        """
        width, height = self._resized(size)
        if self.crop is None:
            return 0.0, 0.0, 1.0, 1.0
        tall, wide = _pair(self.crop)
        left, top = round((width - wide) / 2.0), round((height - tall) / 2.0)
        return left / width, top / height, (left + wide) / width, (top + tall) / height

    def to_json(self) -> str:
        """The description as JSON; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Raises ModelError where the text is not such a description."""
        try:
            return cls.from_fields(documents.parse(text))
        except ValueError as error:
            raise ModelError(f"not a description of preprocessing ({error}): {text[:200]}") from None

    @classmethod
    def from_fields(cls, fields: Any) -> Preprocessing:
        """From JSON that was read. Raises ValueError where it is not such a description."""
        known = documents.mapping(fields, "preprocessing", optional=asdict(cls()))
        mean, std = (
            documents.numbers(known[name], name, low=-1e3, high=1e3, most=MOST_CHANNELS) for name in ("mean", "std")
        )
        interpolation = documents.choice(known["interpolation"], "interpolation", get_args(Interpolation))
        resize = _side(known["resize"], "resize")
        crop = None if known["crop"] is None else _side(known["crop"], "crop")
        if not 1 <= len(mean) <= MOST_CHANNELS or len(std) != len(mean) or min(std) < 1e-4:
            raise ValueError(f"mean and std need one number per channel, up to {MOST_CHANNELS}, std above 0")
        made = cls(resize, crop, cast(Interpolation, interpolation), mean, std)
        if math.prod(made.size) > MOST_PIXELS or math.prod(_pair(resize)) > 4 * MOST_PIXELS:
            raise ValueError(f"an input of {made.size[0]} x {made.size[1]} pixels, above {MOST_PIXELS} in all")
        return made

    def require_channels(self, name: str) -> None:
        """Raises ModelError where there is not one mean and one standard deviation per channel of the network."""
        if not 1 <= len(self.mean) <= MOST_CHANNELS or len(self.mean) != len(self.std):
            raise ModelError(
                f"{name} has {len(self.mean)} means and {len(self.std)} standard deviations: give one of each per "
                f"channel: 3 for RGB images, 1 for grey images, up to {MOST_CHANNELS} for stacks of channels"
            )

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after resizing; truncated as torchvision does, so that pixels agree."""
        width, height = size
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        short, long = sorted(size)
        other = int(self.resize * long / short)
        return (self.resize, other) if width <= height else (other, self.resize)


def from_levels(levels: torch.Tensor) -> torch.Tensor:
    """uint8 levels -> float32 pixels in [0, 1] on the same device, the same bits on every device."""
    # Divided by a tensor: by a number, CUDA multiplies with its inverse, which differs in the last digit.
    return levels.float().div_(levels.new_full((), 255, dtype=torch.float32))


def normalised(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) RGB pixels in [0, 1] -> what a network takes; where `mean` has one channel, (N, 1, H, W) of grey.

    Args:
        mean, std: (3, 1, 1) or (1, 1, 1); (C, 1, 1) for pixels of C channels.
    """
    if len(mean) == 1:
        pixels = (pixels * pixels.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    return (pixels - mean) / std


def displayed(pixels: torch.Tensor, channels: int) -> torch.Tensor:
    """(..., C, H, W) pixels or levels -> RGB (..., 3, H, W) to look at, of the same type.

    Args:
        channels: of the network: what it sees in grey is shown in grey, and a stack as the mean of its channels.
    """
    if channels == 3:
        return pixels
    weights = pixels.new_tensor(_LUMA, dtype=torch.float32) if channels == 1 else None
    values = pixels.float()
    grey = values.mean(-3, keepdim=True) if weights is None else (values * weights.view(3, 1, 1)).sum(-3, keepdim=True)
    shown = grey if pixels.is_floating_point() else grey.round()
    return shown.to(pixels.dtype).expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])


def _side(value: Any, name: str) -> int | tuple[int, int]:
    if isinstance(value, (list, tuple)):
        height, width = documents.integers(value, name, low=1, high=_LONGEST, count=2)
        return height, width
    return documents.integer(value, name, low=1, high=_LONGEST)


def _require_side(name: str, given: Any) -> None:
    """Raises SettingError where this is neither a side in pixels nor (height, width)."""
    sides = cast("tuple[Any, ...]", given) if isinstance(given, tuple) else (given, given)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= _LONGEST for side in sides):
        raise SettingError(name, f"must be a number of pixels from 1 to {_LONGEST:,}, or (height, width)", got=given)


def _channels(name: str, given: Any) -> tuple[float, ...]:
    """One finite number per channel, above 0 for deviations."""
    try:
        values = tuple(float(value) for value in given)
    except (TypeError, ValueError):
        values = (math.nan,)
    if not all(math.isfinite(value) and (name == "mean" or value > 0) for value in values):
        least = " above 0" if name == "std" else ""
        raise SettingError(name, f"must be one finite number{least} per channel, such as (0.5, 0.5, 0.5)", got=given)
    return values


def _pair(side: int | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """The central part; where the image is smaller than that, its border is black."""
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
