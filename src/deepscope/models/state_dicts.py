"""Files of weights from outside: what tensors they hold, read without running code and within bounded memory.

A file is opened twice: first its names and shapes alone, then the tensors that are needed. Nothing is allocated before
the sizes have been compared with the size of the file.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from deepscope.errors import DeepscopeError, FileError
from deepscope.files import sha256
from deepscope.models import unbuilt
from deepscope.models.stored_names import stored_names
from deepscope.models.tensor_names import readings
from deepscope.models.weights import checked

Shapes = Mapping[str, tuple[int, ...]]

_HOLDERS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net", "module")
"""Keys that training programs put a state dict under; averaged weights first, which are those to be used."""
_DEPTH = 3
"""Of dictionaries in each other."""
_SHARED = 4
"""Times the size of a file that its tensors may have together: some share their numbers."""
_GROWTH = 2**26
"""Bytes by which an archive may be smaller than what it holds."""
_NO_WEIGHTS = {"n_averaged"}
_OLD = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
"""At the start of files that PyTorch wrote before it used archives."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|Trying to load unsupported GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class StateDict:
    """One of the state dicts in a file, and how its names are read.

    Attributes:
        path: the file.
        place: keys that lead to it.
        names: as a network calls its tensors -> as the file does.
        shapes: by the network's names.
        named: the architectures that the training program may have meant by the name in the file, as `LIBRARY:NAME`.
        classes: their names, where the file holds them.
    """

    path: Path
    place: tuple[str, ...]
    names: Mapping[str, str]
    shapes: Shapes
    named: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def load(self) -> dict[str, Tensor]:
        """The tensors: float32 where they are in half precision, finite.

        Raises:
            FileError: the file changed, or a tensor is NaN, infinite, or none of ordinary numbers.
        """
        content: Any = _safetensors(self.path) if _is_safetensors(self.path) else _torch(self.path, meta=False)
        for key in self.place:
            content = content[key]
        try:
            found = checked({name: content[key].detach() for name, key in self.names.items()})
        except (KeyError, AttributeError):
            raise FileError(f"{self.path} changed while it was read: open it again", path=self.path) from None
        except DeepscopeError as error:
            raise FileError(f"{self.path}: {error}", path=self.path) from None
        return {name: value.clone(memory_format=torch.contiguous_format) for name, value in found.items()}

    @property
    def sha256(self) -> str:
        """Of the file."""
        return sha256(self.path)


def read(path: Path) -> list[StateDict]:
    """Every way to read the file's weights, the likeliest first: several dictionaries, with and without prefixes.

    Raises:
        FileError: it holds code, is damaged, lies about its sizes, or holds no weights.
    """
    if not path.is_file():  # a folder, or a pipe that would never end
        raise FileError(f"{path} is not an ordinary file: name a file of weights", path=path)
    if _is_safetensors(path):
        content = _header(path)
    else:
        require_stored(path)
        content = _torch(path, meta=True)
    found = list(_state_dicts(content))
    if not found and not _is_safetensors(path):
        _require_plain(path)
    if not found:
        raise FileError(
            f"{path} holds {_kind(content)} in which no weights were found: save network.state_dict()", path=path
        )
    named, classes = _named(content), stored_names(content)
    made: list[StateDict] = []
    for place, tensors in found:
        _require_sizes(path, tensors)
        for names in readings(tuple(tensors)):
            shapes = {name: tuple(tensors[key].shape) for name, key in names.items()}
            made.append(StateDict(path, place, names, shapes, named, classes))
    return made


def _named(content: Any) -> tuple[str, ...]:
    """The architectures that a training program names: timm by "arch", torchvision's references in their arguments."""
    if not isinstance(content, Mapping):
        return ()
    held = cast("Mapping[Any, Any]", content)
    if isinstance(name := held.get("arch"), str):
        return (f"timm:{name}",)
    name = getattr(held.get("args"), "model", None)
    return (f"torchvision:{name}", f"timm:{name}") if isinstance(name, str) else ()


def _state_dicts(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """The dictionaries of tensors in what a file holds, and the keys that lead to them."""
    if not isinstance(content, Mapping) or len(place) > _DEPTH:
        return
    held = cast("Mapping[Any, Any]", content)
    inner = [key for key in held if isinstance(key, str) and isinstance(held[key], Mapping) and key != "optimizer"]
    for key in sorted(inner, key=lambda key: _HOLDERS.index(key) if key in _HOLDERS else len(_HOLDERS)):
        yield from _state_dicts(held[key], (*place, key))
    tensors = {k: v for k, v in held.items() if isinstance(k, str) and isinstance(v, Tensor) and k not in _NO_WEIGHTS}
    if any(tensor.ndim > 1 for tensor in tensors.values()):
        yield place, tensors


def _torch(path: Path, *, meta: bool) -> Any:
    """What a file of torch.save holds; where `meta`, shapes without numbers."""
    settings: dict[str, Any] = {"map_location": "meta"} if meta else {"map_location": "cpu", "mmap": _is_zip(path)}
    try:
        return unbuilt.load(path, **settings)
    except MemoryError:
        raise
    except Exception as error:  # any kind, of a file that may be anything
        raise FileError(_refusal(path, str(error)), path=path) from None


def _require_plain(path: Path) -> None:
    """Refuse a file of Python objects, which alone hold the weights, with the lines that convert it."""
    try:
        torch.load(path, weights_only=True, map_location="meta")
    except MemoryError:
        raise
    except Exception as error:  # any kind, of a file that may be anything
        raise FileError(_refusal(path, str(error)), path=path) from None


def _refusal(path: Path, reason: str) -> str:
    if named := _GLOBAL.search(reason):
        made = path.with_name(f"{path.stem}-weights.pth").name
        return (
            f"{path} holds Python objects ({named[1]}), which would run code when they are opened: if you trust the "
            f"file, convert it with `network = torch.load({path.name!r}, weights_only=False)` and "
            f"`torch.save(network.state_dict(), {made!r})`"
        )
    said = reason.rpartition("WeightsUnpickler error: ")[2].partition("\n")[0][:100]
    if not any(letter.isalpha() for letter in said):  # the number of an unknown instruction
        said = "it is no such file, empty or cut"
    return f"{path} is not a readable PyTorch file ({said}): copy it again, or save network.state_dict()"


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def require_stored(path: Path) -> None:
    """Refuse an archive that grows when it is opened. PyTorch compresses nothing but a program's debugging notes."""
    if not _is_zip(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FileError(f"{path} is not a readable PyTorch file ({error}): copy it again", path=path) from None
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise FileError(f"{path} is an archive that holds a name twice: save it again", path=path)
    size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
    if unpacked > size + _GROWTH:
        raise FileError(
            f"{path} is a compressed archive of {unpacked >> 20:,} MB in {size >> 20:,} MB: save the weights again",
            path=path,
        )


def _require_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are larger than the file that holds them."""
    size, total = path.stat().st_size, 0
    for name, tensor in tensors.items():
        needed = tensor.numel() * tensor.element_size()
        total += needed
        if needed > size or total > _SHARED * size:
            raise FileError(
                f"{path}: {name!r} is said to have the shape {tuple(tensor.shape)}, which is more than the file holds",
                path=path,
            )


def is_weights(path: Path) -> bool:
    """Whether a file, whatever its name, begins like one of `torch.save` or safetensors."""
    if not path.is_file():
        return False
    if _is_zip(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/data.pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return False
    with path.open("rb") as file:
        return file.read(len(_OLD)) == _OLD or _is_safetensors(path)


def _is_safetensors(path: Path) -> bool:
    if path.suffix.lower() == ".safetensors":
        return True
    with path.open("rb") as file:
        begin = file.read(9)
    return begin[8:] == b"{" and int.from_bytes(begin[:8], "little") < path.stat().st_size


def _header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, without numbers."""
    with _opened(path) as file:
        return {key: _empty(file.get_slice(key)) for key in file.keys()}  # noqa: SIM118


def _safetensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except MemoryError:
        raise
    except Exception as error:  # any kind, of a file that may be anything
        reason = str(error).partition("\n")[0][:100]
        raise FileError(f"{path} is not a readable safetensors file ({reason}): copy it again", path=path) from None


_KINDS = {"F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32}


def _empty(part: Any) -> Tensor:
    kind = _KINDS.get(part.get_dtype(), torch.float32 if part.get_dtype() == "F32" else torch.uint8)
    return torch.empty(part.get_shape(), dtype=kind, device="meta")


def _kind(content: object) -> str:
    return "a single tensor" if isinstance(content, Tensor) else f"a {type(content).__name__}"
