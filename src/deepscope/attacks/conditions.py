"""`Conditions`: at which radii, behind which defences and on which other networks attacks are evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deepscope.attacks.base import Norm
from deepscope.attacks.defences import DEFENCES, Defence
from deepscope.errors import SettingError
from deepscope.models import VisionModel
from deepscope.settings import LINF_RADIUS, Range

RADII = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
L2_RADII = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Conditions:
    """Where the examples of an attack are evaluated.

    Attributes:
        radii: of attacks bounded in Linf: the largest change of a channel, pixels in [0, 1].
        l2_radii: of attacks bounded in L2: Euclidean length of the change, pixels in [0, 1].
        defences: functions of pixels (N, 3, H, W), by name; the attacks do not know about them.
        transfer_to: networks of the same classes, which the examples are shown to afterwards.
    """

    radii: Sequence[float] = RADII
    l2_radii: Sequence[float] = L2_RADII
    defences: Mapping[str, Defence] = field(default_factory=lambda: DEFENCES)
    transfer_to: Sequence[VisionModel] = ()

    def by_norm(self) -> dict[Norm, tuple[float, ...]]:
        """The radii in ascending order. Raises SettingError where one is out of range."""
        for setting, values, allowed in (
            ("radii", self.radii, LINF_RADIUS),
            ("l2_radii", self.l2_radii, Range(above=True)),
        ):
            for value in values:
                allowed.check(setting, value)
        return {"linf": tuple(sorted(set(self.radii))), "l2": tuple(sorted(set(self.l2_radii))), "l1": (), "l0": ()}


def radius_name(radius: float) -> str:
    """A radius as metrics name it: four significant digits, or "any"."""
    return "any" if math.isinf(radius) else f"{radius:.4g}"


def require_same_classes(model: VisionModel, others: Sequence[VisionModel]) -> None:
    """Raises SettingError where a network to transfer to has other classes, or the name of another one."""
    names = [other.name for other in others]
    for row, other in enumerate(others):
        if other.categories != model.categories:
            problem = f"{other.name} has other classes than {model.name}: give a network of the same classes"
            raise SettingError("transfer_to", problem)
        if other.name in names[:row]:
            raise SettingError("transfer_to", f"must not name {other.name} twice")
