"""Chapter 2.3, questions 8 to 11: class visualisation, with every claim of the source measured."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from deepscope.commands.class_images import Images, make_images, watch_film
from deepscope.commands.shown import picture, provenance
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, catalogue, load_model
from deepscope.results import Animation, Block, Cell, Column, ImageGrid, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, difference, mcnemar, proportion
from deepscope.studies.claims import Row
from deepscope.studies.class_images_alone import unjudged
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers
from deepscope.visualization import ClassObjective, Recipe, preset
from deepscope.visualization import quality as measured
from deepscope.visualization.quality import assess, translate

_SHOWN = ("wombat", "bee eater", "snail")
_STRIP = 6
"""Images side by side: with three numbers of iterations, regularised and not, fill the first strip."""
_OTHER = {"snail": "hay"}
"""The source turns hay into a snail; any other class starts from its neighbour in the list."""


@dataclass(frozen=True)
class ClassVisualization(Study):
    """What makes class images better: iterations, learning rate, regularisation, start and network, judged by another.

    Every way makes one image of the same classes. A network that had no part in it says what it sees.

    Attributes:
        model: the network that images are made with.
        judge: the network that had no part, and that the last question makes images with.
        classes: how many classes, the source's own among them; the others are drawn from data/imagenet-sample.
        iterations: gradient steps after which images of the source's method are compared.
        rates: learning rates of the source's method, over three decades.
        batch_size: images at a time.
    """

    chapter: ClassVar[str] = "2.3 Class visualisation"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 6, "full": 90}

    _: KW_ONLY
    model: str = "squeezenet1_0"
    judge: str = DEFAULT
    classes: int = 16
    iterations: tuple[int, ...] = (200, 500, 1000)
    rates: tuple[float, ...] = (0.05, 0.5, 5, 50)
    batch_size: int = 8

    @classmethod
    def within(cls, budget: Budget) -> ClassVisualization:
        """Few classes and short climbs, or all that the source shows."""
        if budget == "full":
            return cls()
        return cls(model=DEFAULT, judge="efficientnet_lite1", classes=4, iterations=(20, 40), rates=(0.5, 5))

    def run(self, session: Session) -> Result:
        """Make and judge the images of every way."""
        if self.classes < 4 or not self.iterations or sorted(set(self.iterations)) != list(self.iterations):
            raise DeepscopeError("--classes is at least 4, and --iterations are rising numbers")
        model = load_model(self.model, session)
        try:
            judge = load_model(self.judge, session)
        except DeepscopeError as error:
            return unjudged(model, _SHOWN, str(error), session)
        ways = _Ways(self, model, judge, session)
        result = Result(
            title=f"Class images of {self.model} by {len(ways.targets)} classes, judged by {self.judge}",
            metrics={"classes": len(ways.targets), **ways.metrics()},
            blocks=(ways.table(), *ways.figures(), answers(ways.answers())),
            provenance=provenance([ways.model, ways.judge], ways.photographs),
        )
        ways.forget()
        return result


@dataclass(frozen=True)
class _Outcome:
    """The images of one way after some steps, and what the two networks see in them."""

    pixels: Tensor
    own: measured.Verdict
    other: measured.Verdict

    @property
    def recognised(self) -> Estimate:
        return proportion(int((self.other.ranks < 1).sum()), len(self.other.ranks))


class _Ways:
    """All ways to make the images, made once each."""

    def __init__(self, study: ClassVisualization, model: VisionModel, judge: VisionModel, session: Session) -> None:
        self.study, self.model, self.judge, self.session = study, model, judge, session
        self.targets, self.photographs = _choose(model, study.classes, session)
        first, last = study.iterations[0], study.iterations[-1]
        self.outcomes: dict[str, _Outcome] = {}
        self.films: dict[str, Images] = {}
        self._kept: set[Path] = set()
        source = preset("source")
        for name in ("source", "unregularised"):
            for steps, outcome in self._make(
                name, Recipe(iterations=last).over(preset(name)), study.iterations
            ).items():
                self.outcomes[f"{name}, {steps} iterations"] = outcome
        for name in ("source-strong", "yosinski"):
            made = self._make(name, Recipe(iterations=first).over(preset(name)), (first,))
            self.outcomes[f"{name}, {first} iterations"] = made[first]
        default = preset("default")
        self.outcomes["default"] = self._make("default", default, (default.iterations or 0,))[default.iterations or 0]
        for rate in study.rates:
            recipe = Recipe(iterations=first, learning_rate=rate).over(source)
            known = self.outcomes[f"source, {first} iterations"] if rate == source.learning_rate else None
            self.outcomes[f"source, learning rate {rate:g}"] = (
                known or self._make(f"rate {rate:g}", recipe, (first,))[first]
            )
        if self.photographs:
            recipe = Recipe(iterations=first).over(source)
            photographs = self.model.read(self.photographs)
            others = photographs[self._others()]
            self.outcomes["the class's photograph"] = self._judged(photographs, self.model, self.judge)
            self.outcomes["source from the class's photograph"] = self._make("own", recipe, (first,), photographs)[
                first
            ]
            steps = tuple(sorted({round(first * part / 24) for part in range(25)}))
            self.outcomes["source from another class"] = self._make("other", recipe, steps, others)[first]
        self.outcomes[f"default, made with {judge.name}"] = self._reverse("default")
        if any(isinstance(module, _BatchNorm) for module in judge.network.modules()):
            self.outcomes[f"statistics, made with {judge.name}"] = self._reverse("statistics")

    def metrics(self) -> dict[str, float]:
        """Every measure of every way, its name made of plain words."""
        metrics: dict[str, float] = {}
        for way, outcome in self.outcomes.items():
            for verdict in (outcome.own, outcome.other):
                metrics |= {f"{key}/{way.replace(', ', '/')}": value for key, value in verdict.metrics().items()}
        return metrics

    def table(self) -> Table:
        """One row a way."""
        rows: list[tuple[Cell, ...]] = []
        for way, outcome in self.outcomes.items():
            own, other = outcome.own.metrics(), outcome.other.metrics()
            top5 = other.get(f"recognised/{outcome.other.judge}/top5")
            self_top1 = own[f"recognised/{outcome.own.judge}/top1"]
            rows.append((way, str(outcome.recognised), top5, self_top1, own["total-variation"], own["saturation"]))
        columns = ("way", "top-1 by the other network", "top-5", "top-1 by its own", "total variation", "saturation")
        specs = ("", "", ".3f", ".3f", ".4f", ".3f")
        return Table(
            tuple(Column(*pair) for pair in zip(columns, specs)), tuple(rows), title="Ways to make class images"
        )

    def figures(self) -> list[Block]:
        """A strip for each class of the source, and hay turning into a snail."""
        names = [self.model.categories[target] for target in self.targets[: len(_SHOWN)]]
        found: list[Block] = []
        for row, name in enumerate(names):
            cells = [picture(outcome.pixels[row], caption=way) for way, outcome in self.outcomes.items()]
            strips = tuple(tuple(cells[first : first + _STRIP]) for first in range(0, len(cells), _STRIP))
            found.append(ImageGrid(strips, title=f"Figures 2.5 to 2.12: {name}"))
        if "other" in self.films and "snail" in names:
            film, row = self.films["other"], names.index("snail")
            frames = film.film[:, row].permute(0, 2, 3, 1).contiguous().numpy()
            watched = watch_film(film, ClassObjective(self.model, torch.tensor(self.targets)))[:, row].tolist()
            captions = tuple(f"iteration {step}, snail {p:.2f}" for step, p in zip(film.film_steps, watched))
            found.append(Animation(frames, "Figure 2.9: hay to snail", captions=captions))
        return found

    def answers(self) -> list[Answer]:
        """Questions 8 to 11, claim by claim."""
        first, last = self.study.iterations[0], self.study.iterations[-1]
        source, bare = f"source, {last} iterations", f"unregularised, {last} iterations"
        own = self.outcomes[source].own
        seen = proportion(int((own.ranks < 1).sum()), len(own.ranks))
        found = [
            Answer(
                "8. the image shows the class",
                "yes, to the eye",
                f"to {own.judge} itself {seen}, to {self.judge.name} {self.outcomes[source].recognised}",
                "answered",
                f"top-1 after {last} iterations of the source's method",
            ),
            self._compare("9. regularisation is crucial", source, bare),
            self._compare("9. what regularisation can reach", "default", source, published="—"),
            self._compare("9. more iterations give better images", source, f"source, {first} iterations"),
        ]
        rates = {rate: self.outcomes[f"source, learning rate {rate:g}"].recognised for rate in self.study.rates}
        said = "; ".join(f"{rate:g}: {estimate}" for rate, estimate in rates.items())
        found.append(Answer("9. learning rate", "-", said, "answered", f"top-1 by {self.judge.name}, {first} steps"))
        if self.photographs:
            noise, own = f"source, {first} iterations", "source from the class's photograph"
            found.append(self._compare("10. an image of the class focuses the result", own, noise))
            found.append(
                self._compare("10. hay to snail: another class to start from", "source from another class", noise)
            )
        else:
            why = "no data/imagenet-sample: `deepscope data get imagenet-sample`"
            found.append(Answer("10. start from an image", "more focused", "—", "not measured here", why))
        found.append(
            self._compare("11. another network", f"default, made with {self.judge.name}", "default", published="—")
        )
        found.append(_vgg16(self.session))
        return found

    def _compare(self, question: str, better: str, worse: str, *, published: str = "yes") -> Answer:
        """Whether the first way shows the class better, class by class.

        By the other network's log-probability: top-1 alone cannot tell ways apart on a few classes.
        """
        a, b = (self.outcomes[way].other for way in (better, worse))
        gain = difference(_log(a.probabilities), _log(b.probabilities))
        decided = Row(better, question, gain, 1, len(a.ranks)).answer
        verdict: Verdict = "answered"
        if published != "—" and decided in ("reproduced", "differs"):
            verdict = decided
        shares = f"{self.outcomes[better].recognised.value:.2f} against {self.outcomes[worse].recognised.value:.2f}"
        p = mcnemar(a.ranks < 1, b.ranks < 1)
        because = f"{better} against {worse}: {shares} top-1 by the other network, McNemar p = {p:.3f}"
        if decided == "not decided":
            because += f"; {len(a.ranks)} classes do not decide it"
        return Answer(question, published, f"log-probability {gain}", verdict, because)

    def _make(
        self, name: str, recipe: Recipe, marks: Sequence[int], start: Tensor | None = None
    ) -> dict[int, _Outcome]:
        """The images of one way after each number of steps in `marks`."""
        images = self._images(self.model, self.targets, name, recipe, marks, start)
        self.films[name] = images
        return {
            step: self._judged(frame.float() / 255, self.model, self.judge)
            for step, frame in zip(images.film_steps, images.film)
            if step in self.study.iterations or step == recipe.iterations
        }

    def _reverse(self, name: str) -> _Outcome:
        """The networks change places."""
        targets = [translate(target, self.model, self.judge) for target in self.targets]
        images = self._images(self.judge, targets, f"{name}, {self.judge.name}", preset(name), (), None)
        return self._judged(images.pixels, self.judge, self.model)

    def _images(
        self,
        model: VisionModel,
        targets: Sequence[int],
        name: str,
        recipe: Recipe,
        marks: Sequence[int],
        start: Tensor | None,
    ) -> Images:
        labels = [model.categories[target] for target in targets]
        self.session.note(f"{name}: {recipe.iterations} iterations")
        images = make_images(
            ClassObjective.of(model, torch.tensor(targets), recipe),
            recipe,
            labels,
            self.session,
            start=start,
            batch_size=self.study.batch_size,
            film=marks,
            keep=True,
        )
        self._kept.add(images.kept)
        if not images.complete:
            raise KeyboardInterrupt  # what was made is in the cache: the study goes on from there
        return images

    def forget(self) -> None:
        """The study is done: nothing of it needs to be made again."""
        for folder in self._kept:
            shutil.rmtree(folder, ignore_errors=True)

    def _judged(self, pixels: Tensor, maker: VisionModel, other: VisionModel) -> _Outcome:
        own, theirs = (
            torch.tensor([translate(target, self.model, network) for target in self.targets])
            for network in (maker, other)
        )
        return _Outcome(pixels.cpu(), assess(maker, pixels, own), assess(other, pixels, theirs))

    def _others(self) -> Tensor:
        """For each class the place of the photograph of another one."""
        names = [self.model.categories[target] for target in self.targets]
        pairs = {names.index(a): names.index(b) for a, b in _OTHER.items() if a in names and b in names}
        return torch.tensor([pairs.get(place, (place + 1) % len(names)) for place in range(len(names))])


def _log(probabilities: Tensor) -> Tensor:
    """Logarithms, of which none is lower than float32's precision of a sum of probabilities allows."""
    return probabilities.clamp_min(1e-7).log()


def _choose(model: VisionModel, count: int, session: Session) -> tuple[list[int], list[Path]]:
    """The source's classes and hay, then others at random; with the photograph of each where the sample is here."""
    named = [model.category(name) for name in (*_SHOWN, *_OTHER.values())]
    files = {path.name.split("_")[0]: path for path in sorted((session.home / "data" / "imagenet-sample").glob("n*_*"))}
    known = [target for target, wnid in enumerate(model.wnids) if wnid in files] or list(range(len(model.categories)))
    order = torch.randperm(len(known), generator=session.rng("class-visualization")).tolist()
    targets = list(dict.fromkeys([*named, *(known[place] for place in order)]))[:count]
    photographs = [files[model.wnids[target]] for target in targets if files and model.wnids[target] in files]
    return targets, photographs if len(photographs) == len(targets) else []


def _vgg16(session: Session) -> Answer:
    """The source's second network: how to ask it, where its class layer is here. Nothing is downloaded for that."""
    whole = any(e.name == "vgg16" and e.here and "features only" not in e.weights for e in catalogue(session))
    why = "the weights of VGG16's class layer are not here"
    if whole:
        why = "its weights are here: `deepscope study class-visualization --model vgg16`"
    return Answer("11. VGG16", "often superior", "—", "not measured here", why)
