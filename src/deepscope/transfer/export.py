"""A classifier as an ONNX file."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepscope.errors import InputError
from deepscope.files import atomic
from deepscope.models import VisionModel
from deepscope.models.architectures import Absent


class _Probabilities(nn.Module):
    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network).cpu()
        for name, module in list(self.network.named_modules()):
            if isinstance(module, Absent):  # the exporter runs every layer, and drops those that lead nowhere
                self.network.set_submodule(name, nn.Identity())
        self.mean = torch.tensor(model.preprocessing.mean).view(-1, 1, 1)
        self.std = torch.tensor(model.preprocessing.std).view(-1, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network((pixels - self.mean) / self.std).softmax(1)


def export_onnx(model: VisionModel, path: Path) -> float:
    """Write "pixels" (N, 3, H, W) in [0, 1] -> "probabilities" (N, C), for any N.

    Returns:
        the largest difference between onnxruntime's and the model's probabilities, on random pixels.

    Raises:
        InputError: the packages are not installed, the model has no classes, or the file disagrees with it.
    """
    lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if lacking:
        raise InputError(f"{', '.join(lacking)} is not installed: pip install 'deepscope[onnx]'")
    import onnx
    import onnxruntime

    model.require_classes()
    network = _Probabilities(model).eval()
    rng = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, *model.preprocessing.size, generator=rng)
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
    about = {"preprocessing": model.preprocessing.to_json(), "categories": json.dumps(model.categories)}
    onnx.helper.set_model_props(proto, about)
    with atomic(path) as temporary:
        onnx.save(proto, temporary)
        runner = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        found = np.concatenate([np.asarray(runner.run(None, {"pixels": p.numpy()})[0]) for p in pixels.split(1)])
        difference = float(np.abs(found - wanted).max())
        if difference > 1e-3:
            raise InputError(f"{model.name} does not survive the export to ONNX: it differs by {difference:.2g}")
    return difference
