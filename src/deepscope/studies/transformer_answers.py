"""What the study of transformers' attribution maps asks, and how its figures answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions import Attribution, Sanity, SanityCheck, attribute
from deepscope.attributions.measuring import CHANCE, POINTING, Values
from deepscope.inputs import Photos
from deepscope.presenters.explain_compare import ACROSS
from deepscope.presenters.explained import heat, image_cell
from deepscope.results import Column, GridCell, ImageGrid, Table
from deepscope.statistics import Estimate, difference, mean, simultaneous
from deepscope.studies.claims import FEWEST, Question, Row
from deepscope.studies.study import Answer

FAITHFULNESS, HELD_OUT, INK = "faithfulness", "held-out", "pixels"
_SHOWN = 4
MAPS = (
    "Where each method finds the evidence for the predicted class: brighter counts more; where a map is red "
    "and blue, red speaks for the class and blue against it."
)
"""What the figure of one network's maps shows."""
_CLAIMS = (
    ("Chefer et al. 2021", "generic-attention", ("attention-rollout",)),
    ("Bousselham et al. 2024", "legrad", ("generic-attention", "grad-cam")),
    ("Achtibat et al. 2024", "attn-lrp", ("generic-attention", "gradient-times-input", "integrated-gradients")),
)
"""Papers that report their method as more faithful than others."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on one network.

    Attributes:
        accuracy: on the test digits.
        test, held_out: method, or "random" for random maps, or "pixels" for the digit itself as its map -> measure ->
            (N,) values, on test digits and on held-out training digits.
        digits: (N,) places of the test digits among those that were drawn for every network.
        sanity: the sanity check, on test digits.
        refused: methods that do not apply, and why.
    """

    accuracy: Estimate
    test: Mapping[str, Values]
    held_out: Mapping[str, Values]
    digits: Sequence[int]
    sanity: SanityCheck
    refused: Mapping[str, str]

    @property
    def images(self) -> int:
        """Test digits that were measured."""
        return len(self.test[CHANCE]["insertion"])

    @property
    def methods(self) -> list[str]:
        """Those that apply."""
        return [name for name in self.test if name not in (CHANCE, INK)]

    def area(self, method: str, *, held_out: bool = False) -> NDArray[np.float64]:
        """(N,) insertion minus deletion."""
        values = (self.held_out if held_out else self.test)[method]
        return values["insertion"] - values["deletion"]

    def gained(self, method: str, *, than: str = CHANCE, held_out: bool = False) -> NDArray[np.float64]:
        """(N,) insertion minus deletion, above that of other maps of the same digits."""
        return self.area(method, held_out=held_out) - self.area(than, held_out=held_out)

    @property
    def leader(self) -> str:
        """The method that is most faithful on held-out training digits."""
        return _leader({method: mean(self.gained(method, held_out=True)).value for method in self.methods})

    def pointed(self, method: str) -> NDArray[np.float64]:
        """(N,) share of the map on or next to the strokes, above that of random maps."""
        return self.test[method][POINTING] - self.test[CHANCE][POINTING]

    def trusted(self, method: str) -> bool:
        """Whether it is more faithful than random maps, points better, and passes the sanity check."""
        beyond = self._above_0(self.gained(method)) and self._above_0(self.pointed(method))
        checked = Sanity.of(self.sanity.survived[method], self.sanity.depths, confidence=self._together)
        return beyond and checked.verdict == "passes"

    def informative(self, method: str) -> bool:
        """Whether it is more faithful than the digit itself, which knows nothing of the network."""
        return self._above_0(self.gained(method, than=INK))

    @property
    def _together(self) -> float:
        """The confidence of intervals that hold for all methods together."""
        return simultaneous(len(self.methods))

    def _above_0(self, values: NDArray[np.float64]) -> bool:
        return mean(values, confidence=self._together).low > 0


def _leader(gains: Mapping[str, float]) -> str:
    """The method whose mean gain is the largest; the first by name where several are."""
    return min(gains, key=lambda name: (-gains[name], name))


def leader(metrics: Mapping[str, float]) -> str | None:
    """The transformer's `Measured.leader`, from the metrics of a result; None where there are none."""
    head, tail = f"{HELD_OUT}/{FAITHFULNESS}/", "/vit"
    found = {
        key[len(head) : -len(tail)]: metrics[key] for key in metrics if key.startswith(head) and key.endswith(tail)
    }
    return _leader(found) if found else None


def worth(found: Mapping[str, Measured]) -> list[Answer]:
    """Which maps of each network can be trusted, and which tell more than the digit itself."""
    asked = (
        (
            "that can be trusted",
            Measured.trusted,
            "beat random maps in faithfulness and pointing, pass the sanity check",
        ),
        (
            "more faithful than the digit itself",
            Measured.informative,
            "its pixels as a map know nothing of the network",
        ),
    )
    answers = []
    for name, one in found.items():
        order = sorted(one.methods, key=lambda method: -mean(one.gained(method)).value)
        for text, holds, rule in asked:
            good = [method for method in order if holds(one, method)]
            rest = ", ".join(method for method in order if method not in good)
            because = f"{rule}; {one.images} test digits, rule fixed beforehand. Not: {rest or 'none'}"
            answers.append(Answer(f"Maps of the {name} {text}", "—", ", ".join(good) or "none", "answered", because))
    return answers


def questions(vit: Measured, cnn: Measured) -> list[Question]:
    """The leading method against the others, papers' claims, and one network against the other."""
    return [_leading(vit), *(_claim(vit, *claim) for claim in _CLAIMS), _networks(vit, cnn)]


def _leading(vit: Measured) -> Question:
    best = vit.leader
    others = [name for name in vit.methods if name != best]
    level = simultaneous(len(others))
    rows = [
        Row(
            f"leading/{name}",
            f"{best} minus {name}",
            difference(vit.gained(best), vit.gained(name), confidence=level),
            1,
            vit.images,
        )
        for name in others
    ]
    claim = f"{best}, which leads on held-out training digits, is more faithful than each other method on test digits"
    return Question("The leading method of the vit (intervals for all rows together)", claim, tuple(rows))


def leading(question: Question) -> Answer:
    """Which other methods the leading one surpasses."""
    best, surpassed, rest = "", [], []
    for row in question.rows:
        best, _, other = row.text.partition(" minus ")
        (surpassed if row.answer == "reproduced" else rest).append(f"{other} {row.estimate}")
    said = f"{best}: above {len(surpassed)} of {len(question.rows)} other methods, paired by digit"
    because = f"chosen on held-out training digits. Not surpassed: {', '.join(rest) or 'none'}"
    return Answer("The most faithful map of the vit", "—", said, "answered", because)


def _claim(vit: Measured, paper: str, method: str, others: tuple[str, ...]) -> Question:
    known = [other for other in others if method in vit.test and other in vit.test]
    level = simultaneous(len(known))
    rows = [
        Row(
            f"claim/{method}/{other}",
            f"{method} minus {other}",
            difference(vit.gained(method), vit.gained(other), confidence=level),
            1,
            vit.images,
        )
        for other in known
    ]
    return Question(f"{method} on the vit", f"more faithful than {' and '.join(others)} ({paper})", tuple(rows))


def _networks(vit: Measured, cnn: Measured) -> Question:
    """Digit by digit, on those that both classify correctly."""
    shared, *places = np.intersect1d(vit.digits, cnn.digits, return_indices=True)
    names = [name for name in vit.methods if name in cnn.test]
    level = simultaneous(len(names))
    rows = [
        Row(
            f"networks/{name}",
            f"{name}: vit minus cnn",
            difference(vit.gained(name)[places[0]], cnn.gained(name)[places[1]], confidence=level),
            0,
            len(shared),
        )
        for name in names
    ]
    claim = f"none; faithfulness of the same method to both, on {len(shared)} digits that both classify correctly"
    return Question("The vit against the cnn (intervals for all rows together)", claim, tuple(rows))


def compared(question: Question) -> Answer:
    """Which methods are more faithful to one of the networks; the figures are in the question's table."""
    sides: dict[str, list[str]] = {"less faithful to the vit": [], "more faithful to it": [], "not decided": []}
    less, more, open_ = sides.values()
    for row in question.rows:
        below, above = row.estimate.high < 0, row.estimate.low > 0  # neither where there is no figure
        side = (less if below else more if above else open_) if row.images >= FEWEST else open_
        side.append(row.text.partition(":")[0])
    said = "; ".join(f"{text}: {', '.join(names)}" for text, names in sides.items() if names)
    verdict = "answered" if less or more else "not decided"
    return Answer(question.title, question.claim, said or "—", verdict)


def table(name: str, one: Measured) -> Table:
    """One row per method: all figures, the most faithful first."""
    columns = (
        "method", FAITHFULNESS, "beyond the digit itself", "insertion", "deletion", "on the strokes", "sanity check",
    )  # fmt: skip
    rows = []
    for method in sorted((*one.methods, INK, CHANCE), key=lambda method: -mean(one.area(method)).value):
        cells = [str(mean(one.test[method][measure])) for measure in ("insertion", "deletion", POINTING)]
        gains = ("—" if method == than else str(mean(one.gained(method, than=than))) for than in (CHANCE, INK))
        verdict = one.sanity.found[method].verdict if method in one.sanity.found else "—"
        rows.append((method, *gains, *cells, verdict))
    caption = (
        f"{one.images} test digits that the network classifies correctly. Faithfulness: insertion minus deletion, "
        "above random maps. Pixels: the digit itself as its map. On the strokes: share of a map's positive values on "
        "the ink or next to it. With black as the empty image, methods that multiply by the input gain in both."
    )
    refused = f" Refused: {', '.join(one.refused)}." if one.refused else ""
    titles = tuple(Column(text) for text in columns)
    return Table(titles, tuple(rows), title=f"Maps of the {name}", caption=caption + refused)


def figure_title(name: str) -> str:
    """The title of the figure of one network's maps."""
    return f"Maps of the {name}, drawn"


def figure(name: str, methods: Mapping[str, Attribution], photos: Photos) -> ImageGrid:
    """The maps of a few digits by every method, in several rows."""
    shown = photos[range(min(_SHOWN, len(photos)))]
    drawn = {key: attribute(method, shown.model, shown.pixels, shown.predicted) for key, method in methods.items()}
    grid: list[tuple[GridCell, ...]] = []
    for row in range(len(shown)):
        cells = (image_cell(shown, row), *(heat(methods[key], maps[row], caption=key) for key, maps in drawn.items()))
        grid += [cells[first : first + ACROSS] for first in range(0, len(cells), ACROSS)]
    return ImageGrid(tuple(grid), title=figure_title(name), caption=MAPS)
