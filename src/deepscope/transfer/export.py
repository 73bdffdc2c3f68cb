"""Export a classifier as an ONNX file."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscope.errors import DataError, MissingExtraError, ModelError, SettingError
from deepscope.files import atomic
from deepscope.images import Skipped
from deepscope.inputs import Images, nothing_readable, read
from deepscope.models import VisionModel
from deepscope.models.architectures import Absent
from deepscope.models.capabilities import LAYERS, require
from deepscope.models.heads import in_words
from deepscope.models.preprocessing import normalised
from deepscope.render import Presented
from deepscope.session import Session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True)
class Agreement:
    """The agreement of an ONNX file with the model on images.

    Attributes:
        images: compared.
        same: of these, with the same most probable class.
        difference: the largest between two probabilities.
        skipped: images that could not be read, and why.
    """

    images: int
    same: int
    difference: float
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, eq=False)
class Export(Presented):
    """An ONNX file of a classifier, compared with it.

    Attributes:
        model: the classifier.
        path: the file.
        bytes: its size.
        difference: the largest between two probabilities of the file and the model, on random pixels.
        on_images: the same on images; None where none were given.
    """

    model: VisionModel
    path: Path
    bytes: int
    difference: float
    on_images: Agreement | None = None

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row: the file."""
        found = self.on_images
        return {
            "path": [str(self.path)],
            "bytes": [self.bytes],
            "difference": [self.difference if found is None else found.difference],
            "images": [found.images if found else 0],
            "same": [found.same if found else 0],
        }


def export(
    model: VisionModel,
    path: str | Path,
    *,
    check: Images | None = None,
    batch_size: int = 32,
    session: Session | None = None,
) -> Export:
    """Write a classifier as an ONNX file, for programs without Python.

    The file takes "pixels", (N, C, H, W) float32 in [0, 1], and gives "probabilities", (N, C). Its metadata holds the
    preprocessing, the categories and the model's fingerprint. It is compared with the model before it is saved.

    Args:
        model: a classifier.
        path: the file to write.
        check: images on which the file and the model are also compared.
        batch_size: images per forward pass.
        session: progress.

    Raises:
        MissingExtraError: the packages are not installed.
        ModelError: the model has no classes, or the file disagrees with it.
        UnsupportedError: the model is a black box.
        DataError: no image to check on could be read.

    Example:
        >>> import tempfile, deepscope as ds
        >>> from deepscope.transfer import export
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = export(ds.load_model("efficientnet_lite0"), f"{folder}/model.onnx")
        >>> written.difference < 1e-3
        True
    """
    session = Session.of(session, device=model.device)
    path = Path(path)
    difference = export_onnx(model, path)
    size = path.stat().st_size
    agreement = None if check is None else compare_onnx(model, path, check, session, batch_size=batch_size)
    return Export(model, path, size, difference, agreement)


class _Probabilities(nn.Module):
    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network).cpu()
        for name, module in list(self.network.named_modules()):
            if isinstance(module, Absent):  # the exporter runs every layer, and drops those that lead nowhere
                self.network.set_submodule(name, nn.Identity())
        self.outputs, self.head = model.outputs, model.head
        self.mean = torch.tensor(model.preprocessing.mean).view(-1, 1, 1)
        self.std = torch.tensor(model.preprocessing.std).view(-1, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head.probabilities(self.outputs(self.network, normalised(pixels, self.mean, self.std)))


def export_onnx(model: VisionModel, path: Path) -> float:
    """Write "pixels" (N, 3, H, W) in [0, 1] -> "probabilities" (N, C), for any N.

    Returns:
        The largest difference between onnxruntime's and the model's probabilities, on two images of random pixels, one
        by one and together.

    Raises:
        MissingExtraError: the packages are not installed.
        ModelError: the model has no classes, or the file disagrees with it.
    """
    if any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise MissingExtraError("onnx", "an export to ONNX")
    import onnx
    import onnxruntime

    model.require_classes()
    require(model, "an export to ONNX", LAYERS)
    if model.head.kind == "binary" and model.head.thresholds:
        problem = f"of {model.name} cannot be exported: an ONNX file gives probabilities, not decisions"
        raise SettingError("thresholds", problem)
    rng = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, model.planes, *model.preprocessing.size, generator=rng)
    with torch.no_grad():
        model(pixels.to(model.device))  # determines what the network returns, which the export cannot
    network = _Probabilities(model).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # warnings of the exporter about its internals
        program = torch.onnx.export(
            network,
            (pixels,),
            dynamo=True,
            verbose=False,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("images")}},
        )
        wanted = network(pixels).numpy()
    assert program is not None
    proto = program.model_proto
    about = {
        "preprocessing": model.preprocessing.to_json(),
        "categories": json.dumps(model.categories),
        "fingerprint": model.fingerprint,
        "head": "multilabel" if model.head.kind == "multilabel" else "softmax",
        "thresholds": in_words(model.head.thresholds if model.head.kind == "multilabel" else None),
    }
    onnx.helper.set_model_props(proto, about)
    with atomic(path) as temporary:
        onnx.save(proto, temporary)
        runner = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        difference = max(_difference(runner, pixels.split(size), wanted) for size in (1, len(pixels)))
        if not difference <= 1e-3:
            raise ModelError(
                f"{model.name} cannot be exported to ONNX: the file's probabilities differ by {difference:.2g}",
                model=model.name,
            )
    return difference


def _difference(runner: InferenceSession, parts: Sequence[Tensor], wanted: NDArray[np.float32]) -> float:
    """The largest difference from the wanted probabilities where the file is run on the parts one by one."""
    found = np.concatenate([np.asarray(runner.run(None, {"pixels": part.numpy()})[0]) for part in parts])
    return float(np.abs(found - wanted).max())


def compare_onnx(
    model: VisionModel, path: Path, images: Images, session: Session, *, batch_size: int = 32
) -> Agreement:
    """Run the file that `export_onnx` wrote and the model, in float32, on the same images.

    Raises:
        DataError: no image could be read.
    """
    import onnxruntime

    runner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    count, same, difference = 0, 0, 0.0
    skipped: list[Skipped] = []
    for batch in read(model, images, session, batch_size=batch_size, text="comparing"):
        skipped += batch.skipped
        if batch.rows:
            with torch.inference_mode():
                wanted = model.probabilities(model(batch.pixels.to(model.device))).cpu().numpy()
            found = np.asarray(runner.run(None, {"pixels": batch.pixels.numpy()})[0])
            count += len(found)
            same += int((found.argmax(1) == wanted.argmax(1)).sum())
            difference = max(difference, float(np.abs(found - wanted).max()))
    if not count:
        raise DataError(nothing_readable(skipped))
    return Agreement(count, same, difference, tuple(skipped))
