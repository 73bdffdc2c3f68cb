"""ONNX graphs as PyTorch networks, for gradients: converted by onnx2pytorch, and used where the scores are the same."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deepscope.errors import MissingExtraError, ModelError
from deepscope.models.exported import FixedBatch
from deepscope.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from onnx import GraphProto

    from deepscope.models.onnx_network import OnnxNetwork

_TOLERANCE = 1e-4
"""Largest difference from ONNX Runtime's scores, relative to the largest of them where that is above 1."""
_COUNTS = (1, 3)
"""Images per batch that both are compared on: some conversions are right for one number only."""


class ConvertedNetwork(nn.Module):
    """A converted graph, which returns its scores alone.

    Args:
        converted: takes the graph's input.
        file: the graph.
        output: which of its outputs are the scores.
    """

    def __init__(self, converted: nn.Module, file: OnnxFile, output: str) -> None:
        super().__init__()
        self.converted, self.place = converted, file.outputs.index(output)
        self.last, self.dtype = file.layout == "NHWC", getattr(torch, file.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised (N, C, H, W) -> (N, classes)."""
        given = inputs.permute(0, 2, 3, 1) if self.last else inputs
        with warnings.catch_warnings():  # of the converter's own way of indexing
            warnings.simplefilter("ignore")
            found: Any = self.converted(given.to(self.dtype))
        scores = found[self.place] if isinstance(found, (tuple, list)) else found
        return scores.flatten(1).to(inputs.dtype)


def converted(network: OnnxNetwork, output: str, size: tuple[int, int]) -> nn.Module:
    """The graph as a PyTorch network with gradients.

    Args:
        network: as ONNX Runtime runs it.
        output: which of its outputs are the scores.
        size: height and width of its images.

    Raises:
        MissingExtraError: the converter is not installed.
        ModelError: the graph cannot be converted, gives other scores, or no gradients.
    """
    file = network.file
    if find_spec("onnx2pytorch") is None:
        raise MissingExtraError("onnx-gradients", f"gradients of {file.path}")
    if file.dtype == "uint8":
        raise _refused(file.path, "its input is bytes, which have no gradient")
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw weights before they are given their own
            made: nn.Module = ConvertedNetwork(_convert(file.path), file, output).eval().requires_grad_(False)
            if network.batch is not None:
                made = FixedBatch(made, network.batch, alone=network.alone)
            _require_parity(network, made, output, size)
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # of any kind: the converter has no errors of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise _refused(file.path, f"onnx2pytorch cannot convert it ({type(error).__name__}: {reason})") from None
    return made


def _convert(path: Path) -> nn.Module:
    import onnx
    from onnx2pytorch import ConvertModel

    model = onnx.load(path)
    _use_weights_directly(model.graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ConvertModel(model)


def _use_weights_directly(graph: GraphProto) -> None:
    """Let layers read weights that PyTorch's exporter keeps once for several layers and passes through Identity."""
    weights = {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # in the order of computation
        if node.op_type == "Identity" and node.input[0] in weights:
            for other in graph.node:
                other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]


def _require_parity(network: OnnxNetwork, made: nn.Module, output: str, size: tuple[int, int]) -> None:
    """Compare scores on random inputs, with gradients, as they will be used."""
    path, rng = network.file.path, torch.Generator().manual_seed(0)
    shapes = [(count, network.file.channels, *size) for count in _COUNTS]
    with torch.inference_mode(False), torch.enable_grad():
        for inputs in (draw(shape, generator=rng) for shape in shapes for draw in (torch.randn, torch.rand)):
            wanted = network(inputs)[output].flatten(1)
            found = made(inputs.requires_grad_())
            if found.shape != wanted.shape:
                raise _refused(path, f"the conversion gives scores of shape {tuple(found.shape)}")
            error = float((found.detach() - wanted).abs().max())
            if not error <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
                raise _refused(
                    path, f"its scores differ by {error:.1e} after conversion, and at most {_TOLERANCE:.0e} is accepted"
                )
            if not found.requires_grad:
                raise _refused(path, "no gradient passes through the conversion")
            (gradient,) = torch.autograd.grad(found.sum(), inputs)
            if not bool(gradient.isfinite().all()):
                raise _refused(path, "its gradients are not finite")


def _refused(path: Path, why: str) -> ModelError:
    text = f"{path} gives no gradients: {why}; open the model in its own format, or use methods that need only scores"
    return ModelError(text, model=str(path))
