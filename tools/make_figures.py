"""Make the figures of the README and the site: `python tools/make_figures.py [NAME ...]`.

Each figure is the first one of a deepscope command, drawn to docs/images/NAME.png without its title and caption: the
pages say both as text. Without names, the quick ones are made, which need nothing but the installation; the others
train networks for a quarter of an hour, or need weights in DEEPSCOPE_HOME.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deepscope import render
from deepscope.cli.program import run
from deepscope.data.photographs import bundled
from deepscope.render import plots
from deepscope.results import Result

IMAGES = Path(__file__).parent.parent / "docs" / "images"
_CAT, _COFFEE, _ROCKET, _MOTORCYCLE = map(
    str, map(bundled, ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"))
)
# fmt: off
_TWENTY = (
    "tench", "house finch", "European fire salamander", "banded gecko", "American alligator", "Indian cobra",
    "tarantula", "quail", "sulphur-crested cockatoo", "bee eater", "platypus", "wombat", "snail", "Dungeness crab",
    "flamingo", "oystercatcher", "Shih-Tzu", "papillon", "borzoi", "Border terrier",
)
# fmt: on
_EVALUATED = ("--evaluators", "efficientnet_lite0", "--evaluators", "efficientnet_lite2")
_TRAIN = ("gan", "train", "mnist", "--r1-regularised", "--width", "32", "--precision", "bfloat16", "--out", "model")


@dataclass(frozen=True)
class Figure:
    """A figure of the documentation.

    Attributes:
        commands: to run in order, in an empty folder; the last one writes to `--out figure`.
        width: in pixels.
        quick: whether it takes seconds and needs no data.
    """

    commands: tuple[tuple[str, ...], ...]
    width: int = 1200
    quick: bool = False


FIGURES = {
    "classify": Figure((("classify", _CAT, _COFFEE, _ROCKET, _MOTORCYCLE),), width=640, quick=True),
    "explain": Figure((("explain", "grad-cam", _CAT, "--top", "2"),), width=1000, quick=True),
    "attack": Figure((("attack", "fooling", _CAT, _COFFEE, "--target", "toaster"),), width=800, quick=True),
    "class-images": Figure(
        (("visualize", *_TWENTY, "--model", "squeezenet1_0", *_EVALUATED, "--precision", "bfloat16"),)
    ),
    "digits": Figure(((*_TRAIN, "--conditional"), ("gan", "grid", "model"))),
    "clusters": Figure(((*_TRAIN, "--clusters", "50"), ("gan", "sample", "model"))),
}


def make(name: str, figure: Figure) -> Path:
    """Run a figure's commands and keep the figure of the last one.

    Raises:
        SystemExit: a command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, command in enumerate(figure.commands, start=1):
            words = [str(Path(folder) / word) if word == "model" else word for word in command]
            if number == len(figure.commands):
                words += ["--out", str(Path(folder) / "figure")]
            if status := run([*words, "--quiet"]):
                raise SystemExit(status)
        return keep(render.load(Path(folder) / "figure"), name, figure.width)


def keep(result: Result, name: str, width: int) -> Path:
    """Draw the first figure of a result, at most `width` pixels wide."""
    pixels = next(pixels for block in result.blocks if (pixels := plots.draw(block, titled=False)) is not None)
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((width, 10 * width))
    image.save(IMAGES / f"{name}.png", optimize=True)
    return IMAGES / f"{name}.png"


def main() -> None:
    """Make the figures that were named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    names = parser.parse_args().names or [name for name, figure in FIGURES.items() if figure.quick]
    if unknown := set(names) - set(FIGURES):
        parser.error(f"no figure {', '.join(sorted(unknown))}: choose among {', '.join(FIGURES)}")
    for name in names:
        print(make(name, FIGURES[name]))


if __name__ == "__main__":
    main()
