"""Adversarial examples: attacks, their goals, and the judge of what succeeded."""

from deepscope.attacks.attack import Attack, Bounded, Norm, Shared, distance
from deepscope.attacks.auto_pgd import AutoPGD
from deepscope.attacks.boundary import Boundary
from deepscope.attacks.carlini_wagner import CarliniWagner
from deepscope.attacks.ddn import DDN
from deepscope.attacks.deepfool import DeepFool
from deepscope.attacks.fooling import Fooling
from deepscope.attacks.goals import Goal, Targeted, Untargeted
from deepscope.attacks.one_pixel import OnePixel
from deepscope.attacks.patch import Patch
from deepscope.attacks.pgd import FGSM, PGD, PGDL2, MomentumPGD
from deepscope.attacks.square import Square
from deepscope.attacks.universal import Universal
from deepscope.registry import discover

__all__ = [
    "DDN",
    "FGSM",
    "PGD",
    "PGDL2",
    "Attack",
    "AutoPGD",
    "Boundary",
    "Bounded",
    "CarliniWagner",
    "DeepFool",
    "Fooling",
    "Goal",
    "MomentumPGD",
    "Norm",
    "OnePixel",
    "Patch",
    "Shared",
    "Square",
    "Targeted",
    "Universal",
    "Untargeted",
    "distance",
]

discover(__name__)
