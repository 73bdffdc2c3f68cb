"""No adaptation: the lower bound. Given labelled target images as its source, the upper bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen, nothing


@dataclass(frozen=True)
class SourceOnly(Adaptation):
    """Train on the source only, with the same network and augmentation as every method (Ganin and Lempitsky 2015)."""

    uses_target: ClassVar[bool] = False

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Nothing is added."""
        del own
        return nothing(seen), {}
