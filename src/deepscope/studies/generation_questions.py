"""Chapter 4 of the report (Delefosse and Vin), its experiments: the effect of each choice in training a DCGAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from deepscope.command import Headline
from deepscope.errors import SettingError
from deepscope.gans import Architecture, Hinge, LeastSquares, Recipe, Saturating, WassersteinGP
from deepscope.render.text import amount, share
from deepscope.results import Block, Result
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import generation_shown as shown
from deepscope.studies.generation_runs import Arm, TrainedGANs
from deepscope.studies.generation_study import GenerationStudy, require
from deepscope.studies.study import Answer, Budget

_NEEDED = ("unconditional", "conditional", "y-absent-from-d", "saturating", "only-4.2", "only-4.3")
_SUGGESTED = {
    "learning rate": ("rate-x10", "rate-x0.1"),
    "width": ("width-x0.5", "width-x2"),
    "steps of D to G": ("steps-5:1", "steps-1:5"),
    "loss": ("least-squares", "hinge", "wgan-gp", "r1"),
    "size of z": ("z-2", "z-10", "z-100", "z-1000"),
}


@dataclass(frozen=True)
class GenerationQuestions(GenerationStudy):
    """The effect of each choice in training a DCGAN: objective, rates, widths, steps, z, and the label in D.

    Trainings are short: arms can be compared, but none is fully trained; `generation` has long trainings. All are kept
    (in the output folder, else in the cache), and the same command resumes an interrupted study.

    Attributes:
        seeds: trainings per arm, with consecutive seeds.
        epochs: epochs per training.
        batch_size: images per update.
        images: number of training digits; by default all.
        samples: generated images that each arm is measured on.
        evaluator: folder that `gan evaluator` wrote; by default the one in the package, else one is trained.
        width: width of the networks.
        rate: learning rate.
        thorough: also run every experiment that the report suggests.
    """

    title: ClassVar[str] = "What each choice does to a DCGAN"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1.25, "full": 110}

    _: KW_ONLY
    epochs: int = 6
    images: int | None = 12_000
    width: int = 32
    rate: float = 2e-3
    thorough: bool = True

    @classmethod
    def within(cls, budget: Budget) -> GenerationQuestions:
        """Small networks on two thousand digits from one seed, without the suggested experiments, or everything."""
        if budget == "full":
            return cls()
        return cls(seeds=1, epochs=3, batch_size=16, images=2000, samples=1000, width=16, thorough=False)

    @property
    def needed(self) -> Sequence[str]:
        """What the questions need, whatever the experiments."""
        return _NEEDED

    @property
    def arms(self) -> list[Arm]:
        """What the questions need; where thorough, also every experiment that the report suggests."""
        require(self, epochs=1, width=1)
        if self.rate <= 0:
            raise SettingError("rate", "must be above 0", got=self.rate)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, rate=self.rate)
        architecture = Architecture(width=self.width)
        base = Arm("unconditional", architecture, recipe)

        def trained(name: str, **changes: object) -> Arm:
            return replace(base, name=name, recipe=replace(recipe, **changes))  # type: ignore[arg-type]

        def built(name: str, **changes: object) -> Arm:
            return replace(base, name=name, architecture=replace(architecture, **changes))  # type: ignore[arg-type]

        layered = replace(architecture, normalisation="layer")
        found = [
            base,
            replace(base, name="conditional", conditional=True),
            replace(built("y-absent-from-d", label_in_discriminator="absent"), conditional=True),
            trained("saturating", objective=Saturating()),
            trained("only-4.2", discriminator_steps=0),
            trained("only-4.3", generator_steps=0),
        ]
        if not self.thorough:
            return found
        return [
            *found,
            replace(built("y-projected", label_in_discriminator="projected"), conditional=True),
            *(trained(f"rate-x{factor:g}", rate=factor * self.rate) for factor in (10, 0.1)),
            *(built(f"width-x{factor:g}", width=round(factor * self.width)) for factor in (0.5, 2)),
            trained("steps-5:1", discriminator_steps=5),
            trained("steps-1:5", generator_steps=5),
            trained("least-squares", objective=LeastSquares()),
            trained("hinge", objective=Hinge()),
            replace(trained("wgan-gp", objective=WassersteinGP(), discriminator_steps=5), architecture=layered),
            replace(trained("r1", r1=1.0), architecture=layered),
            *(built(f"z-{size}", latent=size) for size in (2, 10, 100, 1000)),
        ]

    def drawn(self, trained: TrainedGANs, session: Session) -> list[Block]:
        """Digits of what the questions need: with one equation alone, and with a label that D sees or does not."""
        return shown.grids(trained, self.needed, session)

    def answered(self, trained: TrainedGANs) -> list[Answer]:
        """What was found by the short trainings."""
        return _answers(trained)

    def headline(self, result: Result) -> Headline:
        """What the label in D is for."""
        names = ("y-absent-from-d", "conditional")
        without, given = (Estimate.of(result.metrics, f"fidelity/{name}") for name in names)
        both, only = (Estimate.of(result.metrics, f"digit-fid/{name}") for name in ("unconditional", "only-4.2"))
        return Headline(
            f"A discriminator that never sees the label teaches nothing about it: {share(without)} of the digits are "
            f"those that were asked for, {share(given)} where it does; 10 % is chance. With equation 4.2 alone the "
            f"distance to the data is {amount(only)}, with both equations {amount(both)}.",
            "of the digits show the requested class where D does not see the label",
            without,
            verdict="measured",
            picture=result.figure(names[0]),
        )


def _answers(trained: TrainedGANs) -> list[Answer]:
    fid = {arm: trained.mean(arm, "digit-fid") for arm in trained.outcomes}
    early = {arm: trained.mean(arm, "early-gradient") for arm in ("unconditional", "saturating")}
    fidelity = {arm: trained.mean(arm, "fidelity") for arm in ("conditional", "y-absent-from-d")}
    return [
        Answer(
            "1. only 4.2, or only 4.3",
            "-",
            f"digit-FID {fid['only-4.2']} and {fid['only-4.3']}, {fid['unconditional']} with both",
            "answered",
            "4.2 alone fools a discriminator that never learnt; 4.3 alone leaves the generator as it was made",
        ),
        Answer(
            "3. the true equation",
            "-",
            f"early gradient norm of G {early['saturating']} saturating, {early['unconditional']} non-saturating; "
            f"digit-FID {fid['saturating']} and {fid['unconditional']}",
            "answered",
            "min over G of E[log(1 - D(G(z)))], whose gradient is small where D is sure",
        ),
        *(_suggested(question, names, trained) for question, names in _SUGGESTED.items()),
        Answer(
            "7. y removed from D",
            "-",
            f"fidelity {fidelity['y-absent-from-d']} without, {fidelity['conditional']} with; 0.1 is chance",
            "answered",
            "D then never learns whether an image fits its label",
        ),
    ]


def _suggested(question: str, names: Sequence[str], trained: TrainedGANs) -> Answer:
    """Each choice compared with the plain arm, seed by seed."""
    title, base = f"5. {question}", "unconditional"
    present = [name for name in names if name in trained.outcomes]
    if not present:
        return Answer(title, "-", "-", "not measured here", "a thorough run of the study measures it")
    measured = ", ".join(f"{name} {trained.mean(name, 'digit-fid')}" for name in (base, *present))
    sides: dict[str, list[str]] = {"better": [], "worse": [], "not decided": []}
    for name in present:
        gap = trained.gap(name, base, "digit-fid")
        sides["better" if gap.high < 0 else "worse" if gap.low > 0 else "not decided"].append(name)
    sides["diverged"] = [name for name in names if name not in present]
    said = "; ".join(f"{side}: {', '.join(members)}" for side, members in sides.items() if members)
    return Answer(title, "-", f"digit-FID: {measured}", "answered", f"against {base}, seed by seed: {said}")
