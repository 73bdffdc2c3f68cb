"""Where models come from: each source lists what it has and opens it by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from deepscope.errors import ModelError, SettingError, unknown
from deepscope.models.heads import Thresholds
from deepscope.models.options import ModelOptions, given
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.vision_model import VisionModel
from deepscope.registry import Registered
from deepscope.session import Session

DEFAULT = "efficientnet_lite0"
"""The model that commands use when none is named: its weights come with the installation."""


@dataclass(frozen=True)
class Entry:
    """A model that can be named.

    Attributes:
        name: what `load_model` takes.
        architecture: `LIBRARY:NAME`.
        weights: where they come from, in words.
        here: whether loading needs no network.
        preprocessing: of its own, where it differs from the architecture's.
        features_only: whether it lacks a class layer.
    """

    name: str
    architecture: str
    weights: str
    here: bool
    preprocessing: Preprocessing | None = None
    features_only: bool = False


class ModelSource(Registered):
    """A place models come from. Sources are asked in the order of their `rank`.

    What the person said of a model is `ModelOptions.of(name, session)`. A source reads what it needs of it;
    `load_model` gives the classes their names, and refuses an architecture that the source does not read.
    """

    rank: ClassVar[int]
    reads_architecture: ClassVar[bool] = False
    """Whether its models may leave their architecture open."""
    patterns: ClassVar[tuple[str, ...]] = ()
    """Of the files in the home folder's `weights/` that are its models, or that are in folders which are."""

    def entries(self, session: Session) -> Iterator[Entry]:
        """Models that this source can name besides those in `weights/`; by default none, as for files of a person."""
        return iter(())

    @abstractmethod
    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model of that name on the CPU, or None where the name is not this source's.

        Raises:
            ModelError: the name is this source's, but the model cannot be opened.
        """


def sources() -> list[ModelSource]:
    """All registered sources, in the order they are asked."""
    members: list[Callable[[], ModelSource]] = list(ModelSource.members().values())
    return sorted((member() for member in members), key=lambda source: source.rank)


def catalogue(session: Session) -> list[Entry]:
    """Every model that can be named, source by source."""
    return [entry for source in sources() for entry in (*_in_weights(source, session), *source.entries(session))]


def _in_weights(source: ModelSource, session: Session) -> Iterator[Entry]:
    """The models in `weights/` that do not say what they are before they are opened."""
    folder = session.home / "weights"
    found = {path for pattern in source.patterns for path in folder.glob(pattern) if path.is_file()}
    for place in sorted({folder / path.relative_to(folder).parts[0] for path in found}):
        yield Entry(place.stem if place.is_file() else place.name, "", f"weights/{place.name}", True)


def _located(name: str, session: Session) -> str:
    """The path of the file or folder of that name in `weights/`, files that describe themselves first; or the name."""
    folder = session.home / "weights"
    if exists(Path(name)) or Path(name).name != name or not exists(folder):
        return name
    found = [p for p in folder.glob("*") if name in ((p.stem, p.name) if p.is_file() else (p.name,)) and not _empty(p)]
    return str(min(found, key=lambda path: (path.suffix != ".safetensors", path.name), default=name))


def _empty(path: Path) -> bool:
    """Whether it is a folder without files, such as one that a result is about to be written to."""
    return path.is_dir() and next(path.iterdir(), None) is None


def load_model(
    name: str | Path = DEFAULT,
    session: Session | None = None,
    *,
    architecture: str | None = None,
    categories: Sequence[str] | str | Path | None = None,
    head: str | None = None,
    thresholds: Thresholds = None,
    preprocessing: Preprocessing | str | None = None,
    gradients: bool = False,
) -> VisionModel:
    """Open a model, with its own preprocessing and categories, on the session's device.

    Args:
        name: a bundled model ("efficientnet_lite0"), a file or folder of `weights/` ("squeezenet1_0"), the path of
            one, "torchvision:NAME", "timm:NAME", or "file.py:function", which runs that file.
        session: decides device and folders; a default session where None.
        architecture: "torchvision:NAME" or "timm:NAME", for weights that do not name it.
        categories: names of the classes, or a file with one per line, where the model has none or others.
        head: "softmax" (classes that exclude each other), "multilabel" (a sigmoid per label), "binary" (one logit for
            two classes) or "features" (no classes); by default what the file says, softmax in most.
        thresholds: probabilities above which a label is predicted: one for all labels, a list of one per label, or a
            mapping from names; 0.5 by default.
        preprocessing: what images go through, where the model does not say it or says it wrongly; a text such as
            "resize 64 x 64, mean 0.5, std 0.5" leaves what it does not name as the model has it.
        gradients: convert an ONNX file to PyTorch, so that methods that need gradients work; refused where scores on
            random inputs differ by more than 1e-4.

    Raises:
        ModelError: nothing has that name, its weights are missing and cannot be fetched, or they
            do not fit. A model is never given random weights.

    Example:
        >>> import deepscope as ds
        >>> model = ds.load_model("efficientnet_lite0")
        >>> len(model.categories)
        1000
    """
    name, session = str(name), Session.of(session)
    if not name:
        raise ModelError("the name of the model is empty: `deepscope models` lists the local ones")
    session = given(
        architecture, categories, head, thresholds, preprocessing=preprocessing, gradients=gradients
    ).within(session, name)
    options, held = ModelOptions.of(name, session), session.models.get(name)
    if isinstance(held, VisionModel):
        return _as_said(held, options, session, reads_architecture=False)
    place = _located(name, session)
    for source in sources():
        model = source.open(place, options.within(session, place))
        if model is not None:
            return _as_said(model, options, session, reads_architecture=source.reads_architecture)
    if exists(Path(name)):
        raise ModelError(f"model {str(name)!r} {_unsupported(Path(name))}")
    if "/" in str(name) or Path(name).suffix:
        raise ModelError(f"model {str(name)!r}: no such file or folder")
    raise unknown("model", str(name), [entry.name for entry in catalogue(session)], listing="`deepscope models`")


def held_device(*models: object) -> torch.device | None:
    """Where the first model that the caller holds is; None where all are names."""
    return next((model.device for model in models if isinstance(model, VisionModel)), None)


def _as_said(model: VisionModel, options: ModelOptions, session: Session, *, reads_architecture: bool) -> VisionModel:
    if options.architecture and not reads_architecture:
        raise SettingError("architecture", f"is for weights that do not name it: {model.name} does, leave it out")
    return options.applied(model).to(session.device)


def exists(path: Path) -> bool:
    """Whether there is a file or folder; False for what cannot be a path, such as a name of 1,000 characters."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


_OTHER_FORMATS = {
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow model",
    ".gguf": "a GGUF file",
}


def _unsupported(path: Path) -> str:
    """What a file or folder that no source opens seems to be, and what can be done."""
    if path.suffix == ".py":
        return f"is Python code: name its function that returns the model, such as '{path}:build'"
    readable = "weights of PyTorch, a TorchScript or exported program, an ONNX file, or a folder of deepscope or timm"
    if path.is_dir():
        kind = (
            "a folder of transformers"
            if (path / "config.json").is_file()
            else "a folder that holds no saved classifier"
        )
    else:
        kind = _OTHER_FORMATS.get(path.suffix.lower(), "a file of an unknown kind")
    return f"exists, but is {kind}, which is not supported yet: give {readable}"
