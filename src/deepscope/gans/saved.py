"""A network in two files of a folder: NAME.json says what it is, NAME.safetensors holds its weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from deepscope.errors import DeepscopeError, unknown
from deepscope.files import matching, replace_together
from deepscope.gans.architecture import Architecture
from deepscope.gans.networks import Generator
from deepscope.models.weights import checked
from deepscope.records import retire
from deepscope.session import first_process

Network = TypeVar("Network", bound=nn.Module)

VERSION = 1
_NAME = "generator"
_MOST_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class Gan:
    """A trained generator and what it was trained for.

    Attributes:
        generator: in eval mode.
        architecture: it was built from.
        channels: of its images.
        classes: what it is asked for by name: the data's classes or clusters; empty where there is nothing to ask for.
        data: name of what it learnt from.
        stacked: whether that was three images in the colours of each.
        held_out: training images that were kept back to measure it by.
        shares: of the training images in each cluster; empty where the classes are the data's own.
    """

    generator: Generator
    architecture: Architecture
    channels: int
    classes: tuple[str, ...]
    data: str
    stacked: bool = False
    held_out: int = 0
    shares: tuple[float, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether its classes are the data's own."""
        return bool(self.classes) and not self.shares

    def label(self, text: str) -> int:
        """The number of a class by its name.

        Raises:
            DeepscopeError: no class has that name, or the generator knows none.
        """
        if not self.classes:
            raise DeepscopeError(
                "this generator was trained without classes, so --label means nothing: train --conditional"
            )
        if text not in self.classes:
            raise unknown("class", text, self.classes)
        return self.classes.index(text)


def save(folder: Path, gan: Gan) -> None:
    """Write a generator. Raises OSError where the disk is full, and then leaves an older one as it was."""
    about = {
        "architecture": asdict(gan.architecture),
        "channels": gan.channels,
        "classes": list(gan.classes),
        "data": gan.data,
        "stacked": gan.stacked,
        "held_out": gan.held_out,
        "shares": list(gan.shares),
    }
    write(folder, _NAME, gan.generator, about)


def load(folder: Path) -> Gan:
    """The generator that `gan train` wrote to a folder.

    Raises:
        DeepscopeError: there is none, or its files are damaged, changed, or of a newer version.
    """
    about, weights = read(folder, _NAME, made_by="gan train")
    with described(folder / f"{_NAME}.json", "gan train"):
        architecture = Architecture(**about["architecture"])
        architecture.require_buildable()
        classes = tuple(str(name) for name in about["classes"])
        channels = required_channels(about)
        shares = tuple(float(share) for share in about.get("shares", ()))
        if shares and not (len(shares) == len(classes) and min(shares) >= 0 and 0 < sum(shares) < math.inf):
            raise ValueError("its shares are not those of its clusters")
        generator = filled(lambda: Generator(architecture, channels, len(classes)), weights)
        return Gan(
            generator,
            architecture,
            channels=channels,
            classes=classes,
            data=str(about["data"]),
            stacked=bool(about["stacked"]),
            held_out=int(about.get("held_out", 0)),
            shares=shares,
        )


def write(folder: Path, name: str, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write any network; `about` must be ready for JSON.

    A write that is killed leaves the earlier network or the new one; a result in the folder is removed, because it
    belongs to the earlier one. Under `torchrun` the first process writes.

    Raises:
        OSError: the disk is full, say; the earlier network is left as it was.
    """
    if not first_process():
        return
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    description = {"format": f"deepscope-{name}", "version": VERSION, **about}
    replace_together(
        folder / f"{name}.safetensors",
        lambda path: path.write_bytes(safetensors.torch.save(weights)),
        folder / f"{name}.json",
        lambda digest: json.dumps({**description, "weights_sha256": digest}, indent=1, ensure_ascii=False) + "\n",
        retire=lambda: retire(folder),
    )


def read(folder: Path, name: str, *, made_by: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write` wrote: the description and the weights.

    Raises:
        DeepscopeError: a file is missing, damaged, changed, or of a newer version.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise DeepscopeError(f"{folder} holds no {name}: `deepscope {made_by}` writes one")
    with described(path, made_by):
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != f"deepscope-{name}":
            raise ValueError(f"its format is {about['format']!r}")
        if int(about["version"]) > VERSION:
            raise DeepscopeError(f"{path} was written by a newer deepscope: upgrade deepscope")
        weights = matching(folder / f"{name}.safetensors", about["weights_sha256"])
        if weights is None:
            raise ValueError(f"{name}.safetensors is missing, or is not the file that it describes")
        return about, checked(safetensors.torch.load_file(weights))


def filled(build: Callable[[], Network], weights: dict[str, Tensor]) -> Network:
    """The network that `build` makes, with these weights, frozen, in eval mode.

    It is built without memory of its own: a description that lies about its size costs nothing.
    """
    with torch.device("meta"):
        network = build()
    wanted = {key: value.is_floating_point() for key, value in network.state_dict().items()}
    if strange := [key for key, value in weights.items() if wanted.get(key) != value.is_floating_point()]:
        raise ValueError(f"{strange[0]!r} has no place in it, or holds another kind of numbers")
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}, assign=True
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def required_channels(about: Mapping[str, Any]) -> int:
    """The channels of the images. Raises ValueError where no image has that many."""
    channels = int(about["channels"])
    if not 1 <= channels <= _MOST_CHANNELS:
        raise ValueError(f"images of {channels} channels")
    return channels


@contextmanager
def described(path: Path, made_by: str) -> Iterator[None]:
    """Turns what goes wrong with files from outside into one line."""
    try:
        yield
    except DeepscopeError as error:
        raise error if str(path.parent) in str(error) else DeepscopeError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DeepscopeError(
            f"{path} does not describe its weights ({reason}): run `deepscope {made_by}` again"
        ) from None
