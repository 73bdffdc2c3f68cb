"""Folders as the Hugging Face hub has them: configuration, weights, and the local cache."""

from __future__ import annotations

import json
import math
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deepscope.errors import DeepscopeError, FileError, ModelError
from deepscope.models import documents
from deepscope.models.pretrained import require_network
from deepscope.models.state_dicts import require_stored

CONFIG = "config.json"
SAFE, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_WANTED = [CONFIG, "preprocessor_config.json", "*.safetensors", INDEX]
_REPEATED = ("layer", "depth", "stage", "num_block")
"""Words in the names of settings that say how many of something a network has."""
_NAMES = ("id2label", "label2id")
_MOST_SHARDS = 1000


def snapshot(repository: str) -> Path:
    """The folder of a repository in the local cache; fetched first, without any code, where it is not there yet.

    Raises:
        ModelError: that is no repository's name.
        DeepscopeError: it is not in the cache and cannot be fetched.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise ModelError(f"{repository[:200]!r} is no repository: write ORG/NAME", model=repository)
    cached = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        require_network(repository, f"https://huggingface.co/{repository}", cached)
    try:
        return Path(snapshot_download(repository, allow_patterns=_WANTED))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{repository} cannot be fetched: {reason}", model=repository) from None


def published(name: str, about: Mapping[str, Any]) -> Path:
    """The file of weights that open_clip publishes, from its cache; fetched first where it is not there yet.

    Args:
        name: for messages.
        about: open_clip's entry: the repository in `hf_hub`, or an address in `url`.

    Raises:
        DeepscopeError: it is not in the cache and cannot be fetched.
    """
    from open_clip import download_pretrained

    cache, url = Path("~/.cache/clip").expanduser(), about.get("url") or "https://huggingface.co"
    if repository := str(about.get("hf_hub") or "").strip("/"):
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE) / f"models--{'--'.join(repository.split('/')[:2])}"
        url = f"https://huggingface.co/{repository}"
    else:
        cache = cache / Path(url).name
    if not cache.exists():
        require_network(name, url, cache)
    try:
        return Path(download_pretrained(dict(about)))
    except Exception as error:  # of the hub, of the network, of a digest
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{name} cannot be fetched: {reason}", model=name) from None


def configuration(folder: Path) -> dict[str, Any]:
    """What `config.json` says. Raises FileError where it is no JSON object."""
    path = folder / CONFIG
    try:
        return documents.mapping(documents.read(path), "it")
    except (ValueError, OSError) as error:
        raise FileError(f"{path} cannot be read ({error}): copy the folder again", path=path) from None


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """A block that builds a network from a folder: whatever a library raises in it is a `FileError` in one line."""
    try:
        yield
    except DeepscopeError:
        raise
    except Exception as error:  # libraries refuse what is damaged by any kind of error
        reason = (str(error).splitlines() or [""])[0][:300]
        raise FileError(
            f"{folder} holds no model that can be built ({type(error).__name__}: {reason})", path=folder
        ) from None


@dataclass(frozen=True)
class Weights:
    """The files of a folder that hold its weights.

    Attributes:
        files: one, or several shards.
        safe: whether they are safetensors, rather than a pickle of tensors alone.
        tensors: how many.
        numbers: in all of them.
    """

    files: tuple[Path, ...]
    safe: bool
    tensors: int
    numbers: int

    @classmethod
    def of(cls, folder: Path) -> Weights:
        """What a folder holds, from the files' headers.

        Raises:
            FileError: there are none, or they are damaged.
        """
        pickled = folder / PICKLED
        if (folder / SAFE).is_file():
            files = (folder / SAFE,)
        elif (folder / INDEX).is_file():
            files = _shards(folder)
        elif pickled.is_file():
            state = _unpickled(pickled)
            return cls((pickled,), False, len(state), sum(tensor.numel() for tensor in state.values()))
        else:
            raise FileError(f"{folder} holds no weights: {SAFE} is missing; copy it there", path=folder)
        tensors, numbers = 0, 0
        for file in files:
            try:
                with safe_open(file, framework="pt") as opened:
                    shapes = [opened.get_slice(key).get_shape() for key in opened.keys()]  # noqa: SIM118
            except (SafetensorError, OSError, ValueError) as error:
                raise FileError(
                    f"{file}: not a readable safetensors file ({error}): copy it again", path=file
                ) from None
            tensors += len(shapes)
            numbers += sum(map(math.prod, shapes))
        return cls(files, True, tensors, numbers)

    def load(self) -> dict[str, Tensor]:
        """All tensors by name."""
        if not self.safe:
            return _unpickled(self.files[0])
        found: dict[str, Tensor] = {}
        for file in self.files:
            with safe_open(file, framework="pt") as opened:
                found |= {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        return found

    def require_counts(self, about: Mapping[str, Any]) -> None:
        """Raises FileError where a configuration asks for more layers than tensors, or more classes than numbers.

        transformers makes something for each of them before it looks at the weights.
        """
        for key, value in about.items():
            if isinstance(value, Mapping):
                if key not in _NAMES:  # whose keys are names of classes
                    self.require_counts(value)
                continue
            classes = "num_labels" in key or "num_classes" in key
            if not classes and not any(word in key for word in _REPEATED):
                continue
            asked = value if isinstance(value, (list, tuple)) else [value]
            numbers = [one for one in asked if isinstance(one, (int, float)) and not isinstance(one, bool)]
            limit, what = (self.numbers, "numbers") if classes else (self.tensors, "tensors")
            if sum(numbers) > limit:
                raise FileError(
                    f"{self.files[0].parent / CONFIG} asks for {sum(numbers):,} {key}, and there are weights of "
                    f"{limit:,} {what}: copy the folder again",
                    path=self.files[0].parent,
                )


def _shards(folder: Path) -> tuple[Path, ...]:
    """The files that an index names; plain names in the same folder."""
    try:
        listed = documents.mapping(documents.mapping(documents.read(folder / INDEX), "it")["weight_map"], "weight_map")
    except (ValueError, KeyError, OSError) as error:
        raise FileError(f"{folder / INDEX} names no files ({error}): copy the folder again", path=folder) from None
    names = sorted({str(name) for name in listed.values()})[:_MOST_SHARDS]
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise FileError(f"{folder / INDEX} names {name[:100]!r}, which is not a file of its folder", path=folder)
    return tuple(folder / name for name in names)


def _unpickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle that holds tensors alone."""
    require_stored(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice on other protocols of pickle
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError):
        # what PyTorch says of it is advice to run its code
        raise FileError(f"{path} is not a file of tensors alone: save the model as {SAFE}", path=path) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FileError(f"{path} holds {json.dumps(type(state).__name__)}, not weights: save {SAFE}", path=path)
    return dict(state)
