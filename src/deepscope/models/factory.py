"""Models that the user's Python code builds: `package.module:function` or `file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from torch import nn

from deepscope.errors import DeepscopeError, ModelError, unknown
from deepscope.models.architectures import LIBRARIES
from deepscope.models.source import ModelSource
from deepscope.models.vision_model import VisionModel
from deepscope.models.wrapping import wrap
from deepscope.session import Session

_MOST = 300
"""Characters of an error of the user's code that a message repeats."""


@dataclass(frozen=True)
class Factory(ModelSource):
    """A function without arguments that returns an `nn.Module` or a `VisionModel`. Importing it runs its file."""

    rank: ClassVar[int] = 30

    def open(self, name: str, session: Session) -> VisionModel | None:
        """What the function returns. A module's preprocessing is its own, or what `wrap` assumes."""
        place, _, function = name.rpartition(":")
        if not function.isidentifier() or place in LIBRARIES or not (_is_file(place) or _is_module(place)):
            return None
        with _importable(place):
            build = _function(_imported(place, name), place, function)
            try:
                made = build()
            except DeepscopeError:
                raise
            except (Exception, SystemExit) as error:  # any kind, of the user's code
                raise ModelError(f"{name}() fails: {_said(error, place)}", model=name) from error
        if isinstance(made, VisionModel):
            return made
        if not isinstance(made, nn.Module):
            kind = type(made).__name__
            raise ModelError(f"{name}() returns {kind}: return an nn.Module, or deepscope.wrap(...) of it", model=name)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                model = wrap(made, name=function)
            except DeepscopeError:
                raise
            except Exception as error:  # any kind, of the module's own code
                raise ModelError(
                    f"the module that {name}() returns fails: {_said(error, place)}", model=name
                ) from error
        for warning in said:
            session.note_once(f"{name}: {warning.message}", str(warning.message))
        return model


def _is_file(place: str) -> bool:
    return place.endswith(".py")


def _is_module(place: str) -> bool:
    """Whether this may be a module's dotted name; a Windows drive ("C") and `timm` are none of these."""
    return all(part.isidentifier() for part in place.split(".")) and len(place) > 1


@contextmanager
def _importable(place: str) -> Generator[None]:
    """The folder of a file, or the current one, is among those that Python imports from."""
    folder = str(Path(place).parent.resolve() if _is_file(place) else Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _imported(place: str, name: str) -> ModuleType:
    try:
        return _from_file(Path(place), name) if _is_file(place) else importlib.import_module(place)
    except DeepscopeError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or place
        own = not _is_file(place) and place.startswith(missing)
        text = f"no module {missing}" if own else f"it imports {missing}, which is not installed"
        raise ModelError(f"model {name!r}: {text}", model=name) from None
    except (Exception, SystemExit) as error:  # any kind, of the user's code
        raise ModelError(f"model {name!r}: importing {place} fails: {_said(error, place)}", model=name) from error


def _from_file(path: Path, name: str) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"model {name!r}: no file {path}", model=name)
    called = f"deepscope_factory_{path.stem}"  # the file may have the name of a library
    spec = importlib.util.spec_from_file_location(called, path)
    assert spec is not None and spec.loader is not None  # of every file that ends in .py
    module = sys.modules[called] = importlib.util.module_from_spec(spec)  # dataclasses look modules up there
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, place: str, name: str) -> Callable[[], object]:
    found = getattr(module, name, None)
    if isinstance(found, nn.Module):
        raise ModelError(f"{place}:{name} is a network: name a function without arguments that returns it", model=name)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"function of {place}", name, public)
    return found


def _said(error: BaseException, place: str = "") -> str:
    """The error with all of its lines, as far as they fit, and the line of the file in which it was raised."""
    text = " ".join(str(error).split())
    text = f"{text[:_MOST]} ..." if len(text) > _MOST else text
    own = Path(place).resolve() if _is_file(place) else None
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == own]
    where = f" (line {lines[-1]} of {Path(place).name})" if lines else ""
    return f"{type(error).__name__}: {text}{where}"
