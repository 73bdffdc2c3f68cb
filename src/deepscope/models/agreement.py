"""Whether what an engine computes may stand for what PyTorch computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.models.outputs import Outputs

Agree = Callable[[Tensor, Tensor], bool]
"""Whether an engine's outputs may stand for PyTorch's: (found, wanted)."""


def scores_agree(outputs: Outputs) -> Agree:
    """The same predictions, and probabilities within 1e-3, of what a network returns."""

    def agree(found: Tensor, wanted: Tensor) -> bool:
        if found.shape != wanted.shape:
            return False
        head = outputs.head
        logits = [outputs._scores(scores, outputs.kind or "logits") for scores in (found, wanted)]
        one, other = (head.probabilities(scores) for scores in logits)
        same = torch.equal(*(head.predictions(scores) for scores in logits))
        return same and bool(((one - other).abs() <= 1e-3).all())

    return agree


def features_agree(widths: Sequence[int]) -> Agree:
    """A cosine of at least 0.9995 between each image's vectors, layer by layer: long vectors do not hide short ones.

    Args:
        widths: of the layers' vectors, which are joined.
    """

    def agree(found: Tensor, wanted: Tensor) -> bool:
        if found.shape != wanted.shape:
            return False
        layers = zip(found.split(list(widths), 1), wanted.split(list(widths), 1), strict=True)
        return all(bool((functional.cosine_similarity(*pair) >= 0.9995).all()) for pair in layers)

    return agree
