"""A model whose score is the difference between the scores of two classes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from deepscope.models.heads import Head
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True, eq=False)
class Contrast(VisionModel):
    """The same network, asked why one class and not another one: what every method explains then.

    It returns two logits, the difference of the two classes' logits and 0, so that the probability of the first is
    that of the one class among the two.

    Attributes:
        pair: the class, and the class that it is contrasted with.
    """

    pair: tuple[int, int] = (0, 1)

    @classmethod
    def of(cls, model: VisionModel, pair: tuple[int, int]) -> Contrast:
        """The contrast of two classes of a model, which shares its network."""
        own = {field.name: getattr(model, field.name) for field in fields(VisionModel) if field.init}
        made = cls(**{**own, "head": Head()}, pair=pair)
        object.__setattr__(made, "outputs", model.outputs)
        return made

    def read_out(self, logits: Tensor) -> Tensor:
        """(N, C) logits of the network -> (N, 2): the difference of the two, and 0."""
        one, other = self.pair
        difference = logits[:, one] - logits[:, other]
        return torch.stack([difference, torch.zeros_like(difference)], 1)
