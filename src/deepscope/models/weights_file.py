"""Models from `.safetensors` files that describe themselves in their metadata.

The metadata says `architecture` ("torchvision:squeezenet1_0"), `preprocessing` (JSON), `categories`
("imagenet-1k", a JSON list, or empty), `head` ("softmax" where it is not named), `thresholds`, `abstain_below`,
`source`, `license`, and `part` where the file holds only a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from deepscope.errors import DeepscopeError, FileError, ModelError
from deepscope.files import sha256
from deepscope.models import architectures, documents, imagenet, switched
from deepscope.models.heads import head_of
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import Entry, ModelSource, exists
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session
from deepscope.settings import number

FILE = "model.safetensors"
"""The file in a folder that `save_model` wrote."""
_PART = "_features"


@dataclass(frozen=True)
class WeightsFile(ModelSource):
    """A file of the home folder's `weights/` by its name without suffix, or any file or `save_model` folder by path."""

    rank: ClassVar[int] = 1

    def entries(self, session: Session) -> Iterator[Entry]:
        """Every file and folder in `weights/`; one that holds only features goes by its architecture's name."""
        weights = session.home / "weights"
        for path in sorted((*weights.glob("*.safetensors"), *weights.glob(f"*/{FILE}"))):
            try:
                if describes_itself(path):
                    yield _entry(path, _name(path) if path.parent == weights else path.parent.name)
            except DeepscopeError as error:
                session.note(f"left out: {error}")

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model; features-only where the file's metadata says `part`."""
        path = Path(name)
        if exists(path / FILE):
            return replace(read(path / FILE), name=path.resolve().name)
        if path.suffix != ".safetensors":
            here = sorted((session.home / "weights").glob("*.safetensors"))
            found = [p for p in here if _name(p) == name]
            if not found or path.suffix:
                return None
            path = found[0]
        return read(path) if describes_itself(path) else None


def describes_itself(path: Path) -> bool:
    """Whether a safetensors file names its architecture; others hold bare weights.

    Raises:
        DeepscopeError: no safetensors file.
    """
    return "architecture" in _read_header(path)[0]


def read(path: Path) -> VisionModel:
    """The model that a self-describing `.safetensors` file holds.

    Raises:
        FileError: no safetensors file, no or wrong metadata, or weights of another architecture.
    """
    about, tensors = _read_header(path, tensors=True)
    categories, wnids = _categories(about.get("categories", ""), path)
    try:
        spec = _architecture(about)
        preprocessing = _preprocessing(about) or architectures.preprocessing(spec)
        head = head_of(about.get("head") or "softmax", about.get("thresholds"), categories)
        head = replace(head, abstain_below=number(about.get("abstain_below") or "0", "abstain_below"))
        channels = len(preprocessing.mean)
        options = {"in_chans": channels} if channels != 3 else {}
        own, second = switched.plain(tensors)
        network = architectures.assemble(
            spec, own, classes=len(categories) or None, partial=bool(about.get("part")), options=options
        )
        switched.attach(network, second)
    except DeepscopeError as error:
        raise FileError(f"{path}: {error}", path=path) from None
    return VisionModel(
        name=_name(path),
        network=network,
        preprocessing=preprocessing,
        categories=() if about.get("part") else categories,
        wnids=() if about.get("part") else wnids,
        aliases=architectures.publication_aliases(spec),
        origin=Origin(about.get("source", ""), sha256(path), about.get("license", "")),
        architecture=spec,
        head=head,
    )


def _entry(path: Path, name: str) -> Entry:
    about, _ = _read_header(path)
    part = bool(about.get("part"))
    place = path.parent.name if name == path.parent.name else path.name
    weights = f"weights/{place}{' (features only)' if part else ''}"
    try:
        return Entry(name, _architecture(about), weights, True, _preprocessing(about), features_only=part)
    except DeepscopeError as error:
        raise FileError(f"{path}: {error}", path=path) from None


def _architecture(about: dict[str, str]) -> str:
    if "architecture" not in about:
        raise ModelError("its metadata names no architecture: add 'architecture': 'torchvision:NAME'")
    return architectures.resolve(about["architecture"])


def _preprocessing(about: dict[str, str]) -> Preprocessing | None:
    return Preprocessing.from_json(about["preprocessing"]) if "preprocessing" in about else None


def _read_header(path: Path, *, tensors: bool = False) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not exists(path) or not path.is_file():  # a folder, or a pipe that would never end
        raise FileError(f"model file {path}: " + ("not an ordinary file" if exists(path) else "no such file"))
    try:
        with safe_open(path, framework="pt") as file:
            found = {key: file.get_tensor(key) for key in file.keys()} if tensors else {}  # noqa: SIM118
            return dict(file.metadata() or {}), found
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise FileError(f"{path}: not a readable safetensors file ({error}): copy it again", path=path) from None


def _categories(text: str, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if text == imagenet.NAME:
        return imagenet.categories(), imagenet.wnids()
    try:
        listed = documents.sequence(documents.parse(text) if text else [], "categories", high=100_000)
        return tuple(documents.text(name, "a category") for name in listed), ()
    except ValueError:
        raise FileError(
            f"{path}: its metadata's 'categories' is neither '{imagenet.NAME}' nor a JSON list of names"
        ) from None


def _name(path: Path) -> str:
    return path.stem.removesuffix(_PART)
