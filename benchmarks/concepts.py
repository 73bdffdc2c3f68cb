"""How often a planted watermark is the first concept, how often random concepts are significant, and seconds.

    python benchmarks/concepts.py --seeds 10 --random 20 --images 200

Each seed draws photographs of 15-Scene, puts a watermark into a corner of a copy of each, and fits a classifier that
tells copies from originals: nothing but the watermark does. `find` has found it where the first concept peaks on the
watermark or at a position next to it, in most of the images that show the concept most; `tcav` where the concept of
further marked photographs comes first among concepts that are scenes, and is significant. Random concepts are sets of
further photographs, and their p-values are not adjusted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import deepscope as ds
from deepscope import images
from deepscope.concepts import Concepts
from deepscope.inputs.examples import Examples
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.statistics import proportion
from environment import environment

_SIDE = 160
_MARK = 32
_EACH, _CONCEPT, _POOL = 40, 15, 80
"""Photographs of each half, of a concept, and of the pool."""


class Marked:
    """Photographs and a watermark, drawn by a seed."""

    def __init__(self, examples: Examples, seed: int) -> None:
        self._examples = examples
        self.rng = np.random.default_rng(seed)
        coarse = self.rng.choice(np.array([0, 255], np.uint8), (4, 4, 3))
        self._mark = np.asarray(Image.fromarray(coarse).resize((_MARK, _MARK), Image.Resampling.NEAREST))
        down, right = self.rng.integers(0, 2, 2) * (_SIDE - _MARK)
        self.box = (int(right), int(down), int(right) + _MARK, int(down) + _MARK)
        self._rows = self.rng.permutation(len(examples)).tolist()

    def take(self, count: int, *, marked: bool = False) -> list[NDArray[np.uint8]]:
        """Further photographs."""
        return [self._open(self._rows.pop(), marked=marked) for _ in range(count)]

    def pairs(self, count: int) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
        """Further photographs, plain and marked."""
        plain = self.take(count)
        return plain, [self._marked(pixels.copy()) for pixels in plain]

    def scene(self, label: int, count: int) -> list[NDArray[np.uint8]]:
        """Photographs of one class."""
        rows = self.rng.permutation(np.flatnonzero(self._examples.labels == label))[:count]
        return [self._open(int(row), marked=False) for row in rows]

    def _open(self, row: int, *, marked: bool) -> NDArray[np.uint8]:
        image = images.decode(self._examples.sources[row]).convert("RGB")  # pyright: ignore[reportArgumentType]
        pixels = np.array(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
        return self._marked(pixels) if marked else pixels

    def _marked(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        left, top, right, bottom = self.box
        pixels[top:bottom, left:right] = self._mark
        return pixels


def classifier(
    plain: Sequence[NDArray[np.uint8]], marked: Sequence[NDArray[np.uint8]], size: int = _SIDE
) -> VisionModel:
    """Tells marked from plain photographs."""
    labels = ["plain"] * len(plain) + ["marked"] * len(marked)
    return ds.ImageClassifier("efficientnet_lite0", size=size).fit([*plain, *marked], labels).model


def shows(found: Concepts, box: tuple[int, int, int, int]) -> bool:
    """Whether the first concept peaks on the box or next to it, in most of the images that show it most."""
    seen = []
    for patch in found.concepts[0].patches:
        values = found.maps[patch.image, 0]
        row, column = np.unravel_index(int(values.argmax()), values.shape)
        down, right = (_SIDE / count for count in values.shape)
        x, y = (column + 0.5) * right, (row + 0.5) * down
        seen.append(box[0] - right < x < box[2] + right and box[1] - down < y < box[3] + down)
    return sum(seen) > len(seen) / 2


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0, help="confirm on new seeds what was chosen on others")
    parser.add_argument("--random", type=int, default=20, help="random concepts per seed")
    parser.add_argument("--images", type=int, default=200, help="images that find and tcav are timed with")
    given = parser.parse_args()
    examples = Examples.of("15scene", Session.open()).training
    by_find, by_tcav, random, gains = 0, 0, [], []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        session, drawn = Session.open(seed=seed, quiet=True, device="cpu"), Marked(examples, seed)
        plain, marked = drawn.pairs(_EACH)
        model = classifier(plain, marked)
        found = ds.concepts.find(model, marked[:30], "marked", evaluated=8, session=session)
        first = shows(found, drawn.box)
        scenes = drawn.rng.permutation(len(examples.classes))[:3].tolist()
        concepts = {
            "watermark": drawn.take(_CONCEPT, marked=True),
            **{examples.classes[label]: drawn.scene(label, _CONCEPT) for label in scenes},
        }
        pool = drawn.take(_POOL)
        tests = ds.concepts.tcav(model, marked[:16], concepts, pool, targets="marked", session=session).tests
        top = tests[0].concept == "watermark" and tests[0].significant and tests[0].found.effect > 0
        chance = {f"random {number}": drawn.take(_CONCEPT) for number in range(given.random)}
        if chance:
            by_chance = ds.concepts.tcav(
                model, marked[:8], chance, pool, targets="marked", random_sets=99, session=session
            )
            random += [one.found.p_value for one in by_chance.tests]
        by_find, by_tcav = by_find + first, by_tcav + top
        gains.append(found.gain.low > 0)
        print(
            f"seed {seed}: find {first}, importance {[round(one.importance, 2) for one in found.concepts[:3]]}, gain "
            f"{found.gain}; tcav {top}: "
            f"{[(t.concept, round(t.adjusted, 3), round(t.found.effect, 1)) for t in tests]}; "
            f"random concepts significant so far: {sum(p <= 0.05 for p in random)} of {len(random)}; "
            f"{time.process_time():.0f} processor seconds",
            flush=True,
        )
    figures = {
        "find": f"{by_find} of {given.seeds}",
        "deletion confirms the order": f"{sum(gains)} of {given.seeds}",
        "tcav": f"{by_tcav} of {given.seeds}",
        "random concepts significant": str(proportion(sum(p <= 0.05 for p in random), len(random))),
        "random concepts": len(random),
        **(timed(examples, given.images) if given.images else {}),
    }
    print(json.dumps({**figures, "load": os.getloadavg()[0], **environment()}, indent=1))


def timed(examples: Examples, count: int) -> dict[str, float]:
    """Wall and processor seconds for `count` images of one predicted class, and for units over as many."""
    drawn = Marked(examples, 1000)
    plain, given = drawn.pairs(count)
    model, pool = classifier(plain[:_EACH], given[:_EACH], size=224), drawn.take(_POOL)
    concepts = {"watermark": drawn.take(_CONCEPT, marked=True)}
    runs = {
        "find": lambda: ds.concepts.find(model, given, "marked", seed=1),
        "tcav": lambda: ds.concepts.tcav(model, given, concepts, pool, targets="marked"),
        "units": lambda: ds.concepts.units(model, given, ds.concepts.find(model, given[:8], "marked").layer),
    }
    seconds: dict[str, float] = {}
    for name, run in runs.items():
        wall, processor = time.monotonic(), time.process_time()
        run()
        seconds[f"{name}/seconds"] = round(time.monotonic() - wall, 1)
        seconds[f"{name}/processor-seconds"] = round(time.process_time() - processor, 1)
    return seconds


if __name__ == "__main__":
    main()
