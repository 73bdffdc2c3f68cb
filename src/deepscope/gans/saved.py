"""A trained generator, and how it is saved and opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from deepscope.errors import SettingError, unknown
from deepscope.gans.architecture import Architecture
from deepscope.gans.networks import Generator
from deepscope.gans.sampling import conditions, generate
from deepscope.models import documents
from deepscope.models.identity import weights_sha256
from deepscope.models.stored import Format
from deepscope.session import Session

Network = TypeVar("Network", bound=nn.Module)

GENERATOR = Format("generator", "generator.json", "generator.safetensors", made_by="gan train")
_MOST_CHANNELS = 4
_MOST_CLASSES = 1_000_000
_ANY = 10**1000
"""A seed may have this many digits."""
_LEAST = 1e-9
"""Share of the images that the clusters of a class have together, at least: less cannot be drawn from."""


@dataclass(frozen=True, eq=False)
class GAN:
    """A trained generator and what it was trained for.

    Attributes:
        generator: in eval mode.
        architecture: it was built from.
        channels: of its images.
        classes: what is requested by name: the data's classes or clusters; empty where there is nothing to request.
        data: name of what it learnt from.
        stacked: whether that was three images in the colours of each.
        held_out: training images that were kept back to measure it by.
        learnt: training images; 0 where an earlier version did not record it.
        listing: of the files that its images are from, see `Pictures`; empty for digits and images in memory, and where
            an earlier version did not record it.
        stack_seed: draws the stacks again; None where an earlier version did not record it.
        shares: of the training images in each cluster; empty where there are no clusters. With more shares than
            classes, the clusters divide the classes: those of the first come first, and each class has equally many.
        name: its folder; "GAN" for one that was not read from a folder.
        sha256: of the weights' file, where it was read from one.
    """

    generator: Generator
    architecture: Architecture
    channels: int
    classes: tuple[str, ...]
    data: str
    stacked: bool = False
    held_out: int = 0
    learnt: int = 0
    listing: str = ""
    stack_seed: int | None = None
    shares: tuple[float, ...] = ()
    name: str = "GAN"
    sha256: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights: of their file where they came from one, of the tensors otherwise."""
        return self.sha256 or weights_sha256(self.generator)

    @property
    def labelled(self) -> bool:
        """Whether its classes are the data's own."""
        return bool(self.classes) and len(self.shares) != len(self.classes)

    def conditions(self, labels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(N,) classes -> (N,) the generator's conditions: a random cluster of each class, where it has any."""
        return conditions(labels, len(self.classes), self.shares, rng)

    def images(self, z: Tensor, labels: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(N, latent) and (N,) classes -> (N, C, H, W) uint8; `rng` draws a cluster of each class, where it has any."""
        return generate(self.generator, z, self.conditions(labels, rng))

    def label(self, text: str) -> int:
        """The number of a class by its name.

        Raises:
            SettingError: the generator was trained without classes.
            UnknownNameError: no class has that name.
        """
        if not self.classes:
            raise SettingError("label", "needs a conditional generator, and this one was trained without classes")
        if text not in self.classes:
            raise unknown("class", text, self.classes)
        return self.classes.index(text)


def save(folder: Path, gan: GAN) -> None:
    """Write a generator. Raises OSError where the disk is full; an older generator is then left as it was."""
    about = {
        "architecture": asdict(gan.architecture),
        "channels": gan.channels,
        "classes": list(gan.classes),
        "data": gan.data,
        "stacked": gan.stacked,
        "held_out": gan.held_out,
        "learnt": gan.learnt,
        "listing": gan.listing,
        "stack_seed": gan.stack_seed,
        "shares": list(gan.shares),
    }
    GENERATOR.write(folder, gan.generator.state_dict(), about)


def load(folder: str | Path) -> GAN:
    """The generator that `gan train` wrote to a folder.

    Raises:
        FileError: there is none, or its files are damaged, changed, or of a newer version.
    """
    folder = Path(folder)
    about, weights = GENERATOR.read(folder)

    def whole(name: str) -> int:
        return documents.integer(about.get(name, 0), name, low=0, high=2**31)

    with GENERATOR.building(folder):
        architecture = Architecture(**about["architecture"])
        architecture.require_buildable()
        classes = required_classes(about)
        channels = required_channels(about)
        shares = tuple(
            documents.number(share, "a share", low=0, high=1)
            for share in documents.sequence(about.get("shares", ()), "shares", high=_MOST_CLASSES)
        )
        seed = about.get("stack_seed")
        _check_shares(shares, len(classes), architecture.clusters)
        generator = filled(lambda: Generator(architecture, channels, len(shares) or len(classes)), weights)
        return GAN(
            generator,
            architecture,
            channels=channels,
            classes=classes,
            data=_data(about["data"]),
            stacked=documents.boolean(about["stacked"], "stacked"),
            held_out=whole("held_out"),
            learnt=whole("learnt"),
            listing=documents.text(about.get("listing", ""), "listing"),
            stack_seed=None if seed is None else documents.integer(seed, "stack_seed", low=-_ANY, high=_ANY),
            shares=shares,
            name=str(folder),
            sha256=str(about["weights_sha256"]),
        )


def _data(name: Any) -> str:
    """Unlike other texts, the name of a folder may hold bytes that no text has."""
    return name if isinstance(name, str) else documents.text(name, "data")


def _check_shares(shares: Sequence[float], classes: int, clusters: int) -> None:
    """Raises ValueError where they are neither those of clusters nor those of classes that clusters divide."""
    if not shares:
        return
    size = len(shares) if len(shares) == classes else clusters  # of what is drawn from
    whole = [sum(shares[first : first + size]) for first in range(0, len(shares), max(size, 1))]
    if len(shares) not in (classes, classes * clusters) or min(whole) < _LEAST:
        raise ValueError("its shares are not those of its clusters")


def holds_generator(folder: Path) -> bool:
    """Whether a folder is one that `gan train` wrote to."""
    return (folder / GENERATOR.description).is_file()


def opened(gan: GAN | str | Path, session: Session) -> GAN:
    """A generator, or the one in a folder, on the session's device.

    Raises:
        FileError: as `load`.
    """
    found = gan if isinstance(gan, GAN) else load(gan)
    found.generator.to(session.device)
    return found


def filled(build: Callable[[], Network], weights: dict[str, Tensor]) -> Network:
    """The network that `build` makes, with these weights, frozen, in eval mode.

    It is built without memory of its own: a description that lies about its size costs nothing.
    """
    with torch.device("meta"):
        network = build()
    wanted = {key: (value.is_floating_point(), value.shape) for key, value in network.state_dict().items()}
    given = {key: (value.is_floating_point(), value.shape) for key, value in weights.items()}
    if strange := [key for key in {**wanted, **given} if wanted.get(key) != given.get(key)]:
        raise ValueError(f"{strange[0]!r} is missing, has no place in it, or is of another kind or shape")
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}, assign=True
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def required_channels(about: Mapping[str, Any]) -> int:
    """The channels of the images. Raises ValueError where no image has that many."""
    return documents.integer(about["channels"], "channels", low=1, high=_MOST_CHANNELS)


def required_classes(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes. Raises ValueError where they are not texts, or one comes twice."""
    classes = tuple(
        documents.text(name, "a class") for name in documents.sequence(about["classes"], "classes", high=_MOST_CLASSES)
    )
    if len(set(classes)) < len(classes):
        raise ValueError("two classes have one name")
    return classes
