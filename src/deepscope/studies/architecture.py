"""Chapter 1.1, questions 1 and 2: the parameters and layers of VGG16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Headline
from deepscope.models.anatomy import anatomy
from deepscope.presenters.models import present
from deepscope.results import Bars, ImageGrid, Note, Result
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies.study import Answer, Budget, Study, answers

_PUBLISHED = {
    "parameters/total": 138_357_544,
    "parameters/convolution": 14_714_688,
    "parameters/fully-connected": 123_642_856,
}

_SHARE = 0.89
"""Of the parameters in the fully connected layers, as the report gives it."""


@dataclass(frozen=True)
class Architecture(Study):
    """Count the parameters and multiply-adds of VGG16, layer by layer. Needs no weights.

    Attributes:
        model: the architecture to count; the published figures are those of vgg16.
    """

    chapter: ClassVar[str] = "1.1 VGG16 architecture"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.02, "full": 0.1}

    _: KW_ONLY
    model: str = "torchvision:vgg16"

    def inputs(self, home: Path) -> Sequence[Path]:
        """None: the architecture is in the code."""
        return []

    def run(self, session: Session) -> Result:
        """Run the network's skeleton once and compare with the report."""
        found = anatomy(self.model, session=session)
        shown = present(found)
        counted = {f"parameters/{family}": count for family, count in found.parameters.items()}
        is_vgg16 = self.model.rpartition(":")[2] == "vgg16"
        connected = counted["parameters/fully-connected"]
        share = connected / counted["parameters/total"]
        questions = [
            Answer(
                f"1. {name.partition('/')[2]} parameters",
                f"{published:,}" if is_vgg16 else "—",
                f"{counted[name]:,}",
                "answered" if not is_vgg16 else "reproduced" if counted[name] == published else "differs",
                "counted layer by layer, biases included",
            )
            for name, published in _PUBLISHED.items()
        ]
        questions.append(
            Answer(
                "1. share in the fully connected layers",
                "89 %" if is_vgg16 else "—",
                f"{100 * share:.1f} %",
                "answered" if not is_vgg16 else "reproduced" if round(share, 2) == _SHARE else "differs",
                "the first of the three alone sees 7 x 7 x 512 inputs",
            )
        )
        outputs = " x ".join(map(str, found.layers[-1].output))
        questions.append(
            Answer(
                "2. size of the last layer's output",
                "1000" if is_vgg16 else "—",
                outputs,
                "answered" if not is_vgg16 else "reproduced" if outputs == "1000" else "differs",
                "one number for each class of ImageNet; the largest names the predicted class",
            )
        )
        return Result(
            title=f"Parameters and multiply-adds of {self.model}",
            metrics=shown.metrics,
            blocks=(
                *shown.blocks,
                Note(
                    f"The parameters are in the fully connected layers, the work is not: of "
                    f"{found.multiply_adds / 1e9:.1f} billion multiply-adds for one image, the fully "
                    f"connected layers need {connected / 1e9:.2f} billion, one per weight; the "
                    f"convolutions use each weight at every position.",
                    "Parameters and arithmetic",
                    "verdict",
                ),
                answers(questions),
            ),
        )

    def headline(self, result: Result) -> Headline:
        """Where the parameters are, and where the arithmetic is."""
        total, connected = (result.metrics[f"parameters/{name}"] for name in ("total", "fully-connected"))
        share, work = connected / total, 1 - connected / result.metrics["multiply-adds"]
        names = ("convolutions", "fully connected layers")
        bars = (
            Bars(names, (1 - share, share), "share of the parameters", 1),
            Bars(names, (work, 1 - work), "share of the multiply-adds", 0),
        )
        name = self.model.rpartition(":")[2]
        is_vgg16 = name == "vgg16"
        finding = (
            f"{name} has {total / 1e6:.1f} million parameters, {connected / 1e6:.1f} million of them in its fully "
            f"connected layers. Its convolutions, which hold the rest, do {100 * work:.0f} % of the multiply-adds."
        )
        held = round(share, 2) == _SHARE
        return Headline(
            finding,
            "of the parameters are in the fully connected layers",
            Estimate(share, share, share),
            published=f"{100 * _SHARE:.0f} %" if is_vgg16 else "",
            verdict="counted" if not is_vgg16 else "reproduced" if held else "differs",
            tone="plain" if not is_vgg16 else "good" if held else "attention",
            picture=ImageGrid(tuple((chart,) for chart in bars), "Parameters and arithmetic"),
            weight=1,
        )
