"""Chapter 3 of the source: DANN from MNIST to MNIST-M, its four questions, and what does better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.adaptation import PAPER, Recipe
from deepscope.data import first_here
from deepscope.errors import InputError
from deepscope.jobs.domains import Domains, load_domains
from deepscope.models import DEFAULT
from deepscope.results import Block, Column, Curves, Note, Provenance, Result, Series, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.studies.adaptation_runs import (
    FACTORS,
    Judges,
    Outcome,
    arms,
    judged,
    over_views,
    run_folder,
    sample_features,
    train,
)
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers
from deepscope.training import Diverged

_PUBLISHED = {"paper/source-only": 0.5225, "paper/dann": 0.7666, "paper/target-only": 0.9596}
_TEACHER, _DANN, _SOURCE_ONLY, _NO_REVERSAL = (
    "modern/adversarial-teacher",
    "paper/dann",
    "paper/source-only",
    "paper/no-reversal",
)
_NEEDED = (*_PUBLISHED, _NO_REVERSAL, "modern/source-only", "modern/dann", _TEACHER)


@dataclass(frozen=True)
class DomainAdaptation(Study):
    """DANN from MNIST to MNIST-M, with and without reversal, by factor, beside its bounds and its successors.

    Every training is kept (below --out, else in the cache): the same command goes on where it was stopped, and more
    seeds add to what is there.

    Attributes:
        seeds: trainings of each arm, with the session's seed and the next ones.
        epochs: of the modern recipe.
        paper_epochs: of the paper's recipe.
        images: training images of each domain; all where no number is given.
        thorough: also every factor, variant of the network, rival method and ablation.
    """

    chapter: ClassVar[str] = "3 Domain adaptation"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.6, "full": 2400}

    _: KW_ONLY
    seeds: int = 3
    epochs: int = 14
    paper_epochs: int = 40
    images: int | None = None
    thorough: bool = True

    @classmethod
    def within(cls, budget: Budget) -> DomainAdaptation:
        """A few epochs on some hundred digits from one seed, or everything."""
        return cls() if budget == "full" else cls(seeds=1, epochs=2, paper_epochs=4, images=1500, thorough=False)

    def inputs(self, home: Path) -> Sequence[Path]:
        """Digits and photographs."""
        return [home / "data" / name for name in ("mnist", "bsds500")]

    def run(self, session: Session) -> Result:
        """Train every arm from every seed, and answer the questions."""
        if self.seeds < 1 or min(self.epochs, self.paper_epochs) < 1 or (self.images is not None and self.images < 100):
            raise InputError("--seeds and epochs are at least 1, --images at least 100")
        target = first_here(["mnist-m", "mnist-m-extract"], session)
        source = "mnist" if target == "mnist-m" else "mnist-extract"
        pair = self._fewer(load_domains(source, target, DEFAULT, session))
        bound = self._fewer(load_domains(target, target, DEFAULT, session))
        paper, modern = replace(PAPER, epochs=self.paper_epochs), Recipe(epochs=self.epochs)
        planned = [
            (arm, session.seed + seed)
            for seed in range(self.seeds)
            for arm in arms(paper, modern, thorough=self.thorough)
        ]
        outcomes, diverged = [], []
        for arm, seed in session.track(planned, "training"):
            own = replace(session, seed=seed, quiet=True)
            try:
                domains = bound if arm.on_target else pair
                outcomes.append(train(arm, domains, own, run_folder(session, arm, seed, self.images)))
            except Diverged as error:
                if arm.name in _NEEDED:
                    raise
                diverged.append(f"{arm.name}, seed {seed}: {error}")
        by_arm: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_arm.setdefault(outcome.arm.name, []).append(outcome)
        judges = judged(outcomes)
        views = over_seeds([over_views(outcome, pair, session) for outcome in by_arm[_TEACHER]])
        return Result(
            title=f"Domain adaptation from {source} to {target}",
            metrics={**_metrics(by_arm, judges), **views.metrics(f"accuracy/{_TEACHER}/target/ten-views")},
            blocks=(
                answers(_answers(by_arm, views, self.images)),
                _table(by_arm),
                *_along(by_arm),
                *_factors(by_arm),
                *_maps(by_arm, pair, session),
                _judges(judges),
                *(Note(text, "Diverged", "warning") for text in diverged),
                Note(
                    "Target labels measure, and choose nothing: every arm is judged at the epoch with the best InfoMax "
                    "score (source-only arms: the best accuracy on held-out source images). Means over seeds with 95 % "
                    "Student intervals; one seed has none.",
                    "How to read this",
                ),
            ),
            provenance=Provenance(data=f"{len(pair.source)} images of {source}, {len(pair.target)} of {target}"),
        )

    def _fewer(self, domains: Domains) -> Domains:
        if self.images is None:
            return domains
        source = replace(
            domains.source,
            inputs=domains.source.inputs[: self.images],
            labels=domains.source.labels[: self.images],
        )
        return replace(domains, source=source, target=domains.target[: self.images])


def _mean(runs: Sequence[Outcome], domain: str) -> Estimate:
    return over_seeds([getattr(run, domain) for run in runs])


def _metrics(by_arm: Mapping[str, Sequence[Outcome]], judges: Judges) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, runs in by_arm.items():
        for domain in ("source", "target"):
            metrics |= _mean(runs, domain).metrics(f"accuracy/{name}/{domain}")
        metrics[f"a-distance/{name}"] = _last(runs, "a-distance").value
    for name, (correlation, regret) in judges.items():
        metrics[f"validator/{name}/regret"] = regret
        if correlation is not None:
            metrics[f"validator/{name}/correlation"] = correlation
    return metrics


def _last(runs: Sequence[Outcome], name: str) -> Estimate:
    return over_seeds([run.adapted.history.column(name)[1][-1] for run in runs])


def _table(by_arm: Mapping[str, Sequence[Outcome]]) -> Table:
    columns = (Column("arm"), Column("target", ".4f"), Column("±", ".4f"), Column("source", ".4f"))
    columns += (Column("A-distance", ".2f"), Column("paper", ".4f"))
    rows = []
    for name, runs in by_arm.items():
        target = _mean(runs, "target")
        spread = target.high - target.value if len(runs) > 1 else None
        distance = _last(runs, "a-distance").value
        rows.append((name, target.value, spread, _mean(runs, "source").value, distance, _PUBLISHED.get(name)))
    caption = "Accuracy on held-out images, and how far a linear classifier tells the domains' features apart (0 to 2)."
    return Table(columns, tuple(rows), title="Arms", caption=caption)


def _along(by_arm: Mapping[str, Sequence[Outcome]]) -> list[Block]:
    """What changes from epoch to epoch, from the first seed."""
    shown = {
        "accuracy/target": ("Target accuracy", "accuracy"),
        "domain/accuracy": ("Domain classifier", "accuracy"),
        "a-distance": ("Proxy A-distance", "distance"),
        "confident/coverage": ("Confident predictions: coverage", "share"),
        "confident/precision": ("Confident predictions: precision", "share that is right"),
    }
    blocks: list[Block] = []
    for key, (title, y_title) in shown.items():
        series = []
        for name in _NEEDED:
            history = by_arm[name][0].adapted.history
            steps, values = history.column(key)
            if len(steps):
                series.append(Series(name, steps / history.rows[-1]["step"], values))
        references = tuple((f"{k} (published)", v) for k, v in _PUBLISHED.items()) if key == "accuracy/target" else ()
        blocks.append(Curves(tuple(series), "share of the training", y_title, title, references=references))
    return blocks


def _factors(by_arm: Mapping[str, Sequence[Outcome]]) -> list[Block]:
    names = {factor: _DANN if factor == 1 else f"paper/factor-{factor:g}" for factor in FACTORS}
    if not all(name in by_arm for name in names.values()):
        return []
    series = []
    for domain in ("target", "source"):
        found = [_mean(by_arm[name], domain) for name in names.values()]
        x = np.array([max(factor, 1e-3) for factor in names])
        low, high = ([getattr(e, end) for e in found] for end in ("low", "high"))
        band = {"low": np.array(low), "high": np.array(high)} if np.isfinite(low).all() else {"low": None, "high": None}
        series.append(Series(domain, x, np.array([e.value for e in found]), band["low"], band["high"]))
    caption = "Accuracy by the largest factor of the reversal; 0 is drawn at 0.001."
    return [Curves(tuple(series), "factor", "accuracy", "Influence of the factor", caption, x_scale="log")]


def _maps(by_arm: Mapping[str, Sequence[Outcome]], domains: Domains, session: Session) -> list[Block]:
    """t-SNE of test features before and after adaptation, by domain and by class."""
    from sklearn.manifold import TSNE

    blocks: list[Block] = []
    for name in (_SOURCE_ONLY, _DANN, _TEACHER):
        features, labels, side = sample_features(by_arm[name][0], domains, session)
        perplexity = min(30, len(features) // 4)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(features.numpy())
        for title, groups, words in (
            ("by domain", side.numpy(), ("source", "target")),
            ("by class", labels.numpy(), domains.classes),
        ):
            series = tuple(Series(word, *places[groups == group].T, style="points") for group, word in enumerate(words))
            blocks.append(Curves(series, "t-SNE 1", "t-SNE 2", f"Features of {name}, {title}"))
    return blocks


def _judges(judges: Judges) -> Table:
    columns = (Column("validator"), Column("rank correlation", ".3f"), Column("regret", ".4f"))
    caption = (
        "How well label-free scores order all epochs of all adapted arms by their target accuracy, and how much "
        "accuracy the choice by each loses against the best candidate."
    )
    rows = tuple((name, *found) for name, found in judges.items())
    return Table(columns, rows, title="Choosing without labels", caption=caption)


def _answers(by_arm: Mapping[str, Sequence[Outcome]], views: Estimate, images: int | None) -> list[Answer]:
    """`images`: the published figures are of all of them, and are compared with nothing less."""
    target = {name: _mean(runs, "target") for name, runs in by_arm.items()}
    source = {name: _mean(runs, "source") for name, runs in by_arm.items()}
    items = [
        Answer(
            f"{name.removeprefix('paper/')}, target accuracy",
            f"{published:.4f} (Ganin and Lempitsky)",
            str(target[name]),
            _compared(target[name].value, published) if images is None else "not measured here",
            "within 0.05 counts as reproduced" if images is None else f"{images} images a domain: the paper takes all",
        )
        for name, published in _PUBLISHED.items()
    ]
    known = _last(by_arm[_NO_REVERSAL], "domain/accuracy"), _last(by_arm[_DANN], "domain/accuracy")
    lost = source[_SOURCE_ONLY].value - source[_DANN].value
    proficient = target[_NO_REVERSAL].value < target[_DANN].value and known[0].value > known[1].value
    items += [
        Answer(
            "1. without the reversal",
            "the domain classifier becomes proficient",
            f"target {target[_NO_REVERSAL].value:.3f} (with {target[_DANN].value:.3f}, no domain loss "
            f"{target[_SOURCE_ONLY].value:.3f}); domain accuracy {known[0].value:.3f} (with {known[1].value:.3f})",
            "reproduced" if proficient else "differs",
        ),
        Answer(
            "2. source accuracy",
            "a minor decrease",
            f"{source[_DANN].value:.4f} after, {source[_SOURCE_ONLY].value:.4f} before",
            "reproduced" if 0 < lost <= 0.01 else "differs",
            "a decrease of at most one point counts as minor",
        ),
        _factor_answer(target),
        Answer(
            "4. pseudo-labels",
            "help by narrowing the gap",
            f"{target[_TEACHER].value:.4f} with a teacher's pseudo-labels, {target['modern/dann'].value:.4f} without",
            "reproduced" if target[_TEACHER].value > target["modern/dann"].value else "differs",
        ),
        Answer(
            "beyond: the model that is saved",
            "iDANN 0.967, PixelDA 0.982, DIRT-T 0.987",
            f"{views.value:.4f} averaging over ten views of an image, {target[_TEACHER].value:.4f} of one",
            "answered" if images is None else "not measured here",
            "moved by a pixel to each side, and negatives: what training taught the network to ignore",
        ),
    ]
    return items


def _compared(value: float, published: float) -> Verdict:
    return "reproduced" if abs(value - published) <= 0.05 else "differs"


def _factor_answer(target: Mapping[str, Estimate]) -> Answer:
    question, published = "3. the factor's influence", "an optimal value is crucial"
    found = {factor: target.get(_DANN if factor == 1 else f"paper/factor-{factor:g}") for factor in FACTORS}
    known = {factor: estimate.value for factor, estimate in found.items() if estimate is not None}
    if len(known) < len(FACTORS):
        return Answer(question, published, "-", "not measured here", "run it with --thorough")
    best = max(known, key=lambda factor: known[factor])
    measured = ", ".join(f"{factor:g}: {value:.3f}" for factor, value in known.items())
    inside = 0 < best < max(FACTORS)
    return Answer(question, published, measured, "reproduced" if inside else "differs", f"best at {best:g}")
