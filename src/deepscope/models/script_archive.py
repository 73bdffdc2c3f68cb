"""What an archive of TorchScript may hold: arithmetic on tensors, no operator on files, and all of its tensors.

`torch.jit.load` runs code (`__setstate__`), so the source in the archive is searched before it is opened. TorchScript
writes names in one way, `torch.NAME`, `ops.LIBRARY.NAME` and `__torch__.PATH`; a name written in another way is refused,
so that nothing hides in spaces, comments or variables. `torch.jit.load` also believes what the archive says of the
tensors' sizes, and reads beyond the end of one that is shorter.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from deepscope.errors import FileError

_GAP = r"(?:[\s\\]|#[^\n]*\n)*"
"""What TorchScript skips between a dot and a name."""
_FILES = re.compile(rf"\.{_GAP}(from_file|save)(?!\w)")
"""PyTorch's own operators on files; as methods too."""
_LIBRARY = re.compile(r"(?<![\w.])ops(?!\w)(?:\.(\w+)\.(\w+))?")
_LIBRARIES = ("aten", "prim", "prims", "quantized", "_quantized", "sparse", "torchvision", "mkldnn", "onednn")
_OUTSIDE = re.compile(r"from_file|save|rpc_\w+|\w*PythonOp")
_PATH = re.compile(r"__torch__(?!\w)(?:\.(\w+)(?:\.(\w+)(?:\.(\w+))?)?)?")
_CLASSES = ("quantized", "sparse", "xnnpack", "mkldnn")
"""Libraries whose C++ classes hold packed weights."""


def require_harmless(path: Path) -> None:
    """Raises FileError where the program could read or write files, run foreign code, or read beyond its tensors."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            inner = name.partition("/")[2].lower()  # PyTorch's reader ignores case
            if inner.startswith("code/") and inner.endswith(".py"):
                _require_none(_outside(archive.read(name).decode("latin-1")), path)
            elif inner.endswith(".pkl"):
                content = archive.read(name)
                _require_none(_foreign(content.decode("latin-1")), path)
                if inner in _READ:
                    _require_whole(content, archive, name[: -len(".pkl")], path)
            elif inner == "model.json":  # by which PyTorch knows its first format
                raise FileError(f"{path} is a TorchScript program of an older PyTorch: save it again", path=path)


def _require_none(found: Iterator[str], path: Path) -> None:
    for what in found:
        raise FileError(
            f"{path} uses {what[:80]}, which may read or write files or run other code: save the network's state_dict() "
            "instead, or open a file that you trust with torch.jit.load and pass it to deepscope.wrap",
            path=path,
        )


def _require_whole(content: bytes, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
    """Every tensor that a pickle describes has its bytes."""
    sizes = {entry.filename.lower(): entry.file_size for entry in archive.infolist()}
    for key, needed in _Storages(content).found:
        if sizes.get(f"{folder}/{key}".lower(), -1) < needed:
            raise FileError(f"{path} lacks bytes of a tensor ({key}): it is damaged or cut, copy it again", path=path)


class _Storages(pickle.Unpickler):
    """Reads which storages a pickle names, and how many bytes each must have. Nothing that it names is imported."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.found: list[tuple[str, int]] = []
        self.load()

    def find_class(self, module_name: str, global_name: str) -> Any:
        """A stand-in of that name."""
        return type(global_name, (_Anything,), {})

    def persistent_load(self, pid: Any) -> Any:
        """Note a storage: ("storage", type, key, device, number of elements)."""
        _, kind, key, _, count = pid
        self.found.append((str(key), int(count) * _BYTES[kind.__name__]))
        return _Anything()


class _Anything:
    """Takes whatever a pickle does with an object, and does nothing."""

    def __new__(cls, *_: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_READ = ("data.pkl", "constants.pkl")
"""Pickles that `torch.jit.load` makes tensors of. Examples of inputs are kept beside them without their numbers."""
_BYTES = {name: kind.itemsize for kind, name in torch.storage._dtype_to_storage_type_map().items()}


def _outside(code: str) -> Iterator[str]:
    """The names in the code that may reach outside of it."""
    yield from (f"the operator torch.{match[1]}" for match in _FILES.finditer(code))
    for match in _LIBRARY.finditer(code):
        if match[1] not in _LIBRARIES or _OUTSIDE.fullmatch(match[2]):
            yield f"the operator {match[0]}"
    yield from (f"the name {match[0]}" for match in _PATH.finditer(code) if not match[1])
    yield from _foreign(code)


def _foreign(text: str) -> Iterator[str]:
    """C++ classes that hold something else than weights."""
    for match in _PATH.finditer(text):
        if match[1] == "torch" and (not match[2] or (match[2] == "classes" and match[3] not in _CLASSES)):
            yield f"the class {match[0]}"
