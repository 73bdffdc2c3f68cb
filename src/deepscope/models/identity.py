"""What a network computes, as a digest: its layers, weights, settings, code and libraries.

Kept results are named after `network_sha256`; it is hashed anew whenever it is asked for, and is the same in every
process. The code of a user's classes counts as Python compiled it, with the functions and values that it refers to.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import inspect
import platform
import re
import sys
import sysconfig
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from deepscope.machine import version_of

_ALWAYS = ("torch", "torchvision", "timm")
"""Libraries whose versions count whatever a network is made of."""
_MANGLED = re.compile(r"___torch_mangle_\d+")
"""What TorchScript adds to the names of a process."""
MODULE_FIELDS = frozenset(vars(nn.Module())) - {"training"}
"""What PyTorch itself keeps in every module: parameters, buffers, children and hooks."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of the folders that packages are installed into."""
_THIS_PROCESS = uuid.uuid4().hex
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers, by names, types, shapes and numbers, and of its extra state."""
    digest, state = hashlib.sha256(), cast("Mapping[str, Any]", network.state_dict())
    for key, value in sorted(state.items(), key=lambda item: item[0]):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(_bytes(value))
        else:
            digest.update(f"{key} {_described(value)}".encode())
    return digest.hexdigest()


def network_sha256(network: nn.Module) -> str:
    """SHA-256 of all that a network's answers depend on besides the input."""
    digest = hashlib.sha256(f"{network} {weights_sha256(network)} {platform.python_version()}".encode())
    classes: set[type[Any]] = set()
    for name, module in network.named_modules():
        classes |= set(type(module).__mro__) - set(nn.Module.__mro__)
        digest.update(f"{name} {type(module).__qualname__} {_settings(module)}".encode())
    saved = network.state_dict().keys()
    for name, buffer in network.named_buffers():
        if name not in saved:
            digest.update(f"{name} {_described(buffer)}".encode())
    for one in sorted(classes, key=lambda one: f"{one.__module__}.{one.__qualname__}"):
        digest.update(_described(one).encode())
    used = {one.__module__.partition(".")[0] for one in classes}
    digest.update(repr(sorted(versions(*_ALWAYS, *used).items())).encode())
    return digest.hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """The versions of packages; "" for one that has none, such as a module of the user's own."""
    return {name: version_of(name, otherwise="") for name in packages}


def _settings(module: nn.Module) -> str:
    """What a module holds besides layers and weights, and what runs with it; libraries keep caches in private names."""
    private = not _of_library(type(module).__module__)
    own = {k: v for k, v in vars(module).items() if k not in MODULE_FIELDS and (private or not k.startswith("_"))}
    hooks = [hook for name in _HOOKS for hook in getattr(module, name, {}).values()]
    graph = getattr(module, "graph", None)
    graph = str(graph) if isinstance(graph, fx.Graph) else ""
    script = _MANGLED.sub("", str(getattr(module, "code", ""))) if isinstance(module, torch.jit.ScriptModule) else ""
    return f"{_described(own)} {_described(hooks)} {graph} {script}"


def _described(value: Any) -> str:
    """A value in words that are the same in every process; what nests too deep for Python differs in each of them."""
    try:
        return _text(value, _Seen())
    except RecursionError:
        return _THIS_PROCESS


class _Seen:
    """What was described already: each object and collection is described once, however many others refer to it."""

    def __init__(self) -> None:
        self.around: set[int] = set()  # collections that hold the value
        self.known: dict[int, tuple[str, Any]] = {}  # its text from now on, and itself, so that its id stays its own
        self.numbered = 0
        self.references = 0  # texts that depend on what was seen before

    def copy(self) -> _Seen:
        """One that learns nothing of what this one meets later."""
        made = _Seen()
        made.around, made.known = set(self.around), dict(self.known)
        made.numbered, made.references = self.numbered, self.references
        return made

    def number(self, value: Any) -> None:
        """Let the value be called by its number from now on."""
        self.known[id(value)] = f"seen {self.numbered}", value
        self.numbered += 1


def _text(value: Any, seen: _Seen) -> str:
    """A value in words that are the same in every process; a digest of those that hold others."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, enum.Enum)):
        return repr(value)
    if isinstance(value, (Tensor, np.ndarray)):
        return _numbers(value, seen)
    if id(value) in seen.known:
        text = seen.known[id(value)][0]
        seen.references += text.startswith("seen")
        return text
    if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
        seen.references += 1
        seen.number(value)
        return _digest("".join(_code(value, seen)))
    if id(value) in seen.around:
        seen.references += 1
        return "itself"
    before = seen.references
    seen.around.add(id(value))
    found = _digest(_items(value, seen))
    seen.around.remove(id(value))
    if seen.references == before:
        seen.known[id(value)] = found, value  # equal collections have equal texts, whether they are one or several
    else:
        seen.number(value)
    return found


def _numbers(value: Tensor | np.ndarray[Any, Any], seen: _Seen) -> str:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":  # names, dates or objects
        return f"{value.dtype} {value.shape} {_text(value.tolist(), seen)}"
    content = _bytes(value) if isinstance(value, Tensor) else value.tobytes()
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()}"


def _items(value: Any, seen: _Seen) -> str:
    if isinstance(value, Mapping):
        return str({_text(k, seen): _text(v, seen) for k, v in cast("Mapping[Any, Any]", value).items()})
    if isinstance(value, (list, tuple)):
        return str([_text(item, seen) for item in cast("list[Any]", value)])
    apart = [(item, seen.copy()) for item in value]  # which have no order of their own
    texts = sorted(_text(item, copied) for item, copied in apart)
    seen.references += sum(copied.references - seen.references for _, copied in apart)
    return str(texts)


def _digest(text: str) -> str:
    """Of fixed length: text within text within text would double with every level."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _code(value: Any, seen: _Seen) -> Iterator[str]:
    """What a function, class or object of a user does; the name of a library's."""
    kind = value if isinstance(value, (type, FunctionType, ModuleType)) else type(value)
    yield f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', getattr(kind, '__name__', ''))} "
    if isinstance(value, (MethodType, staticmethod, classmethod)):
        yield _text(value.__func__, seen)
    elif isinstance(value, property):
        yield from (_text(part, seen) for part in (value.fget, value.fset) if part)
    elif isinstance(value, (ModuleType, nn.Module)) or _of_library(getattr(kind, "__module__", "")):
        return
    elif isinstance(value, FunctionType):
        yield _compiled(value.__code__)
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != type(cell)()]
        used = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
        yield _text((value.__defaults__, value.__kwdefaults__, cells, used), seen)
    elif isinstance(value, type):
        own = {k: v for k, v in vars(value).items() if callable(v) or not k.startswith("__")}
        yield _text({k: v for k, v in own.items() if not inspect.isgetsetdescriptor(v)}, seen)
    elif dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        yield _text(vars(value), seen) if hasattr(value, "__dict__") else repr(value)


def _compiled(code: CodeType) -> str:
    constants = [_compiled(one) if isinstance(one, CodeType) else _text(one, _Seen()) for one in code.co_consts]
    return _digest(f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}")


def _names(code: CodeType) -> list[str]:
    """The names that code refers to, with those of the functions inside of it."""
    inner = [name for one in code.co_consts if isinstance(one, CodeType) for name in _names(one)]
    return sorted({*code.co_names, *inner})


def _bytes(tensor: Tensor) -> bytes:
    tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@cache
def _of_library(module: str) -> bool:
    """Whether a module is installed, or deepscope's own: its version, or the digest of its code, stands for it."""
    top = sys.modules.get(module.partition(".")[0])
    file = getattr(top, "__file__", None)
    if not file:
        return module.partition(".")[0] in sys.builtin_module_names
    place = Path(file).resolve()
    installed = not _INSTALLED.isdisjoint(place.parts)  # also in an environment that this one builds on
    own = module.partition(".")[0] == "deepscope"
    return own or installed or place.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())
