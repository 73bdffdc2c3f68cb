"""Where models come from: each source lists what it has and opens it by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.errors import ModelError, unknown
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
        name: what `--model` takes.
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
    """A place models come from. Sources are asked in the order of their `rank`."""

    rank: ClassVar[int]

    @abstractmethod
    def entries(self, session: Session) -> Iterator[Entry]:
        """Every model this source can name."""

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
    return [entry for source in sources() for entry in source.entries(session)]


def load_model(name: str | Path = DEFAULT, session: Session | None = None) -> VisionModel:
    """Open a model, with its own preprocessing and categories, on the session's device.

    Args:
        name: a bundled model ("efficientnet_lite0"), a file of `weights/` ("squeezenet1_0"), a folder
            that `transfer fit` wrote, a `.safetensors` file, "torchvision:NAME" or "timm:NAME".
        session: decides device and folders; a default session where None.

    Raises:
        ModelError: nothing has that name, its weights are missing and cannot be fetched, or they
            do not fit. A model is never given random weights.

    Example:
        >>> import deepscope as ds
        >>> model = ds.load_model("efficientnet_lite0")
        >>> len(model.categories)
        1000
    """
    session = session or Session.open()
    held = session.models.get(str(name))
    if isinstance(held, VisionModel):
        return held.to(session.device)
    for source in sources():
        model = source.open(str(name), session)
        if model is not None:
            return model.to(session.device)
    if exists(Path(name)):
        raise ModelError(f"model {str(name)!r} {_unsupported(Path(name))}")
    if "/" in str(name) or Path(name).suffix:
        raise ModelError(f"model {str(name)!r}: no such file or folder")
    raise unknown("model", str(name), [entry.name for entry in catalogue(session)], listing="`deepscope models --all`")


def exists(path: Path) -> bool:
    """Whether there is a file or folder; False for what cannot be a path, such as a name of 1,000 characters."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


_OTHER_FORMATS = {
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".bin": "a PyTorch file",
    ".tar": "an archive or a PyTorch file",
    ".ckpt": "a checkpoint",
    ".onnx": "an ONNX model",
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow model",
    ".gguf": "a GGUF file",
}


def _unsupported(path: Path) -> str:
    """What a file or folder that no source opens seems to be, and what can be done."""
    readable = "a .safetensors file that names its architecture, or a folder that `transfer fit` wrote"
    if path.is_dir():
        kind = (
            "a folder of transformers"
            if (path / "config.json").is_file()
            else "a folder that holds no saved classifier"
        )
    else:
        kind = _OTHER_FORMATS.get(path.suffix.lower(), "a file of an unknown kind")
    return f"exists, but is {kind}, which is not supported yet: give {readable}"
