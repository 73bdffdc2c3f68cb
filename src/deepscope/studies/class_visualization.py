"""Chapter 2.3, questions 8 to 11: class visualisation, with every claim of the report (Delefosse and Vin) measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from torch import Tensor

from deepscope.command import Headline
from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render.text import p_value
from deepscope.results import Figure, ImageGrid, Result
from deepscope.session import Session
from deepscope.statistics import Estimate, difference, mcnemar, proportion
from deepscope.studies.claims import Row
from deepscope.studies.class_images_alone import unevaluated
from deepscope.studies.class_images_compared import SHOWN, Plan, Ways
from deepscope.studies.networks import installed
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers


@dataclass(frozen=True)
class ClassVisualization(Study):
    """The effect of iterations, learning rate, regularisation, start and network on class images.

    Every method makes one image of each class. Another network, which was not used to make them, evaluates them.

    Attributes:
        model: the network that makes the images.
        evaluator: the network that evaluates them, and makes the images of the last question.
        classes: number of classes, including those of the report; the others are drawn from data/imagenet-sample.
        iterations: gradient steps after which images of the report's method are compared.
        rates: learning rates of the report's method, over three decades.
        batch_size: images per batch.
        thorough: also make images with the evaluator, which the other network then evaluates.
    """

    chapter: ClassVar[str] = "2.3 Class visualisation"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.8, "full": 90}
    renamed: ClassVar[Mapping[str, str]] = {"judge": "evaluator"}

    _: KW_ONLY
    model: str = "squeezenet1_0"
    evaluator: str = DEFAULT
    classes: int = 16
    iterations: tuple[int, ...] = (200, 500, 1000)
    rates: tuple[float, ...] = (0.05, 0.5, 5, 50)
    batch_size: int = 8
    thorough: bool = True

    @classmethod
    def within(cls, budget: Budget) -> ClassVisualization:
        """Few classes, short ascents and one network that makes the images, or all that the report shows."""
        if budget == "full":
            return cls()
        few = cls(model=DEFAULT, evaluator="efficientnet_lite1", classes=4, thorough=False)
        return replace(few, iterations=(12, 24), rates=(0.5, 5))

    def run(self, session: Session) -> Result:
        """Make and evaluate the images of every way."""
        if self.classes < 4:
            raise SettingError("classes", "must be at least 4", got=self.classes)
        if not self.iterations or sorted(set(self.iterations)) != list(self.iterations):
            raise SettingError("iterations", "must be ascending numbers")
        model = load_model(self.model, session)
        try:
            evaluator = load_model(self.evaluator, session)
        except DeepscopeError as error:
            return unevaluated(model, SHOWN, str(error), session)
        plan = Plan(self.classes, self.iterations, self.rates, self.batch_size, self.thorough)
        ways = Ways(plan, model, evaluator, session)
        result = Result(
            title=f"Class images of {self.model} for {len(ways.targets)} classes, evaluated by {self.evaluator}",
            metrics={"classes": len(ways.targets), **ways.metrics()},
            blocks=(ways.table(), *ways.figures(), answers(self._answers(ways)), *skipped_blocks(ways.skipped)),
            provenance=origin([model, evaluator], ways.photographs, ways.digests),
        )
        ways.forget()
        return result

    def _answers(self, ways: Ways) -> list[Answer]:
        """Questions 8 to 11, claim by claim."""
        first, last = self.iterations[0], self.iterations[-1]
        source, bare = f"source, {last} iterations", f"unregularised, {last} iterations"
        own = ways.outcomes[source].own
        seen = proportion(int((own.ranks < 1).sum()), len(own.ranks))
        found = [
            Answer(
                "8. the image shows the class",
                "yes, by visual inspection",
                f"to {own.evaluator} itself {seen}, to {ways.evaluator.name} {ways.outcomes[source].recognised}",
                "answered",
                f"top-1 after {last} iterations of the report's method",
            ),
            _compare(ways, "9. regularisation is crucial", source, bare),
            _compare(ways, "9. what regularisation can reach", "default", source, published="—"),
            _compare(ways, "9. more iterations give better images", source, f"source, {first} iterations"),
        ]
        rates = {rate: ways.outcomes[f"source, learning rate {rate:g}"].recognised for rate in self.rates}
        said = "; ".join(f"{rate:g}: {estimate}" for rate, estimate in rates.items())
        found.append(
            Answer("9. learning rate", "-", said, "answered", f"top-1 by {ways.evaluator.name}, {first} steps")
        )
        if ways.photographs:
            noise, own = f"source, {first} iterations", "source from the class's photograph"
            found.append(_compare(ways, "10. an image of the class focuses the result", own, noise))
            found.append(
                _compare(ways, "10. hay to snail: another class to start from", "source from another class", noise)
            )
        else:
            why = "no data/imagenet-sample: `deepscope data get imagenet-sample`"
            if ways.skipped:
                why = "photographs of the classes cannot be read: the last table lists them"
            found.append(Answer("10. start from an image", "more focused", "—", "not measured here", why))
        question = "11. another network"
        if self.thorough:
            found.append(
                _compare(ways, question, f"default, made with {ways.evaluator.name}", "default", published="—")
            )
        else:
            found.append(Answer(question, "—", "—", "not measured here", "this budget makes images with one network"))
        found.append(_vgg16(ways.session))
        return found

    def _picture(self, result: Result) -> Figure | None:
        """The report's classes, by deepscope's recipe above and by the report's method below."""
        grids = [block for block in result.blocks if isinstance(block, ImageGrid)]
        cells = [cell for grid in grids for row in grid.rows for cell in row]
        ways = ("default", f"source, {self.iterations[-1]} iterations")
        rows = tuple(tuple(cell for cell in cells if cell.caption == way) for way in ways)
        caption = "Above by deepscope's recipe, below by the report's method."
        return ImageGrid(rows, "Class images", caption) if all(rows) else result.figure()

    def _alone(self, result: Result) -> Headline | None:
        """What can be said where no other network evaluates the images."""
        if not (own := Estimate.of(result.metrics, f"recognised/{self.model}/top1")).known:
            return None
        count = round(result.metrics["classes"])
        return Headline(
            f"{self.model} recognises {round(own.value * count)} of the {count} class images that it made itself. That "
            "does not show that they contain the class: only another network could tell, and none is available here.",
            picture=result.figure(),
        )

    def headline(self, result: Result) -> Headline | None:
        """How many class images another network recognises."""
        other = f"recognised/{self.evaluator}/top1"
        best = Estimate.of(result.metrics, other, "/default")
        source = Estimate.of(result.metrics, other, f"/source/{self.iterations[-1]} iterations")
        if not (best.known and source.known):
            return self._alone(result)
        count = round(result.metrics["classes"])
        return Headline(
            f"{self.evaluator} recognises {round(best.value * count)} of {count} class images that deepscope's recipe "
            f"makes of {self.model}, and {round(source.value * count)} by the report's method. The network that made "
            "an image always sees its class; only another one shows whether it is there.",
            f"of {count} class images are recognised by another network",
            best,
            published="yes, by visual inspection",
            verdict="measured",
            picture=self._picture(result),
        )


def _compare(ways: Ways, question: str, better: str, worse: str, *, published: str = "yes") -> Answer:
    """Whether the first way shows the class better, class by class.

    By the other network's log-probability: top-1 alone cannot tell ways apart on a few classes.
    """
    a, b = (ways.outcomes[way].other for way in (better, worse))
    gain = difference(_log(a.probabilities), _log(b.probabilities))
    decided = Row(better, question, gain, 1, len(a.ranks)).answer
    verdict: Verdict = "answered"
    if published != "—" and decided in ("reproduced", "differs"):
        verdict = decided
    shares = f"{ways.outcomes[better].recognised.value:.2f} against {ways.outcomes[worse].recognised.value:.2f}"
    chance = p_value(mcnemar(a.ranks < 1, b.ranks < 1))
    because = f"{better} against {worse}: {shares} top-1 by the other network, McNemar {chance}"
    if decided == "not decided":
        verdict = "not decided"
        because += f"; {len(a.ranks)} classes do not decide it"
    return Answer(question, published, f"log-probability {gain}", verdict, because)


def _log(probabilities: Tensor) -> Tensor:
    """Logarithms, of which none is lower than float32's precision of a sum of probabilities allows."""
    return probabilities.clamp_min(1e-7).log()


def _vgg16(session: Session) -> Answer:
    """The report's second network: how to include it where its class layer is available. Nothing is downloaded."""
    why = "the weights of VGG16's class layer are missing"
    if "vgg16" in installed(session, whole=True):
        why = "its weights are available: run the study with vgg16 as the model"
    return Answer("11. VGG16", "often superior", "—", "not measured here", why)
