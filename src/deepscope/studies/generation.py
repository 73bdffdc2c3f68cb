"""Chapter 4 of the report (Delefosse and Vin): DCGAN and conditional DCGAN on all of MNIST, and their quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import numpy as np

from deepscope.command import Headline
from deepscope.gans import Architecture, Recipe, diagnose, r1_regularised
from deepscope.render.text import amount, share
from deepscope.results import Block, Result
from deepscope.session import Session
from deepscope.settings import Positive
from deepscope.statistics import Estimate
from deepscope.studies import generation_shown as shown
from deepscope.studies.generation_runs import Arm, TrainedGANs, epochs_until
from deepscope.studies.generation_study import GenerationStudy, require
from deepscope.studies.study import Answer, Budget

_PLAIN, _CONDITIONAL, _DIVIDED, _CLUSTERS = "unconditional", "conditional", "conditional-clusters", "clusters"


@dataclass(frozen=True)
class Generation(GenerationStudy):
    """DCGAN and conditional DCGAN on MNIST, and the quality of their images.

    The discriminator has no normalisation and is R1-regularised, an option of `gan train`;
    `generation-questions` trains with DCGAN's own settings.

    Every training and measurement is kept (in the output folder, else in the cache): the same command resumes an
    interrupted study, and more seeds add to it.

    Attributes:
        seeds: trainings per arm, with consecutive seeds.
        epochs: epochs per training.
        batch_size: images per update.
        images: number of training digits; by default all.
        samples: generated images that each arm is measured on.
        evaluator: folder that `gan evaluator` wrote; by default the one in the package, else one is trained.
        width: channels of the generator's last hidden layer.
        discriminator_width: channels of the discriminator's first layer.
        clusters: number of clusters that replace classes in the arm without labels.
        clusters_per_class: number of clusters that divide each class in an arm of its own; 0 leaves the arm out.
        r1: weight of the R1 penalty at the start; a short training of small networks needs a lower one.
    """

    title: ClassVar[str] = "Generation of MNIST's digits"
    scored = (_CONDITIONAL, _DIVIDED)
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1.25, "full": 225}

    _: KW_ONLY
    width: int = 32
    discriminator_width: int = 32
    clusters: int = 50
    clusters_per_class: int = 10
    r1: Positive = 10.0

    @classmethod
    def within(cls, budget: Budget) -> Generation:
        """A few epochs of small networks on two thousand digits from one seed, or everything."""
        if budget == "full":
            return cls()
        few = cls(seeds=1, epochs=6, batch_size=16, images=2000, samples=1000)
        return replace(few, width=8, discriminator_width=8, clusters=20, clusters_per_class=0, r1=2.0)

    @property
    def arms(self) -> list[Arm]:
        """Without classes, with classes, with clusters within classes, and with clusters in place of classes."""
        least = 2 if self.clusters_per_class else 0
        require(self, epochs=1, width=1, discriminator_width=1, clusters=2, clusters_per_class=least)
        networks, recipe = r1_regularised(
            Architecture(width=self.width, discriminator_width=self.discriminator_width),
            Recipe(epochs=self.epochs, batch_size=self.batch_size),
        )
        recipe = replace(recipe, r1=self.r1, r1_last=min(recipe.r1_last or self.r1, self.r1))
        divided = replace(networks, clusters=self.clusters_per_class)
        return [
            Arm(_PLAIN, networks, recipe),
            Arm(_CONDITIONAL, networks, recipe, conditional=True),
            *([Arm(_DIVIDED, divided, recipe, conditional=True)] if self.clusters_per_class else []),
            Arm(_CLUSTERS, replace(networks, clusters=self.clusters), recipe),
        ]

    def drawn(self, trained: TrainedGANs, session: Session) -> list[Block]:
        """Digits of every generator."""
        return shown.grids(trained, [arm.name for arm in self.arms], session)

    def answered(self, trained: TrainedGANs) -> list[Answer]:
        """What was found by the long trainings."""
        return _answers(trained)

    def headline(self, result: Result) -> Headline:
        """How many conditional digits show what was asked for."""
        right = Estimate.of(result.metrics, f"fidelity/{_CONDITIONAL}")
        real = Estimate.of(result.metrics, f"fidelity/real/{_CONDITIONAL}")
        plain, given, floor = (
            Estimate.of(result.metrics, name)
            for name in (f"digit-fid/{_PLAIN}", f"digit-fid/{_CONDITIONAL}", f"digit-fid-floor/{_PLAIN}")
        )
        return Headline(
            f"{share(right)} of the images that the conditional DCGAN generates show the requested digit; the "
            f"classifier that evaluates them has {share(real)} accuracy on real digits. The Fréchet distance to the "
            f"data is {amount(given)}, {amount(plain)} for the unconditional DCGAN, and {amount(floor)} between two "
            f"sets of real digits.",
            "of the generated digits show the requested class",
            right,
            verdict="measured",
            picture=result.figure(_CONDITIONAL),
            weight=1,
        )


def _means(trained: TrainedGANs, arm: str) -> dict[str, Estimate]:
    return {name: trained.mean(arm, name) for name in trained.outcomes[arm][0].figures}


def _divided(trained: TrainedGANs) -> Answer:
    means, count = _means(trained, _DIVIDED), trained.outcomes[_DIVIDED][0].arm.architecture.clusters
    return Answer(
        "beyond: clusters within classes",
        "-",
        f"fidelity {means['fidelity']}, digit-FID {means['digit-fid']}, classification accuracy score "
        f"{means['classification-accuracy-score']}",
        "answered",
        f"each class is divided into {count} clusters, and a requested digit is of one of them",
    )


def _answers(trained: TrainedGANs) -> list[Answer]:
    plain, conditional, clusters = (_means(trained, arm) for arm in (_PLAIN, _CONDITIONAL, _CLUSTERS))
    floor = plain["digit-fid-floor"].value
    target = max(float(run.history.column("watched-fid")[1][-1]) for run in trained.outcomes[_PLAIN])  # all reach it
    epochs = {
        arm: float(np.mean([epochs_until(run, target) for run in trained.outcomes[arm]]))
        for arm in (_PLAIN, _CONDITIONAL)
    }
    trouble = "; ".join(dict.fromkeys(text for run in trained.outcomes[_PLAIN] for text in diagnose(run.history)))
    return [
        Answer(
            "2. what G should turn P(z) into",
            "the distribution of the data",
            f"digit-FID {plain['digit-fid']} (real images {floor:.3f}), recall {plain['recall']}",
            "answered",
            "0 where samples and data cannot be told apart; real images are measured against other real images",
        ),
        Answer(
            "4. default settings",
            "-",
            f"{plain['modes'].value:.0f} of 10 classes, KL to their shares {plain['kl'].value:.4f}",
            "answered",
            trouble or "no trouble seen",
        ),
        Answer(
            "beyond: clusters in place of classes",
            "-",
            f"digit-FID {clusters['digit-fid']}, recall {clusters['recall']}, KL {clusters['kl']}",
            "answered",
            "found by the directions of edges: no label is used",
        ),
        *([_divided(trained)] if _DIVIDED in trained.outcomes else []),
        Answer(
            "6. the conditional DCGAN",
            "-",
            f"fidelity {conditional['fidelity']}, digit-FID {conditional['digit-fid']}, classification accuracy score "
            f"{conditional['classification-accuracy-score']}",
            "answered",
            f"real images: fidelity {conditional['fidelity/real'].value:.4f}, digit-FID {floor:.3f}",
        ),
        Answer(
            "8. more or less successful than unconditional",
            "-",
            f"digit-FID {conditional['digit-fid']} against {plain['digit-fid']}; epochs to the unconditional one's "
            f"last watched distance, of the worst seed, {epochs[_CONDITIONAL]:.1f} against {epochs[_PLAIN]:.1f}",
            "answered",
            "equal updates of both",
        ),
        Answer(
            "9. what z is",
            "-",
            f"slant agrees over the classes by {conditional['style/slant']}, thickness by "
            f"{conditional['style/thickness']}; one direction of z moves slant by {conditional['arithmetic/slant']} SD",
            "answered",
            "the style that the label leaves open: 1 where z alone decides it, 0 where it decides nothing",
        ),
    ]
