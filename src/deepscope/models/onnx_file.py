"""An ONNX file, read and checked before anything in it runs: operators, external data, inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deepscope.errors import FileError
from deepscope.files import sha256
from deepscope.models.preprocessing import MOST_CHANNELS, MOST_PIXELS

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

Layout = Literal["NCHW", "NHWC"]

MOST_BYTES = 2**31
"""Of the file itself: what Protocol Buffers allow."""
_MOST_EXTERNAL = 2**34
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Whose operators ONNX Runtime brings; any other would need a library of the file's author."""
_ENDLESS = ("Loop", "Scan")
_OUTSIDE = ("PythonOp", "ATen", "EPContext")
"""Operators of `com.microsoft` that run code or open files that are not the graph's own."""


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of itself.

    Attributes:
        path: of the file.
        content: its bytes; external data are other files.
        input: name of the only input.
        dtype: of its values, as NumPy calls it.
        layout: of its axes.
        batch: images per pass where the graph fixes it; None where it takes any number.
        channels: 3 of RGB images, 1 of grey ones, or those of stacks.
        size: height and width where the graph fixes them.
        outputs: names, in order.
        last: the operator that computes the first output.
        metadata: key -> text.
        sha256: of the file and its external data.
    """

    path: Path
    content: bytes
    input: str
    dtype: str
    layout: Layout
    batch: int | None
    channels: int
    size: tuple[int, int] | None
    outputs: tuple[str, ...]
    last: str
    metadata: Mapping[str, str]
    sha256: str


def read(path: Path) -> OnnxFile:
    """Read an ONNX file without running it.

    Raises:
        FileError: it is no ONNX file, has external data outside of its folder, operators that need other code or may
            run forever, or an input that is not one batch of images.
    """
    model, content = _parsed(path)
    for node in _nodes(model):
        if node.domain not in _DOMAINS and not any(node.domain == own.domain for own in model.functions):
            raise FileError(
                f"{path} uses the operator {node.domain}.{node.op_type}, which needs code of its author: export the "
                "model with standard ONNX operators",
                path=path,
            )
        if node.op_type in _ENDLESS or (node.domain == "com.microsoft" and node.op_type in _OUTSIDE):
            raise FileError(
                f"{path} uses {node.op_type}, which a classifier of images does not need and which may run without "
                "end, or other code: export the model without it",
                path=path,
            )
    digest = hashlib.sha256(content)
    for file in _external(model, path):
        digest.update(sha256(file).encode())
    graph = model.graph
    given = _only_input(graph, path)
    layout, (batch, channels, height, width) = _shape(given, path)
    producer = next((node.op_type for node in graph.node if graph.output[0].name in node.output), "")
    return OnnxFile(
        path,
        content,
        given.name,
        _dtype(given, path),
        layout,
        batch,
        channels,
        (height, width) if height and width else None,
        tuple(output.name for output in graph.output),
        producer,
        {entry.key: entry.value for entry in model.metadata_props},
        digest.hexdigest(),
    )


def _parsed(path: Path) -> tuple[ModelProto, bytes]:
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise FileError(f"{path} is not an ordinary file", path=path)
    if path.stat().st_size > MOST_BYTES:
        raise FileError(f"{path} is larger than 2 GB: export its weights as external data", path=path)
    try:
        content = path.read_bytes()
        model = onnx.ModelProto.FromString(content)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}", path=path) from None
    except (DecodeError, RecursionError):
        model, content = None, b""
    if model is None or not model.graph.output or not model.opset_import:
        raise FileError(f"{path} is not an ONNX model, or is cut off: copy or export it again", path=path)
    return model, content


def _graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The main graph and those inside of operators, such as both branches of an If, at any depth."""
    waiting = [model.graph]
    for function in model.functions:
        waiting += _inside_of(function.node)
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += _inside_of(graph.node)


def _inside_of(nodes: Iterable[NodeProto]) -> list[GraphProto]:
    attributes = [attribute for node in nodes for attribute in node.attribute]
    return [graph for one in attributes for graph in (*([one.g] if one.HasField("g") else []), *one.graphs)]


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)


def _external(model: ModelProto, path: Path) -> list[Path]:
    """The files that hold external data, all inside of the model's folder and as long as the model says."""
    from onnx import TensorProto

    folder = path.parent.resolve()
    found: dict[Path, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "")
        file = _below(folder, location)
        if file is None:
            raise FileError(
                f"{path} reads {location[:200]!r}, which is not a file inside its folder: put the data beside the "
                "model, or export it again",
                path=path,
            )
        try:
            offset, length = int(said.get("offset", 0)), int(said.get("length", 0))
            end = offset + length if offset >= 0 and length >= 0 else -1
        except ValueError:
            end = -1
        size = file.stat().st_size
        if not 0 <= end <= size or size > _MOST_EXTERNAL:
            raise FileError(
                f"{file} has {size:,} bytes, which is not what {path.name} says: copy both again", path=file
            )
        found[file] = size
    if sum(found.values()) > _MOST_EXTERNAL:
        raise FileError(f"{path} has more than 16 GB of external data: it is not supported", path=path)
    return sorted(found)


def _below(folder: Path, location: str) -> Path | None:
    """The file of that name, where it is an ordinary one inside of the folder, links followed."""
    try:
        file = (folder / location).resolve()
        return file if file.is_relative_to(folder) and file != folder and file.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _only_input(graph: GraphProto, path: Path) -> ValueInfoProto:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs[:4]) or "none"
        raise FileError(f"{path} has {len(inputs)} inputs ({names}): a classifier takes one, images", path=path)
    return inputs[0]


def _shape(given: ValueInfoProto, path: Path) -> tuple[Layout, tuple[int | None, int, int | None, int | None]]:
    """The layout, and batch, channels, height and width, as far as the graph fixes them."""
    axes = [axis.dim_value if axis.dim_value > 0 else None for axis in given.type.tensor_type.shape.dim]
    if len(axes) != 4:
        raise FileError(
            f"{path} takes an input of {len(axes)} axes: images need 4, (N, 3, H, W) or (N, H, W, 3)", path=path
        )
    batch, second, third, fourth = axes
    last = fourth in (1, 3) and second not in (1, 3)
    channels, height, width = (fourth, second, third) if last else (second, third, fourth)
    if channels not in (1, 3, None) and not 1 < channels <= min(MOST_CHANNELS, (height or 65) - 1, (width or 65) - 1):
        shape = f"(N, C, H, W) with at most {MOST_CHANNELS} channels"
        raise FileError(f"{path} takes images of {channels} channels: give a network for {shape}", path=path)
    if (height or 1) * (width or 1) > MOST_PIXELS or (batch or 1) > 4096:
        raise FileError(f"{path} takes {batch or 1} images of {height} x {width} pixels: too many", path=path)
    return "NHWC" if last else "NCHW", (batch, channels or 3, height, width)


def _dtype(given: ValueInfoProto, path: Path) -> str:
    from onnx import TensorProto

    names: dict[int, str] = {
        TensorProto.FLOAT: "float32",
        TensorProto.FLOAT16: "float16",
        TensorProto.DOUBLE: "float64",
    }
    names[TensorProto.UINT8] = "uint8"
    dtype = names.get(given.type.tensor_type.elem_type)
    if dtype is None:
        raise FileError(f"{path} takes neither floating-point numbers nor bytes as {given.name!r}", path=path)
    return dtype
