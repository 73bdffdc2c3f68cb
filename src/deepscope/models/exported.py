"""Programs that PyTorch saved with their weights: TorchScript (`torch.jit.save`) and `torch.export` (`.pt2`).

Neither needs an architecture. A TorchScript program gives probabilities and, as a rule, gradients; its layers run where
no hook reaches them. An exported program also keeps its layers.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepscope.errors import DeepscopeError, FileError, ModelError
from deepscope.files import sha256
from deepscope.models import architectures, endless, export_archive, script_archive
from deepscope.models.capabilities import NOT_DIFFERENTIABLE, Capabilities
from deepscope.models.company import MIXES, independent, unlike
from deepscope.models.options import GIVEN, ModelOptions
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import ModelSource, exists
from deepscope.models.state_dicts import require_stored
from deepscope.models.vision_model import VisionModel
from deepscope.models.wrapping import wrap
from deepscope.session import Session

_PROGRAMS = (".pt2", ".ts", ".torchscript", ".jit")
"""Suffixes of files that hold nothing but programs; `.pt` and `.pth` may hold either."""
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of images that a program may be made for."""
_CROP = 0.875
"""Of the resized image, as torchvision and timm do by default."""


@dataclass(frozen=True)
class Exported(ModelSource):
    """A file of `torch.jit.save` or `torch.export.save`, by its path."""

    rank: ClassVar[int] = 2
    reads_architecture: ClassVar[bool] = True
    patterns: ClassVar[tuple[str, ...]] = tuple(f"*{suffix}" for suffix in _PROGRAMS)

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The program as a model; `architecture` gives its preprocessing."""
        path = Path(name)
        if not exists(path):
            return None
        if not (kind := _kind(path)):
            if path.suffix.lower() in _PROGRAMS and path.is_file():
                raise FileError(f"{path} is not a readable program: it is damaged or cut, copy it again", path=path)
            return None
        require_stored(path)
        options = ModelOptions.of(name, session)
        program, size, batch = _script(path, options) if kind == "script" else _exported(path)
        preprocessing, source = _preprocessing(options, size)
        if preprocessing.size != size and size is not None:
            raise ModelError(f"{path} takes {size[0]} x {size[1]} pixels, and {source} gives others", model=name)
        program.eval()  # a layer in training would mix images, and change with each run
        network, batch = _run_by(program, batch or _batch(program, preprocessing, path), preprocessing)
        if isinstance(network, FixedBatch) and network.alone:
            session.note_once(f"{path} mixes", f"{path.name} {MIXES}")
        unsaid = [] if options.preprocessing else [f"preprocessing is {source}; give another as preprocessing"]
        if not options.classes:
            unsaid.append("its classes have no names: give them, or a file of them, as classes")
        if unsaid:
            session.note_once(f"{path} says", f"{path.name}: {'; '.join(unsaid)}")
        try:
            model = wrap(network, preprocessing=preprocessing, name=path.stem)
        except DeepscopeError as error:
            raise ModelError(f"{path}: {error}", model=name) from None
        reason = (
            "a TorchScript program does not expose its layers; one of torch.export does" if kind == "script" else ""
        )
        if not reason and batch != _ANY:
            reason = f"it was exported for batches of {batch}; export it with a dynamic batch dimension"
        layers, gradients = not reason, _has_gradients(network, preprocessing)
        if not gradients:
            reason = f"{reason}, and {NOT_DIFFERENTIABLE}" if reason else NOT_DIFFERENTIABLE
        capable = Capabilities(gradients, layers, input_size=size, reason=reason)
        origin = Origin(f"{path.name}, a program", sha256(path), preprocessing=source, classes="numbers: it names none")
        return replace(model, capabilities=capable, origin=origin)


_ANY = 0
"""The batch size of a program that takes any."""


class FixedBatch(nn.Module):
    """A program made for a fixed number of images, run as often as needed; the last batch is filled up.

    Args:
        program: takes (batch, C, H, W).
        batch: its number of images.
        alone: fill each batch with copies of one image, for a program that computes with all of them together.
    """

    def __init__(self, program: nn.Module, batch: int, *, alone: bool = False) -> None:
        super().__init__()
        self.program, self.batch, self.alone = program, batch, alone

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> scores of N images."""
        found: list[Tensor] = []
        for part in inputs.split(1 if self.alone else self.batch):
            missing = self.batch - len(part)
            whole = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
            found.append(_first(self.program(whole))[: len(part)])
        return torch.cat(found)


def _first(output: Any) -> Any:
    """The scores among what a program returns."""
    return getattr(output, "logits", output[0] if isinstance(output, (tuple, list)) else output)


def _kind(path: Path) -> str | None:
    """ "script" or "export" by what is in the archive; None of a file of weights, or none at all."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
            old = "serialized_exported_program.json" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if old:
        raise FileError(f"{path} is an exported program of an older PyTorch: export it again", path=path)
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "script"
    return "export" if any(name.startswith("models/") for name in names) and "archive_format" in names else None


def _script(path: Path, options: ModelOptions) -> tuple[nn.Module, tuple[int, int] | None, int | None]:
    """The TorchScript program; its sizes show when it is run."""
    try:
        script_archive.require_harmless(path)
        preprocessing, _ = _preprocessing(options, None)
        endless.require_end(path, (len(preprocessing.mean), *preprocessing.size), _SIZES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, which its user knows or will hear from PyTorch
            return torch.jit.load(path, map_location="cpu"), None, None
    except DeepscopeError:
        raise
    except Exception as error:  # any kind, of a file that may be anything
        raise _unreadable(path, error) from None


def _exported(path: Path) -> tuple[nn.Module, tuple[int, int] | None, int | None]:
    """The exported program with its layers, the size of image that it is for, and its batch size."""
    try:
        export_archive.require_harmless(path)
        with warnings.catch_warnings(), _raising_what_is_logged():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            taken = program.graph_signature.user_inputs
            shapes = [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name in taken]
            network = _plain(torch.export.unflatten(program))
    except DeepscopeError:
        raise
    except Exception as error:  # any kind, of a file that may be anything
        raise _unreadable(path, error) from None
    if len(shapes) != 1 or len(shapes[0]) != 4:
        listed = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ModelError(f"{path} takes inputs of the shapes {listed}: export a network for (N, 3, H, W)")
    batch, _, height, width = shapes[0]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return network, size, batch if isinstance(batch, int) else _ANY


@contextmanager
def _raising_what_is_logged() -> Iterator[None]:
    """`torch.export.load` logs the traceback of an error, and raises another one that refers to the log."""
    found: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        found.extend([record.exc_info[1]] if record.exc_info and record.exc_info[1] else [])
        return False

    log = logging.getLogger("torch.export")
    log.addFilter(keep)
    try:
        yield
    except Exception as error:
        raise (found[0] if found else error) from None
    finally:
        log.removeFilter(keep)


def _plain(network: Any) -> nn.Module:
    """The layers of a program without notes on its export, which cannot be copied."""
    network.check_input_constraints = False
    for module in network.modules():
        for node in module.graph.nodes if hasattr(module, "graph") else ():
            node.meta.clear()
    return network


def _unreadable(path: Path, error: Exception) -> FileError:
    said = str(error).strip().partition("\n")[0][:150]
    reason = said if said and not isinstance(error, KeyError) else f"{type(error).__name__} {said}".strip()
    return FileError(f"{path} is no program that this PyTorch reads ({reason}): save it again", path=path)


def _preprocessing(options: ModelOptions, size: tuple[int, int] | None) -> tuple[Preprocessing, str]:
    """That of the architecture where one is named, and ImageNet's usual one otherwise; and where it comes from.

    What the person gave changes it.
    """
    if options.architecture:
        spec = architectures.resolve(options.architecture)
        found, said = architectures.preprocessing(spec), f"that of {architectures.preprocessing_source(spec)}"
    else:
        height, width = size or Preprocessing().size
        resize = round(height / _CROP) if height == width else (height, width)
        found = Preprocessing(resize, height if height == width else None)
        shown = f"resize {resize}, crop {height}" if height == width else f"resize {height} x {width}"
        said = f"assumed, as the file says nothing of it: {shown}, ImageNet's mean and deviation"
    return options.preprocessed(found), GIVEN if options.preprocessing else said


def _batch(program: nn.Module, preprocessing: Preprocessing, path: Path) -> int:
    """The number of images that a program takes: `_ANY`, or the one it was traced with."""
    channels, (height, width) = len(preprocessing.mean), preprocessing.size
    parameter = next(program.parameters(), torch.zeros(0))
    taken, reason = list[int](), ""
    for batch in _SIZES:
        try:
            with torch.no_grad():
                program(torch.zeros(batch, channels, height, width, dtype=parameter.dtype))
            taken.append(batch)
        except Exception as error:  # TorchScript raises its own kinds
            reason = str(error).strip().rpartition("\n")[2][:150]
        if len(taken) == 2:
            return _ANY
    if taken:
        return taken[0]
    raise ModelError(
        f"{path} cannot run on images of {height} x {width} pixels ({reason}): give the size as preprocessing, such "
        "as 'resize 64 x 64', or open it in Python with deepscope.wrap"
    )


def _run_by(program: nn.Module, batch: int, preprocessing: Preprocessing) -> tuple[nn.Module, int]:
    """The program in batches of that many images, and how many it runs on; one by one where they change each other."""
    images = unlike(len(preprocessing.mean), preprocessing.size)
    parameter = next(program.parameters(), torch.zeros(0))
    images = images.to(parameter.dtype)
    with torch.no_grad():
        whole = program if batch == _ANY else FixedBatch(program, batch)
        single = FixedBatch(program, batch or 1, alone=True)
        try:
            found = [_first(network(images)) for network in (single, whole)]
        except Exception:  # of a program for batches of other sizes, or of any other kind
            return whole, batch
    same = all(isinstance(one, Tensor) for one in found) and independent(*found)
    return (whole, batch) if same else (single, batch or 1)


def _has_gradients(network: nn.Module, preprocessing: Preprocessing) -> bool:
    parameter = next(network.parameters(), torch.zeros(0))
    shape = (1, len(preprocessing.mean), *preprocessing.size)
    with torch.inference_mode(False), torch.enable_grad():
        output: Any = network(torch.zeros(shape, dtype=parameter.dtype).requires_grad_())
    output = _first(output)
    return isinstance(output, Tensor) and output.requires_grad
