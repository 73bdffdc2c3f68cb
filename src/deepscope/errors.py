"""Errors that a person can fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from os import PathLike

from deepscope.names import one_line, plain

_FEW = 32
"""The most names that a message lists."""
_CLOSE = 0.6
"""Of difflib's ratio: below it, suggestions are as a rule unrelated (unet: alexnet; train: gan, explain)."""
_PART = 3
"""The fewest letters by which a name that contains them is suggested."""

_NAME = re.compile(r"\{(\w+)\}")


class NotGiven:
    """Stands for a value that is not known."""


class DeepscopeError(Exception):
    """What the caller gave cannot be used. The command line prints it as one line and exits with 2.

    The message says what is wrong, where, and how to fix it, in that order, in one line. Control characters of the
    names in it are escaped. Each subclass adds the one thing that is concerned, for programs that handle the error.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class SettingError(DeepscopeError):
    """A setting has a value that cannot be used, alone or together with another setting.

    Names of other settings stand in braces in `problem`; the command line writes them as flags.

    Attributes:
        setting: the argument or field, as Python spells it: "batch_size".
        problem: what is wrong and how to fix it.
        got: the value, where it helps; `NotGiven` otherwise.

    Example:
        >>> raise SettingError("target", "cannot be combined with {top}: give one of them")
        Traceback (most recent call last):
        deepscope.errors.SettingError: target cannot be combined with top: give one of them
    """

    def __init__(self, setting: str, problem: str, *, got: object = NotGiven) -> None:
        self.setting, self.problem, self.got = setting, problem, got
        said = "" if got is NotGiven else f" (got {_written(got)})"
        super().__init__(f"{setting} {_NAME.sub(_bare, problem)}{said}")

    def spelled(self, spell: Callable[[str], str]) -> SettingError:
        """The same error, with the names of settings as `spell` writes them."""
        problem = _NAME.sub(lambda found: spell(found.group(1)), self.problem)
        return SettingError(spell(self.setting), problem, got=self.got)


class FileError(DeepscopeError):
    """A file or folder is missing, damaged, too large, of another kind, or cannot be read or written.

    Attributes:
        path: the file or folder.
    """

    def __init__(self, message: str, *, path: str | PathLike[str] = "") -> None:
        super().__init__(message)
        self.path = path


class ModelError(DeepscopeError):
    """A model does not exist, or its network, weights or outputs are not what they should be.

    Attributes:
        model: its name.
    """

    def __init__(self, message: str, *, model: str = "") -> None:
        super().__init__(message)
        self.model = model


class DataError(DeepscopeError):
    """A dataset, a folder of images or a set of labels does not exist or does not suffice.

    Attributes:
        data: its name or folder.
    """

    def __init__(self, message: str, *, data: str | PathLike[str] = "") -> None:
        super().__init__(message)
        self.data = data


class UnknownNameError(DeepscopeError):
    """No method, class, layer or other thing has a given name.

    Attributes:
        kind: what was looked for: "layer".
        name: the name.
    """

    def __init__(self, message: str, *, kind: str = "", name: str = "") -> None:
        super().__init__(message)
        self.kind, self.name = kind, name


class MissingExtraError(DeepscopeError):
    """An optional dependency is not installed.

    Attributes:
        extra: what to install: "onnx" for `pip install 'deepscope[onnx]'`.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs the extra {extra!r}: pip install 'deepscope[{extra}]'")


class UnsupportedError(DeepscopeError):
    """A method, a model and the images are each valid, but do not work together.

    Attributes:
        what: the method or capability concerned.
    """

    def __init__(self, message: str, *, what: str = "") -> None:
        super().__init__(message)
        self.what = what


class JobError(DeepscopeError):
    """A part of a large job could not be computed; the other parts are kept, and the same command computes the rest.

    Attributes:
        part: its number.
    """

    def __init__(self, message: str, *, part: int) -> None:
        super().__init__(message)
        self.part = part


class PartFailed(Exception):
    """The work was done and written, except for a part that failed; the command line says so and exits with 1."""


def _bare(found: re.Match[str]) -> str:
    return found.group(1)


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else repr(value)


def nearest(text: str, options: Iterable[str], *, most: int = 3) -> list[str]:
    """The options close to `text`, best first, or that contain it; case, spaces and underscores do not count."""
    by_plain: dict[str, dict[str, None]] = {}
    for option in options:
        by_plain.setdefault(plain(option), {})[option] = None
    wanted = plain(text)
    close = difflib.get_close_matches(wanted, by_plain, n=most, cutoff=_CLOSE)
    inside = [key for key in by_plain if len(wanted) >= _PART and wanted in key and key not in close]
    return [option for key in (*close, *inside) for option in by_plain[key]][:most]


def unknown(kind: str, text: str, options: Iterable[str], *, listing: str = "") -> DeepscopeError:
    """The error for a name that does not exist: offers the nearest names, and says what lists all of them.

    A model is a `ModelError`, a dataset a `DataError`, anything else an `UnknownNameError`.
    """
    options = list(options)
    close = nearest(text, options)
    hint = f"did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    listed = f"{listing} lists them all" if listing else ""
    if not close and not listing and len(options) <= _FEW:
        listed = f"choose from {', '.join(options)}"
    fix = " ".join(part for part in (hint, listed) if part)
    message = f"no {kind} is named {text!r}" + (f": {fix}" if fix else "")
    if kind == "model":
        return ModelError(message, model=text)
    if kind.startswith("dataset"):
        return DataError(message, data=text)
    return UnknownNameError(message, kind=kind, name=text)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, an accelerator's, or that of PyTorch's CPU allocator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SHORTAGES)


_SHORTAGES = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "STATUS_ALLOC_FAILED")
"""What PyTorch's plain RuntimeErrors say on Linux, on Windows, from C++ and from CUDA's libraries."""
