"""Inference engines: what runs a network in passes without gradients.

"torch" is PyTorch as it stands, and the reference. Each other engine is one class here, which builds a function from
inputs to outputs. `models.serving` decides which of them runs.
"""

from __future__ import annotations

import copy
import logging
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]
"""(N, ...) float32 inputs on the CPU -> (N, K) outputs, for any N."""
Export = Callable[[], bytes]
"""Gives the network as ONNX."""


class Engine(ABC):
    """Builds a function that does what a module does, on the CPU and without gradients."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """That must be installed."""
    extra: ClassVar[str]
    """The extra that installs them; empty where they come with deepscope."""
    first_use: ClassVar[float]
    """Seconds that building about takes on one core, before it was measured."""
    by_name_only: ClassVar[bool] = False
    """Whether "auto" leaves it out."""

    def here(self) -> bool:
        """Whether it is installed."""
        return all(find_spec(package) is not None for package in self.packages)

    @abstractmethod
    def build(self, module: nn.Module, example: Tensor, export: Export) -> Run:
        """The function. Raises any error of the library where it cannot run the module."""


class Compiled(Engine):
    """`torch.compile`: needs a C++ compiler, takes a minute, and was never quicker than ONNX Runtime."""

    name = "compile"
    packages = ()
    extra = ""
    first_use = 60
    by_name_only = True

    def here(self) -> bool:
        """Whether there is a compiler."""
        return shutil.which(os.environ.get("CXX", "g++")) is not None

    def build(self, module: nn.Module, example: Tensor, export: Export) -> Run:
        """A copy of the module, compiled for any number of images: it follows no change, and the module may go."""
        compiled: Any = torch.compile(copy.deepcopy(module), dynamic=True)

        def run(inputs: Tensor) -> Tensor:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler about its internals
                return compiled(inputs)

        run(example)
        return run


class OnnxRuntime(Engine):
    """ONNX Runtime, in float32, with as many threads as PyTorch has."""

    name = "onnxruntime"
    packages = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"
    first_use = 6

    def build(self, module: nn.Module, example: Tensor, export: Export) -> Run:
        """A session on the exported network."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores, too
        session = onnxruntime.InferenceSession(export(), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.contiguous().numpy()})[0])


class OpenVino(Engine):
    """OpenVINO, in float32, with as many threads as PyTorch has."""

    name = "openvino"
    packages = ("onnx", "onnxscript", "openvino")
    extra = "openvino"
    first_use = 6

    def build(self, module: nn.Module, example: Tensor, export: Export) -> Run:
        """The exported network, compiled for the CPU."""
        import openvino  # pyright: ignore[reportMissingImports]

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(export()), "CPU", settings)
        return lambda inputs: torch.from_numpy(compiled(inputs.contiguous().numpy())[0].copy())


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (OnnxRuntime(), OpenVino(), Compiled())}


def as_onnx(module: nn.Module, example: Tensor) -> bytes:
    """A module as ONNX, for any number of inputs like the (N, ...) example, N > 1."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about its internals
            program = torch.onnx.export(
                module, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim("images")},)
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    return program.model_proto.SerializeToString()
