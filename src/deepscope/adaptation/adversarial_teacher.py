"""Domain-adversarial training and a teacher's pseudo-labels together: the strongest of the methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.dann import Dann
from deepscope.adaptation.networks import DomainNetwork
from deepscope.adaptation.pseudo_labels import PseudoLabels
from deepscope.training import Moment


@dataclass(frozen=True)
class AdversarialTeacher(Adaptation):
    """DANN aligns the domains until a moving-average teacher's labels can be trusted; from then on both are used.

    Ganin and Lempitsky 2015 with French et al. 2018.

    Attributes:
        factor: of the reversal, at most.
        confidence: least probability of a pseudo-label by the teacher.
        decay: of the teacher's moving average, per step.
        warmup: share of the training before pseudo-labels are used.
        weight: of the pseudo-labels' loss.
    """

    factor: float = 0.3
    confidence: float = 0.9
    decay: float = 0.999
    warmup: float = 0.1
    weight: float = 1.0

    def begin(self, network: DomainNetwork) -> nn.Module:
        """The domain classifier and the teacher."""
        return nn.ModuleDict({"domain": self._dann.begin(network), "teacher": self._teacher.begin(network)})

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The sum of both methods' losses."""
        domain, about_domain = self._dann.loss(seen, own.get_submodule("domain"))
        labels, about_labels = self._teacher.loss(seen, own.get_submodule("teacher"))
        return domain + labels, {**about_domain, **about_labels}

    def after(self, network: DomainNetwork, own: nn.Module, moment: Moment) -> None:
        """Update the teacher."""
        self._teacher.after(network, own.get_submodule("teacher"), moment)

    def result(self, network: DomainNetwork, own: nn.Module) -> DomainNetwork:
        """The teacher."""
        return self._teacher.result(network, own.get_submodule("teacher"))

    @property
    def _dann(self) -> Dann:
        return Dann(self.factor)

    @property
    def _teacher(self) -> PseudoLabels:
        return PseudoLabels(self.confidence, self.decay, self.warmup, self.weight)
