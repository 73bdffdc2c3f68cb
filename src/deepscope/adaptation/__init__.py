"""Domain adaptation: from a labelled source to a target without labels.

`adapt`, `tune` (without source images) and `evaluate` are the workflows; `adapt_network` trains a network on tensors.
"""

from deepscope.adaptation.adapt import AdaptedModel, adapt
from deepscope.adaptation.adaptation import Adaptation, Seen, View
from deepscope.adaptation.adversarial_teacher import AdversarialTeacher
from deepscope.adaptation.augmentation import Augmentation
from deepscope.adaptation.auto import Auto
from deepscope.adaptation.cdan import Cdan
from deepscope.adaptation.class_confusion import MinimumClassConfusion
from deepscope.adaptation.classifier_discrepancy import MaximumClassifierDiscrepancy
from deepscope.adaptation.coral import Coral
from deepscope.adaptation.dann import Dann
from deepscope.adaptation.distance import proxy_a_distance
from deepscope.adaptation.domain_norm import SOURCE, TARGET
from deepscope.adaptation.domains import Domains
from deepscope.adaptation.entropy import EntropyMinimisation
from deepscope.adaptation.evaluate import DomainEvaluation, evaluate
from deepscope.adaptation.gradient_reversal import reverse
from deepscope.adaptation.loading import load_domains
from deepscope.adaptation.mmd import MaximumMeanDiscrepancy
from deepscope.adaptation.networks import DigitNetwork, DomainNetwork, FeatureNetwork
from deepscope.adaptation.normalisation import AdaptiveNormalisation
from deepscope.adaptation.pseudo_labels import PseudoLabels
from deepscope.adaptation.recipe import PAPER, Recipe
from deepscope.adaptation.self_training import SelfTraining
from deepscope.adaptation.source_only import SourceOnly
from deepscope.adaptation.statistics_of_target import Statistics
from deepscope.adaptation.step import Labelled
from deepscope.adaptation.tent import Tent
from deepscope.adaptation.training import Adapted, Record, Watch, adapt_network, run
from deepscope.adaptation.tune import TunedModel, tune
from deepscope.adaptation.tuning import Tuning
from deepscope.adaptation.validators import Outputs, Validator
from deepscope.adaptation.vat import VirtualAdversarial
from deepscope.registry import discover

__all__ = [
    "PAPER",
    "SOURCE",
    "TARGET",
    "Adaptation",
    "Adapted",
    "AdaptedModel",
    "AdaptiveNormalisation",
    "AdversarialTeacher",
    "Augmentation",
    "Auto",
    "Cdan",
    "Coral",
    "Dann",
    "DigitNetwork",
    "DomainEvaluation",
    "DomainNetwork",
    "Domains",
    "EntropyMinimisation",
    "FeatureNetwork",
    "Labelled",
    "MaximumClassifierDiscrepancy",
    "MaximumMeanDiscrepancy",
    "MinimumClassConfusion",
    "Outputs",
    "PseudoLabels",
    "Recipe",
    "Record",
    "Seen",
    "SelfTraining",
    "SourceOnly",
    "Statistics",
    "Tent",
    "TunedModel",
    "Tuning",
    "Validator",
    "View",
    "VirtualAdversarial",
    "Watch",
    "adapt",
    "adapt_network",
    "evaluate",
    "load_domains",
    "proxy_a_distance",
    "reverse",
    "run",
    "tune",
]

discover(__name__)
