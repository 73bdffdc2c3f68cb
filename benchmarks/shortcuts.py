"""How often `label_shortcuts` finds a planted corner patch and a darkened class in 15-Scene, and its false alarms.

    python benchmarks/shortcuts.py --seeds 10 --permutations 200

Each seed draws 40 images of each class, the class, the corner and the grey patch. Found: the planted property of the
planted class has an adjusted p-value of at most 0.05 and the largest AUROC of all comparisons (of the property's, for
the darkened class: brightness differs between scenes anyway). False alarms: any finding after labels were permuted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepscope import images
from deepscope.inputs.examples import Examples
from deepscope.session import Session
from deepscope.shortcuts import label_shortcuts
from deepscope.shortcuts.association import associations
from deepscope.shortcuts.properties import CORNERS, NAMES

_EACH = 40


def changed(examples: Examples, label: int, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Examples:
    """The images of one class changed, all of them decoded."""
    sources = []
    for source, own in zip(examples.sources, examples.labels):
        pixels = np.array(images.decode(source))  # pyright: ignore[reportArgumentType]
        sources.append(change(pixels) if own == label else pixels)
    return replace(examples, sources=tuple(sources))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="15scene")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--permutations", type=int, default=200)
    given = parser.parse_args()
    clean = Examples.of(given.data, Session.open()).training
    patches, dark, found = 0, 0, None
    for seed in range(given.seeds):
        session, rng = Session.open(seed=seed, quiet=True), np.random.default_rng(seed)
        own = [np.flatnonzero(clean.labels == label) for label in range(len(clean.classes))]
        some = clean.at(np.concatenate([rng.choice(rows, _EACH, replace=False) for rows in own]))
        label, corner = int(rng.integers(len(clean.classes))), int(rng.integers(4))

        def patch(pixels: NDArray[np.uint8], seed: int = seed, corner: int = corner) -> NDArray[np.uint8]:
            height, width = (max(4, side // 10) for side in pixels.shape[:2])
            coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 1), np.uint8)
            rows = (np.arange(height) * 4 // height)[:, None]
            mark = coarse[rows, np.arange(width) * 4 // width]
            down = slice(None, height) if corner < 2 else slice(-height, None)
            right = slice(None, width) if corner % 2 == 0 else slice(-width, None)
            pixels[down, right] = mark
            return pixels

        found = label_shortcuts(changed(some, label, patch), session=session)
        wanted = NAMES.index(f"repeated patch {CORNERS[corner]}"), label
        patches += found.found[:1] == [wanted]
        darkened = label_shortcuts(
            changed(some, label, lambda pixels: (pixels * 0.5).astype(np.uint8)), session=session
        )
        light = darkened.auroc[0]
        hit = darkened.p_values[0, label] <= 0.05 and np.abs(light - 0.5).argmax() == label
        dark += bool(hit)
        print(
            f"seed {seed}: {clean.classes[label]}, {CORNERS[corner]}: AUROC {found.auroc[wanted]:.3f}, first "
            f"{found.found[:1] == [wanted]}; darkened: AUROC {light[label]:.3f} {hit}",
            flush=True,
        )
    print(f"patch {patches} of {given.seeds}, darkened {dark} of {given.seeds}")
    assert found is not None
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(given.permutations):
        members = found.members[rng.permutation(len(found))]
        tested = associations(found.values, members, np.zeros(len(found), np.int64), draws=199, rng=rng)
        alarms += bool((tested.p_values <= 0.05).any())
    print(f"false alarms {alarms} of {given.permutations}")


if __name__ == "__main__":
    main()
