"""Adversarial examples: attacks, their criteria, and the evaluator that decides what succeeded.

`attack` and `evaluate_attacks` take a model and images in any form; a method itself takes and returns tensors.
"""

from deepscope.attacks.adaptive import averaged, defended
from deepscope.attacks.auto import Stage, Strength, WorstCase, worst_case
from deepscope.attacks.auto_pgd import AutoPGD
from deepscope.attacks.base import Attack, Bounded, Norm, Shared, distance
from deepscope.attacks.boundary import Boundary
from deepscope.attacks.carlini_wagner import CarliniWagner
from deepscope.attacks.certify import Certificates, certify
from deepscope.attacks.conditions import Conditions
from deepscope.attacks.criteria import Criterion, Targeted, Untargeted
from deepscope.attacks.ddn import DDN
from deepscope.attacks.deepfool import DeepFool
from deepscope.attacks.evaluation import AttackEvaluation, MethodEvaluation, evaluate_attacks
from deepscope.attacks.evaluator import Verdict
from deepscope.attacks.fab import FAB
from deepscope.attacks.fooling import Fooling
from deepscope.attacks.hop_skip_jump import HopSkipJump
from deepscope.attacks.masking import Masking, Sign, gradient_masking
from deepscope.attacks.one_pixel import OnePixel
from deepscope.attacks.outcome import Outcome
from deepscope.attacks.patch import Patch
from deepscope.attacks.pgd import FGSM, PGD, PGDL2, MomentumPGD
from deepscope.attacks.smoothing import Smoothing
from deepscope.attacks.spatial import Spatial
from deepscope.attacks.square import Square
from deepscope.attacks.subjects import Subjects
from deepscope.attacks.universal import Universal
from deepscope.attacks.workflow import AdversarialExamples, attack
from deepscope.registry import discover

__all__ = [
    "DDN",
    "FAB",
    "FGSM",
    "PGD",
    "PGDL2",
    "AdversarialExamples",
    "Attack",
    "AttackEvaluation",
    "AutoPGD",
    "Boundary",
    "Bounded",
    "CarliniWagner",
    "Certificates",
    "Conditions",
    "Criterion",
    "DeepFool",
    "Fooling",
    "HopSkipJump",
    "Masking",
    "MethodEvaluation",
    "MomentumPGD",
    "Norm",
    "OnePixel",
    "Outcome",
    "Patch",
    "Shared",
    "Sign",
    "Smoothing",
    "Spatial",
    "Square",
    "Stage",
    "Strength",
    "Subjects",
    "Targeted",
    "Universal",
    "Untargeted",
    "Verdict",
    "WorstCase",
    "attack",
    "averaged",
    "certify",
    "defended",
    "distance",
    "evaluate_attacks",
    "gradient_masking",
    "worst_case",
]

discover(__name__)
