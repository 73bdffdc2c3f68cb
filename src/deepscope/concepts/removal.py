"""A class score after concepts were removed from a layer's output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.concepts.factors import Factors
from deepscope.concepts.rest import Rest
from deepscope.errors import UnsupportedError
from deepscope.models import VisionModel
from deepscope.models.feature_map import as_map
from deepscope.models.layouts import Layout, layout

_AT_ONCE = 64
"""Outputs of the layer that exist at a time."""


class Removal:
    """Removes concepts from the output of a layer, and computes the class score by the rest of the network.

    Args:
        model: a classifier.
        layer: with a feature map.
        label: the class.
        factors: the concepts.
    """

    def __init__(self, model: VisionModel, layer: str, label: int, factors: Factors) -> None:
        self.model, self.layer, self.label, self.factors = model, layer, label, factors
        self._rest = Rest(model, layer)
        self._bank = torch.from_numpy(factors.bank)

    def maps(self, pixels: Tensor) -> NDArray[np.float32]:
        """(1, C, H, W) pixels of an image -> (1, k, h, w) coefficients of the concepts at each position."""
        with torch.inference_mode():
            found = as_map(self.model, self.layer, self._output(pixels), pixels)[0].float().cpu()
        channels, *grid = found.shape
        coefficients = self.factors.coefficients(found.reshape(channels, -1).T.numpy())
        return coefficients.T.reshape(1, -1, *grid)

    def of(self, pixels: Tensor, maps: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        """The score of an image as a function of the concepts that are kept.

        Args:
            pixels: (1, C, H, W) of the image.
            maps: (k, h, w) its coefficients.

        Returns:
            (M, k) shares of each concept that are kept, from 0 to 1 -> (M,) scores. With all of them it is the score of
            the image itself: what concepts do not explain stays.
        """
        with torch.no_grad():
            output = self._output(pixels)
        known = layout(self.model, self.layer, pixels)
        if known is None:  # as_map has seen one before
            raise UnsupportedError(f"layer {self.layer!r} of {self.model.name} gives no feature map", what=self.layer)
        coefficients = torch.from_numpy(maps).to(output)

        def score(kept: NDArray[np.float32]) -> NDArray[np.float64]:
            parts = torch.from_numpy(np.asarray(kept, np.float32)).to(output).split(_AT_ONCE)
            return np.concatenate([self._scores(pixels, output, known, coefficients, part) for part in parts])

        return score

    def _scores(
        self, pixels: Tensor, output: Tensor, known: Layout, coefficients: Tensor, kept: Tensor
    ) -> NDArray[np.float64]:
        replaced = output.expand(len(kept), *output.shape[1:]).clone()
        maps = known.maps(replaced)
        assert maps is not None
        removed = (1 - kept)[:, :, None, None] * coefficients
        maps -= torch.einsum("mkhw,kc->mchw", removed, self._bank.to(output))  # a view of `replaced`
        logits = self._rest(pixels.to(self.model.device), replaced)
        labels = torch.full((len(kept),), self.label, device=logits.device)
        return self.model.objective(logits, labels).double().cpu().numpy()

    def _output(self, pixels: Tensor) -> Tensor:
        return self.model.activations(pixels.to(self.model.device), [self.layer])[self.layer]
