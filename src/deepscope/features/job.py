"""Features as a job in parts: one vector per image, of any number of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.batch import Job, Rows, Tally, alone
from deepscope.batch.job import Columns, Run
from deepscope.features.extraction import backbone_of
from deepscope.features.inference import accelerated
from deepscope.features.layers import class_layer_input, require
from deepscope.inputs import Read
from deepscope.models import VisionModel
from deepscope.models.batching import in_parts
from deepscope.models.classifier import Pooling
from deepscope.session import Session


@dataclass(frozen=True)
class FeaturesJob(Job):
    """One row per image: the output of a layer as a vector.

    Attributes:
        layer: its name; None takes what the class layer reads.
        pooling: how maps become a vector.
    """

    name: ClassVar[str] = "features"
    usual: ClassVar[int] = 256

    layer: str | None = None
    pooling: Pooling = "mean"

    def columns(self) -> Columns:
        """The vector; the class that a folder or a table names; and which of the model's classes it is."""
        return {"features": "list<float32>", "class": "string", "truth": "list<string>"}

    def open(self, model: VisionModel, session: Session) -> Run:
        """The network up to the layer, with batch norms folded; single images on a CPU, equal batches elsewhere."""
        layer = self.layer or class_layer_input(model)
        require(model, layer)
        noise = torch.rand(1, 3, *model.preprocessing.size, generator=session.rng("example")).to(session.device)
        backbone = backbone_of(model, [(layer, self.pooling)])
        quick = accelerated(backbone, noise, bfloat16=session.precision == "bfloat16")
        size = alone(session, self.batch_size)

        def vectors(pixels: Tensor) -> Tensor:
            with torch.inference_mode():
                return quick(pixels.to(session.device).contiguous(memory_format=torch.channels_last))[0].cpu()

        def run(batch: Read) -> Rows:
            found: list[Tensor] = []
            for part in batch.pixels.split(size):
                filled = functional.pad(part, (0, 0, 0, 0, 0, 0, 0, size - len(part)))
                found.append(in_parts(vectors, filled)[: len(part)])
            names = [[model.categories[label] for label in sorted(answer)] or None for answer in batch.answers]
            columns = {"features": list(torch.cat(found).numpy()), "class": batch.named, "truth": names}
            return Rows(range(len(names)), columns, Tally())

        return run

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """None: vectors have no figure."""
        return {}
