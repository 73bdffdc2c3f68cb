"""What an archive of TorchScript may hold: arithmetic on tensors, no operator on files, and all of its tensors.

`torch.jit.load` runs code (`__setstate__`), so the source in the archive is searched before it is opened. TorchScript
writes names in one way, `torch.NAME`, `ops.LIBRARY.NAME` and `__torch__.PATH`; one written in another way is refused,
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
from typing import Any, ClassVar

import torch

from deepscope.errors import FileError

_GAP = r"(?:[\s\\]|#[^\n]*\n)*"
"""What TorchScript skips between a dot or comma and what follows it."""
_FILES = re.compile(rf"\.{_GAP}(from_file|save)(?!\w)")
"""PyTorch's own operators on files; as methods too."""
_ALONE = re.compile(r"(?<![\w.])torch(?!\.?\w)|(?<!\w)__torch__(?!\.?\w)|(?<!\w)getattr(?![\w(])")
"""What would give a variable another name for all of PyTorch."""
_LIBRARY = re.compile(r"(?<![\w.])ops(?!\w)(?:\.(\w+)\.(\w+))?")
_LIBRARIES = ("aten", "prim", "prims", "quantized", "_quantized", "sparse", "torchvision", "mkldnn", "onednn")
_OUTSIDE = re.compile(r"from_file|save|rpc_\w+|\w*PythonOp")
_BY_TEXT = re.compile(rf",{_GAP}[\"'](?!(?!(?:from_file|save)\")[^\"\\\n]*\"[\]),}}])")
"""A text after a comma, as the second argument of `getattr`, that names such an operator or is not a plain one."""
_CLASS = re.compile(r"__torch__\.torch(?!\w)(?:\.(\w+)(?:\.(\w+))?)?")
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
            f"{path} uses {what[:80]}, which may read or write files or run other code: save the network's "
            "state_dict() instead, or open a file that you trust with torch.jit.load and pass it to deepscope.wrap",
            path=path,
        )


def _require_whole(content: bytes, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
    """Every tensor that a pickle describes has its bytes."""
    sizes = {entry.filename.lower(): entry.file_size for entry in archive.infolist()}
    for key, needed in _Storages(content).found:
        if sizes.get(f"{folder}/{key}".lower(), -1) < needed:
            raise FileError(f"{path} lacks bytes of a tensor ({key}): it is damaged or cut, copy it again", path=path)


class _Storages(pickle._Unpickler):
    """Reads which storages a pickle names, and how many bytes each must have. Nothing that it names is imported.

    TorchScript calls an enumeration with a text where Python's own reader in C needs a tuple.
    """

    stack: list[Any]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.found: list[tuple[str, int]] = []
        self.load()

    def load_reduce(self) -> None:
        """Whatever is called gives a stand-in."""
        self.stack.pop()
        self.stack[-1] = _Anything()

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.REDUCE[0]: load_reduce}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in of that name."""
        return type(name, (_Anything,), {})

    def persistent_load(self, pid: Any) -> Any:
        """Note a storage: ("storage", type, key, device, number of elements)."""
        _, kind, key, _, count = pid
        if not isinstance(key, str) or not isinstance(count, int):  # tuples of tuples are endless as text
            raise pickle.UnpicklingError("a storage has no name")
        self.found.append((key, count * _BYTES[kind.__name__]))
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
    yield from (f"the name {match[0]} alone" for match in _ALONE.finditer(code))
    if "getattr" in code:
        yield from ("the operator getattr in an unusual way" for _ in _BY_TEXT.finditer(code))
    yield from _foreign(code)


def _foreign(text: str) -> Iterator[str]:
    """C++ classes that hold something else than weights."""
    for match in _CLASS.finditer(text):
        if not match[1] or (match[1] == "classes" and match[2] not in _CLASSES):
            yield f"the class {match[0]}"
