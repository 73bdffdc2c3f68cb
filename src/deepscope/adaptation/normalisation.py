"""Adaptation of the statistics of batch normalisation only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen, nothing


@dataclass(frozen=True)
class AdaptiveNormalisation(Adaptation):
    """Each domain is normalised by its own statistics, and nothing else is adapted (Li et al. 2016).

    It needs a network whose batch normalisation keeps "domain" statistics.
    """

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Nothing is added: the pass through the network updated the statistics."""
        del own
        return nothing(seen), {}
