"""ONNX graphs run by ONNX Runtime."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from deepscope.errors import FileError, ModelError
from deepscope.models.company import independent, unlike
from deepscope.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIDE = 224
"""Of images for a graph that takes any size and does not say which it was trained on."""
_AT_ONCE = 32
"""Images per pass: what ONNX Runtime needs of memory grows with it."""
_MEMORY = 2**33
_TOP = {"uint8": 255.0}
"""The largest value of an input, where it is not about 1."""
_PLACE = re.compile(r"^(\d+ : [A-Z_]+ : )?(/onnxruntime_src/\S+ .*\)( const)? )?")
"""At the start of ONNX Runtime's messages: a code, and a file and function of its source."""


class OnnxNetwork(nn.Module):
    """An ONNX graph as a module that computes outputs alone.

    Args:
        file: what was read.

    Attributes:
        batch: images that the graph takes per pass; None where it takes any number.
        mixes: whether the graph computes with all images of a batch together: then each is run without the others.
        alone: whether a batch is filled with copies of one image, because it mixes them.

    Raises:
        FileError: ONNX Runtime does not load or run it.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.file, self.batch, self.alone, self.mixes = file, file.batch, False, False
        self._session = _loaded(file)
        self._find_batch()

    def _find_batch(self) -> None:
        """Images per pass: some graphs leave that open and run with one number only, or lose the axis of one image."""
        images = unlike(self.file.channels, self.file.size or (SIDE, SIDE), top=_TOP.get(self.file.dtype, 1.0))
        for batch in [self.file.batch] if self.file.batch else [None, 1, 2]:
            self.batch = batch
            try:
                together, alone = self(images), [self(image) for image in images.split(1)]
            except ModelError:
                if batch is not None:
                    raise
                continue
            common = [key for key in together if all(key in one for one in alone)]
            if common and all(independent(torch.cat([one[key] for one in alone]), together[key]) for key in common):
                return
            if common:
                self.mixes = True
                if batch is not None:
                    self.alone = True
                    return
        self.batch = self.file.batch

    def __deepcopy__(self, memo: object) -> OnnxNetwork:
        """Itself: it has no state, and ONNX Runtime's cannot be copied."""
        return self

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Normalised (N, C, H, W) -> the outputs by name, without gradients."""
        found: dict[str, list[Tensor]] = {}
        size = 1 if self.alone else self.batch or _AT_ONCE
        for part in inputs.detach().cpu().split(size):
            for name, values in self._run(part).items():
                found.setdefault(name, []).append(values[: len(part)])
        return {name: torch.cat(parts).to(inputs.device) for name, parts in found.items()}

    def _run(self, part: Tensor) -> dict[str, Tensor]:
        """The outputs for as many images as the graph takes; the last ones are repeated where there are fewer."""
        missing = (self.batch or 0) - len(part)
        if missing > 0:
            part = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)])
        if self.file.layout == "NHWC":
            part = part.permute(0, 2, 3, 1)
        values = part.round().clamp(0, 255) if self.file.dtype == "uint8" else part
        given = np.ascontiguousarray(values.numpy(), dtype=self.file.dtype)
        try:
            outputs = self._session.run(None, {self.file.input: given})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise ModelError(
                f"{self.file.path} cannot run on an input of shape {given.shape}: {_reason(error)}",
                model=str(self.file.path),
            ) from None
        return {
            name: torch.from_numpy(np.array(values, dtype=np.float32))
            for name, values in zip(self.file.outputs, outputs)
            if isinstance(values, np.ndarray)
            and values.dtype.kind in "fiu"
            and values.ndim
            and len(values) == len(given)
        }


def _loaded(file: OnnxFile) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.use_deterministic_compute = True
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(file.path.parent.resolve())
    )
    options.add_session_config_entry("session.use_env_allocators", "1")
    _bound_memory()
    try:
        return onnxruntime.InferenceSession(
            file.content, options, providers=["CPUExecutionProvider"], disabled_optimizers=_UNBOUNDED
        )
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise FileError(f"{file.path} cannot be loaded by ONNX Runtime: {_reason(error)}", path=file.path) from None


_UNBOUNDED = ["ConstantFolding"]
"""Optimisations that run parts of a graph before it is used, up to version 1.23 outside the bound on memory."""


@functools.cache
def _bound_memory() -> None:
    """Let all graphs of this process together take half of the memory at most: a small file can ask for any amount."""
    import onnxruntime as ort

    most = min(_MEMORY, psutil.virtual_memory().total // 2)
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, ort.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": 1}))


def _reason(error: Exception) -> str:
    """ONNX Runtime's own words, without the places in its source."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    text = text.rpartition("Status Message: ")[2].rpartition("] : ")[2]
    return _PLACE.sub("", text)[:300]
