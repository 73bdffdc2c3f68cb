"""A classifier as an ONNX file."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepscope import images
from deepscope.errors import DeepscopeError
from deepscope.files import atomic
from deepscope.models import VisionModel
from deepscope.models.architectures import Absent
from deepscope.models.prediction import nothing_readable
from deepscope.models.preprocessing import normalised
from deepscope.session import Session


class _Probabilities(nn.Module):
    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network).cpu()
        for name, module in list(self.network.named_modules()):
            if isinstance(module, Absent):  # the exporter runs every layer, and drops those that lead nowhere
                self.network.set_submodule(name, nn.Identity())
        self.outputs = model.outputs
        self.mean = torch.tensor(model.preprocessing.mean).view(-1, 1, 1)
        self.std = torch.tensor(model.preprocessing.std).view(-1, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.outputs(self.network, normalised(pixels, self.mean, self.std)).softmax(1)


def export_onnx(model: VisionModel, path: Path) -> float:
    """Write "pixels" (N, 3, H, W) in [0, 1] -> "probabilities" (N, C), for any N.

    Returns:
        the largest difference between onnxruntime's and the model's probabilities, on random pixels.

    Raises:
        DeepscopeError: the packages are not installed, the model has no classes, or the file disagrees with it.
    """
    lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if lacking:
        raise DeepscopeError(f"{', '.join(lacking)} is not installed: pip install 'deepscope[onnx]'")
    import onnx
    import onnxruntime

    model.require_classes()
    rng = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, *model.preprocessing.size, generator=rng)
    with torch.no_grad():
        model(pixels.to(model.device))  # decides what the network returns, which an export cannot
    network = _Probabilities(model).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
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
    }
    onnx.helper.set_model_props(proto, about)
    with atomic(path) as temporary:
        onnx.save(proto, temporary)
        runner = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        found = np.concatenate([np.asarray(runner.run(None, {"pixels": p.numpy()})[0]) for p in pixels.split(1)])
        difference = float(np.abs(found - wanted).max())
        if difference > 1e-3:
            raise DeepscopeError(f"{model.name} does not survive the export to ONNX: it differs by {difference:.2g}")
    return difference


@dataclass(frozen=True)
class Agreement:
    """How an ONNX file answers images that the model has answered.

    Attributes:
        images: compared.
        same: of these, with the same most probable class.
        difference: the largest between two probabilities.
        skipped: images that could not be read, and why.
    """

    images: int
    same: int
    difference: float
    skipped: tuple[images.Skipped, ...]


def compare_onnx(model: VisionModel, path: Path, sources: Sequence[images.Source], session: Session) -> Agreement:
    """Run the file that `export_onnx` wrote and the model, in float32, on the same images.

    Raises:
        DeepscopeError: no image could be read.
    """
    import onnxruntime

    runner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    count, same, difference, skipped = 0, 0, 0.0, []
    with session.progress("comparing", total=len(sources)) as advance:
        for batch in images.stream(sources, model.preprocessing, batch_size=32):
            skipped.extend(batch.skipped)
            if batch.rows:
                with torch.inference_mode():
                    wanted = model(batch.pixels.to(model.device)).softmax(1).cpu().numpy()
                found = np.asarray(runner.run(None, {"pixels": batch.pixels.numpy()})[0])
                count += len(found)
                same += int((found.argmax(1) == wanted.argmax(1)).sum())
                difference = max(difference, float(np.abs(found - wanted).max()))
            advance(len(batch.rows) + len(batch.skipped))
    if not count:
        raise DeepscopeError(nothing_readable(skipped))
    return Agreement(count, same, difference, tuple(skipped))
