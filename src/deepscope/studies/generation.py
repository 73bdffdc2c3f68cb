"""Chapter 4 of the source: GANs on MNIST, its nine questions, and the experiments that it suggests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.data import first_here
from deepscope.errors import InputError
from deepscope.gans import Architecture, Pictures, Recipe, load_pictures
from deepscope.gans.quality import Judge, fitting_judge, train_judge
from deepscope.jobs.gan_figures import cells
from deepscope.jobs.gan_grid import shared
from deepscope.results import Block, Column, Curves, ImageGrid, Note, Provenance, Result, Series, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.studies.generation_runs import Arm, Outcome, arms, epochs_until, train
from deepscope.studies.study import Answer, Budget, Study, answers
from deepscope.training import Diverged

ByArm = Mapping[str, Sequence[Outcome]]

_SIDE, _COLUMNS, _JUDGE_EPOCHS = 32, 10, 6
_NEEDED = ("unconditional", "conditional", "y-absent-from-d", "saturating", "only-4.2", "only-4.3")
_TABLE = ("digit-fid", "precision", "recall", "modes", "kl", "fidelity", "classification-accuracy-score", "memorised")
_SUGGESTED = {
    "learning rate": ("rate-x10", "rate-x0.1"),
    "width": ("width-x0.5", "width-x2"),
    "steps of D to G": ("steps-5:1", "steps-1:5"),
    "loss": ("least-squares", "hinge", "wgan-gp", "r1"),
    "size of z": ("z-2", "z-10", "z-100", "z-1000"),
    "clusters in the place of classes": ("clusters",),
}


@dataclass(frozen=True)
class Generation(Study):
    """DCGAN and conditional DCGAN on MNIST: every question and experiment of the chapter, measured.

    Every training and measurement is kept (below --out, else in the cache): the same command goes on where it was
    stopped, and more seeds add to what is there. --precision bfloat16 is faster.

    Attributes:
        seeds: trainings of each arm, with the session's seed and the next ones.
        epochs: of each training.
        width: of the networks.
        rate: learning rate.
        images: training digits; all where no number is given.
        samples: by which each arm is measured.
        judge: folder of `gan judge`; else the one in the package, else one is trained first.
        thorough: also every experiment that the source suggests, and stacked digits.
    """

    chapter: ClassVar[str] = "4 Generative adversarial networks"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.8, "full": 4000}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 20
    width: int = 32
    rate: float = Recipe.rate
    images: int | None = None
    samples: int = 10_000
    judge: Path | None = None
    thorough: bool = True

    @classmethod
    def within(cls, budget: Budget) -> Generation:
        """Two epochs of small networks on a thousand digits from one seed, or everything."""
        return cls() if budget == "full" else cls(seeds=1, epochs=2, width=8, images=1000, samples=1000, thorough=False)

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits, and the judge."""
        return [home / "data" / "mnist", *([self.judge] if self.judge else [])]

    def run(self, session: Session) -> Result:
        """Train and measure every arm from every seed, and answer the questions."""
        few = self.images is not None and self.images < 1000
        if min(self.seeds, self.epochs, self.width) < 1 or self.samples < 30 or few or self.rate <= 0:
            raise InputError(
                "--seeds, --epochs and --width are at least 1, --samples 30, --images at least 1000, --rate above 0"
            )
        name = first_here(["mnist", "mnist-extract"], session)
        pictures = load_pictures(name, _SIDE, session)
        kind = f"{self.images or name}-{self.epochs}-{self.width}-{self.rate:g}"
        root = (session.out or session.cache) / "generation" / kind
        judge = self._judge(pictures, session, root / "judge")
        if self.images is not None:
            pictures = replace(pictures, train=pictures.train.some(self.images, session.rng("images")))
        plan = arms(Architecture(width=self.width), Recipe(epochs=self.epochs, rate=self.rate), thorough=self.thorough)
        found: dict[str, list[Outcome]] = {}
        diverged = []
        for arm, seed in session.track([(a, s) for s in range(self.seeds) for a in plan], "training"):
            own = replace(session, seed=session.seed + seed, quiet=True)
            folder = root / arm.name.replace(":", "-") / f"seed-{own.seed}"
            try:
                outcome = train(
                    arm, pictures, judge, own, folder, samples=self.samples, score_epochs=self._score_epochs(arm)
                )
                found.setdefault(arm.name, []).append(outcome)
            except Diverged as error:
                if arm.name in _NEEDED:
                    raise
                diverged.append(f"{arm.name}, seed {own.seed}: {error}")
        return Result(
            title=f"Generation of {name}",
            metrics=_metrics(found),
            blocks=(
                answers(_answers(found)),
                _table(found),
                *_trouble(found),
                *_along(found),
                *_grids(found, session),
                *(Note(text, "Diverged", "warning") for text in diverged),
                Note("Means over seeds with 95 % Student intervals; one seed has none.", "How to read this"),
            ),
            provenance=Provenance(data=f"{len(pictures.train)} images of {name}"),
        )

    def _judge(self, pictures: Pictures, session: Session, folder: Path) -> Judge:
        """Trained from seeds of its own: never one of the generators'."""
        found = fitting_judge(self.judge, pictures.channels, pictures.classes)
        if found is None:
            own = replace(session, seed=session.seed + 1000)
            found = train_judge(pictures.train, pictures.classes, epochs=_JUDGE_EPOCHS, session=own, folder=folder)
        return found.to(session.device)

    def _score_epochs(self, arm: Arm) -> int:
        return _JUDGE_EPOCHS if arm.name == "conditional" else 0


def _over(runs: Sequence[Outcome], name: str) -> Estimate:
    values = [run.figures[name] for run in runs if name in run.figures]
    if math.inf in values:  # an infinite divergence has no spread
        return Estimate(math.inf, -math.inf, math.inf)
    return over_seeds(values)


def _metrics(found: ByArm) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for arm, runs in found.items():
        for name in runs[0].figures:
            metrics |= _over(runs, name).metrics(f"{name}/{arm}")
    return metrics


def _table(found: ByArm) -> Table:
    columns = (Column("arm"), *(Column(name, ".4g") for name in _TABLE))
    rows = [(arm, *(_known(_over(runs, name).value) for name in _TABLE)) for arm, runs in found.items()]
    real = found["conditional"][0].figures
    bounds = {"digit-fid": real.get("digit-fid-floor")}
    rows.append(("real images", *(bounds.get(name, real.get(f"{name}/real")) for name in _TABLE)))
    return Table(columns, tuple(rows), "Quality of every arm", mark=len(rows) - 1)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _trouble(found: ByArm) -> list[Block]:
    rows = [
        (arm, text) for arm, runs in found.items() for text in dict.fromkeys(t for run in runs for t in run.trouble)
    ]
    return [Table((Column("arm"), Column("trouble")), tuple(rows), "Trouble along the trainings")] if rows else []


def _along(found: ByArm) -> list[Block]:
    """What changes along the training, from the first seed."""
    shown = {
        "watched-fid": ("Frechet distance of 1000 samples", "distance"),
        "loss/generator": ("Generator's loss", "loss"),
        "loss/discriminator": ("Discriminator's loss", "loss"),
        "score/real": ("D(x)", "probability"),
        "score/fake": ("D(G(z))", "probability"),
        "gradient/generator": ("Generator's gradient", "L2 norm"),
        "diversity": ("Diversity", "of the real images'"),
    }
    blocks: list[Block] = []
    for name, (title, y_title) in shown.items():
        columns = [(arm, *found[arm][0].history.column(name)) for arm in _NEEDED]
        series = tuple(Series(arm, steps, values) for arm, steps, values in columns if len(steps))
        blocks.append(Curves(series, "step", y_title, title))
    return blocks


def _grids(found: ByArm, session: Session) -> list[Block]:
    return [
        ImageGrid(
            cells(shared(found[arm][0].gan, _COLUMNS, session).flatten(0, 1), _COLUMNS), arm, "A z for each column."
        )
        for arm in ("conditional", "y-absent-from-d")
    ]


def _answers(found: ByArm) -> list[Answer]:
    value = {arm: {name: _over(runs, name) for name in runs[0].figures} for arm, runs in found.items()}
    plain, conditional, absent = (value[arm] for arm in ("unconditional", "conditional", "y-absent-from-d"))
    healthy, saturated = plain["early-gradient"].value, value["saturating"]["early-gradient"].value
    target = float(np.mean([run.history.column("watched-fid")[1][-1] for run in found["unconditional"]]))
    epochs = {
        arm: float(np.mean([epochs_until(run, target) for run in found[arm]]))
        for arm in ("unconditional", "conditional")
    }
    return [
        Answer(
            "1. only 4.2, or only 4.3",
            "-",
            f"digit-FID {value['only-4.2']['digit-fid']} and {value['only-4.3']['digit-fid']}, "
            f"{plain['digit-fid']} with both",
            "answered",
            "4.2 alone fools a discriminator that never learnt; 4.3 alone leaves the generator as it was made",
        ),
        Answer(
            "2. what G should turn P(z) into",
            "the distribution of the data",
            f"digit-FID {plain['digit-fid']} (floor {plain['digit-fid-floor']}), recall {plain['recall']}",
            "answered",
        ),
        Answer(
            "3. the true equation",
            "-",
            f"early gradient norm of G {saturated:.3g} saturating, {healthy:.3g} non-saturating; digit-FID "
            f"{value['saturating']['digit-fid']} and {plain['digit-fid']}",
            "answered",
            "min over G of E[log(1 - D(G(z)))], whose gradient is small where D is sure",
        ),
        Answer(
            "4. default settings",
            "-",
            f"digit-FID {plain['digit-fid']}, {plain['modes'].value:.0f} of 10 classes, KL {plain['kl'].value:.4f}",
            "answered",
            "; ".join(dict.fromkeys(text for run in found["unconditional"] for text in run.trouble))
            or "no trouble seen",
        ),
        *(_suggested(question, names, value) for question, names in _SUGGESTED.items()),
        *_stacked(value),
        Answer(
            "6. the conditional DCGAN",
            "-",
            f"fidelity {conditional['fidelity']}, digit-FID {conditional['digit-fid']}, classification accuracy score "
            f"{conditional['classification-accuracy-score']}",
            "answered",
        ),
        Answer(
            "7. y removed from D",
            "-",
            f"fidelity {absent['fidelity']} without, {conditional['fidelity']} with; 0.1 is chance",
            "answered",
            "D then never learns whether an image fits its label",
        ),
        Answer(
            "8. more or less successful than unconditional",
            "-",
            f"digit-FID {conditional['digit-fid']} against {plain['digit-fid']}; epochs to the unconditional one's "
            f"last watched distance {epochs['conditional']:.1f} against {epochs['unconditional']:.1f}",
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


def _stacked(value: Mapping[str, Mapping[str, Estimate]]) -> list[Answer]:
    known = [arm for arm in ("stacked", "stacked-packed") if arm in value]
    if not known:
        return []
    measured = ", ".join(f"{arm} {value[arm]['modes']} modes, KL {value[arm]['kl']}" for arm in known)
    published = "DCGAN 99, VEEGAN 150, PacDCGAN2 1000 modes (Lin et al. 2018)"
    return [Answer("5. modes of 1000, three digits in the colours", published, measured, "answered")]


def _suggested(question: str, names: Sequence[str], value: Mapping[str, Mapping[str, Estimate]]) -> Answer:
    known = [name for name in names if name in value]
    title = f"5. {question}"
    if not known:
        return Answer(title, "-", "-", "not measured here", "run it with --thorough")
    found = {name: value[name]["digit-fid"] for name in ("unconditional", *known)}
    best = min(found, key=lambda name: found[name].value)
    measured = ", ".join(f"{name} {estimate}" for name, estimate in found.items())
    return Answer(title, "-", f"digit-FID: {measured}", "answered", f"lowest with {best}")
