"""Chapter 1.2 of the report (Delefosse and Vin), questions 5 to 11 and Table 1.1: transferred features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

from deepscope.command import Headline
from deepscope.data import ClassFolders, Dataset, load_dataset
from deepscope.errors import SettingError
from deepscope.features.layers import maps
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.shown import origin
from deepscope.presenters.transfer_improve import idea_notes, ideas_table, improvement_metrics
from deepscope.presenters.transfer_table import PUBLISHED, comparison_metrics, comparison_notes, features_table
from deepscope.render.text import p_value, share
from deepscope.results import Bars, Column, ImageGrid, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies.networks import installed
from deepscope.studies.study import Answer, Budget, Study, Verdict, answers
from deepscope.studies.transfer_data import Measured, digit_folders, of_pixels, untrained
from deepscope.transfer import FeatureComparison, Improvements, compare_features, improve
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.greyscale import Grey
from deepscope.transfer.recipe import Recipe

_SCENES = "15scene"
_ALIKE = 0.01
"""Accuracies that differ by no more count as the same."""
_HEADS = ("linear-svc", "logistic-regression", "ridge", "nearest-neighbours")
_GREYS: tuple[Grey, ...] = ("replicate", "fold", "average")
_GREY_REASON = (
    "summing the first convolution's weights (fold) is the same as replicating the image, averaging them a third of it"
)
_BLANK, _FAR, _PIXELS = "initial weights", "features of digits", "pixels of digits"
_OTHERS = ("vgg16@pool5", "squeezenet1_0", "efficientnet_lite1", "efficientnet_lite2")
_JOINED = ("efficientnet_lite2", "vgg16")


@dataclass(frozen=True)
class TransferLearning(Study):
    """Which layer of which network gives the best features, what pre-training contributes, and what improves them.

    Uses 15-Scene where installed, else handwritten digits, which are very unlike ImageNet.

    Attributes:
        data: a dataset or a folder to use instead.
        model: network whose layers and improvements are measured.
        digits: training digits per class, and as many test digits, where digits are used.
        fine_tune: epochs of the improvement that trains the whole network; 0 skips it.
        thorough: also use the other networks whose weights are installed.
    """

    chapter: ClassVar[str] = "1.2 Transfer learning with VGG16 on 15-Scene"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.7, "full": 150}

    _: KW_ONLY
    data: str | None = None
    model: str = DEFAULT
    digits: int = 30
    fine_tune: int = FineTuning.epochs
    thorough: bool = True

    @classmethod
    def within(cls, budget: Budget) -> TransferLearning:
        """One network on few digits, or every network, and fine-tuning."""
        return cls() if budget == "full" else cls(digits=6, fine_tune=0, thorough=False)

    def inputs(self, home: Path) -> Sequence[Path]:
        """The scenes and the weights."""
        return [home / "data" / "15scene", home / "weights", *([Path(self.data)] if self.data else [])]

    def run(self, session: Session) -> Result:
        """Measure the table, the heads, pre-training, its limits, the ways to be grey, and the improvements."""
        if self.digits < 2:
            raise SettingError("digits", "must be at least 2", got=self.digits)
        own = replace(session, out=None if session.out is None else session.out / "transfer-learning")
        digits = digit_folders(self.digits, session)
        data, words = self._data(digits, session)
        trained = len(load_dataset(data, session, ClassFolders).train)
        model, here = load_model(self.model, session), installed(session)
        layers = [f"{self.model}@{layer}" for layer in maps(model)]
        others = [name for name in _OTHERS if self.thorough and name.partition("@")[0] in here]
        relus = dict.fromkeys(name for name, _ in PUBLISHED if "vgg16" in here)
        names = (*relus, self.model, *layers, *others)
        recipes = [Recipe.parse(name, normalisation=kind) for name in names for kind in ("raw", "l2")]
        table = compare_features(data, recipes, session=own)
        found = self._parts(data, digits, untrained(model, session), own)
        better = improve(
            data,
            self.model,
            others=[name for name in _JOINED if self.thorough and name in here],
            fine_tuning=FineTuning(self.fine_tune) if self.fine_tune else None,
            folder=None if own.out is None else own.out / "training",
            session=own,
        )
        metrics = {**comparison_metrics(table)}
        metrics |= {f"improve/{name}": value for name, value in improvement_metrics(better).items()}
        for name, one in found.items():
            metrics |= one.accuracy.metrics(f"accuracy/{name.replace(' ', '/', 1)}")
        return Result(
            title=f"Features of pretrained networks for {words}",
            metrics=metrics,
            blocks=(
                _complete(table),
                *comparison_notes(table),
                _table(found, words),
                ideas_table(better),
                *idea_notes(better),
                answers(self._answers(words, trained, table, found, better)),
            ),
            provenance=origin(table.models.values(), table.data.paths, table.digests),
        )

    def _parts(self, data: str, digits: Path, blank: Path, session: Session) -> dict[str, Measured]:
        """Heads, ways to be grey, initial weights, and digits, each on the model's last layer."""

        def measured(found: FeatureComparison) -> Measured:
            return Measured.of(found.rows[0])

        return {
            **{
                f"head {head}": measured(compare_features(data, [self.model], heads=(head,), session=session))
                for head in _HEADS
            },
            **{
                f"grey {how}": measured(compare_features(data, [self.model], grey=how, session=session))
                for how in _GREYS
            },
            _BLANK: measured(compare_features(data, [str(blank)], session=session)),
            _FAR: measured(compare_features(digits, [self.model], session=session)),
            _PIXELS: of_pixels(digits, session),
        }

    def _data(self, digits: Path, session: Session) -> tuple[str, str]:
        """The data and its description."""
        if self.data is not None:
            return self.data, Path(self.data).name
        if not Dataset.member(_SCENES).missing(session.home):
            return _SCENES, "15-Scene"
        return str(digits), f"{self.digits} handwritten digits of each class"

    def _answers(
        self,
        words: str,
        trained: int,
        table: FeatureComparison,
        found: Mapping[str, Measured],
        better: Improvements,
    ) -> list[Answer]:
        images = len(next(iter(found.values())).correct)
        svm, blank, far, pixels = (found[name] for name in ("head linear-svc", _BLANK, _FAR, _PIXELS))
        layers = {
            row.recipe.blocks[0].layer: row.accuracy.value
            for row in table.rows
            if row.recipe.normalisation == "l2" and row.recipe.blocks[0].model == self.model
        }
        said = ", ".join(f"{name} {value:.3f}" for name, value in layers.items())
        heads = ", ".join(f"{head} {found[f'head {head}'].accuracy.value:.3f}" for head in _HEADS)
        greys = ", ".join(f"{how} {found[f'grey {how}'].accuracy.value:.3f}" for how in _GREYS)
        ideas = {idea.name: row.accuracy.value for idea, row in zip(better.ideas, better.rows, strict=True)}
        tuned, before, after = ideas.get("fine-tuning"), ideas["baseline"], better.rows[better.best].accuracy.value
        deep, shallow = next(iter(layers.values())), min(layers.values())
        return [
            *(_published(layer, kind, value, table, words) for (layer, kind), value in PUBLISHED.items()),
            Answer(
                "5. why not train VGG16 on the scenes directly",
                "too few images",
                f"VGG16 has 138,357,544 parameters for {trained} training images; features of an untrained network "
                f"give {blank.accuracy}",
                "answered",
                f"{self.model} on {words}; a training from scratch was not made",
            ),
            Answer(
                "6. what pre-training is worth",
                "it helps",
                f"{svm.accuracy} with, {blank.accuracy} without",
                _verdict(svm, blank),
                f"the same layer of {self.model}, with initial weights; McNemar {p_value(svm.p_against(blank))}, "
                f"{images} images",
            ),
            Answer(
                "7. limits of feature extraction",
                "images unlike ImageNet",
                f"on handwritten digits {far.accuracy}; a linear SVM on the bare pixels {pixels.accuracy}",
                _verdict(pixels, far),
                f"a limit would show as features that lose to pixels; McNemar {p_value(far.p_against(pixels))}",
            ),
            Answer(
                "8. the layer",
                "deeper is more specific",
                said,
                "reproduced" if deep - shallow > _ALIKE else "differs",
                f"of {self.model}, L2-normalised, the layer below the classes first; test images of {words}",
            ),
            Answer("9. grey images", "replicate, or average the weights", greys, "answered", _GREY_REASON),
            Answer(
                "10. the network itself instead of an SVM",
                "possible",
                heads + ("" if tuned is None else f"; fine-tuned {tuned:.3f}"),
                "answered",
                "logistic regression is the network's own kind of last layer",
            ),
            Answer(
                "11. improvements",
                "-",
                f"{before:.3f} to {after:.3f} ({after - before:+.3f})",
                "answered",
                "with the idea that cross-validation on the training images prefers; the notes above say why and what "
                "came of each",
            ),
        ]

    def headline(self, result: Result) -> Headline:
        """Test accuracy with and without pre-training."""
        names = {"pretrained features": "head/linear-svc", "initial weights": "initial/weights"}
        names |= {"digits: features": "features/of digits", "digits: bare pixels": "pixels/of digits"}
        found = {words: Estimate.of(result.metrics, f"accuracy/{name}") for words, name in names.items()}
        svm, blank, far, pixels = found.values()
        decided = "reproduced" if svm.low > blank.high else "differs" if svm.high < blank.low else ""
        return Headline(
            f"A linear SVM on pretrained features classifies {share(svm)} of the test images correctly; on the same "
            f"layer of a network with initial weights, {share(blank)}. On handwritten digits its accuracy is "
            f"{share(far)}; an SVM on the pixels themselves has {share(pixels)}.",
            "accuracy of a linear SVM on pretrained features",
            svm,
            published="pre-training helps",
            verdict=decided,
            tone="good" if decided == "reproduced" else "attention",
            picture=ImageGrid(
                ((Bars(tuple(found), tuple(one.value for one in found.values()), "test accuracy", 0),),),
                "Test accuracy with and without pre-training",
            ),
        )


def _verdict(better: Measured, worse: Measured) -> Verdict:
    """Whether the first is better, on the same images; chance decides nothing."""
    if not better.p_against(worse) < 0.05:
        return "answered"
    return "reproduced" if better.accuracy.value > worse.accuracy.value else "differs"


def _published(layer: str, kind: str, published: float, table: FeatureComparison, words: str) -> Answer:
    measured = {(str(row.recipe), row.recipe.normalisation): row.accuracy for row in table.rows}
    question = f"Table 1.1, {layer.partition('@')[2]}, {'normalised' if kind == 'l2' else 'not normalised'}"
    found = measured.get((layer, kind))  # pyright: ignore[reportArgumentType]
    if found is None or words != "15-Scene":
        why = "VGG16's fully connected weights, or 15-Scene, are missing; what there is stands in the table above"
        return Answer(question, f"{published:.3f}", "—", "not measured here", why)
    alike = abs(found.value - published) <= _ALIKE or found.low <= published <= found.high
    return Answer(question, f"{published:.3f}", str(found), "reproduced" if alike else "differs", "95 % interval")


def _complete(found: FeatureComparison) -> Table:
    """The table of features under its name, with the rows of Table 1.1 that nothing here can measure."""
    asked = {(str(recipe), recipe.normalisation) for recipe, _ in found.compared}
    missing = [case for case in PUBLISHED if case not in asked]
    return features_table(found, "Table 1.1, with other layers and networks", unmeasured=missing)


def _table(found: Mapping[str, Measured], words: str) -> Table:
    rows = tuple((name, one.accuracy.value, one.accuracy.low, one.accuracy.high) for name, one in found.items())
    columns = (Column("what"), *(Column(name, ".3f") for name in ("test accuracy", "low", "high")))
    caption = (
        f"On {words}, one thing changed at a time; the last two rows on handwritten digits. 95 % Wilson intervals."
    )
    return Table(columns, rows, title="Heads, grey images, and pre-training", caption=caption)
