"""Measure the explorer: size of a page with many photographs, and the time of a filter in a real browser.

    python benchmarks/explorer.py [IMAGES ...]

The photographs are crops of two that come with scikit-learn; 36 have maps and 100 an adversarial example, as in an
audit, and 250 training images stand beside them. It needs Playwright and an installed Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_sample_image

from deepscope.gallery import Adversarial, Encoded, Entry, Gallery, Measured, Near, Projection
from deepscope.presenters.gallery import CONFIDENCE, LOSS, Encoder
from deepscope.render.notebook import Explorer

_TRAINING = 250
_FILTERS = """async () => {
    const chosen = (name) => [...document.querySelectorAll('.ex-choice')]
        .find((one) => one.firstChild.textContent === name).querySelector('select');
    const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const ways = [['Outcome', 'wrong'], ['Outcome', ''], ['Truth', '3'], ['Prediction', '4'], ['Truth', ''],
        ['Prediction', ''], ['Sort by', 'loss'], ['Sort by', 'name'], ['Look at', 'failing slice 1'], ['Look at', ''],
        ['Sort by', 'confidence'], ['Images', ''], ['Images', 'evaluated']];
    const times = [];
    for (let round = 0; round < 3; round += 1) for (const [name, value] of ways) {
        await painted();
        const began = performance.now();
        chosen(name).value = value;
        chosen(name).dispatchEvent(new Event('change'));
        await painted();
        times.push(performance.now() - began);
    }
    return times;
}"""


def gallery(count: int) -> Gallery:
    """Photographs of fifteen classes, a fifth of them taken for the next one."""
    rng, encode, small = np.random.default_rng(0), Encoder(count), Encoder(_TRAINING, 0.5)
    photographs = [
        torch.from_numpy(load_sample_image(f"{name}.jpg").copy()).permute(2, 0, 1) for name in ("china", "flower")
    ]

    def crop(draw: Encoder) -> Encoded:
        y, x = int(rng.integers(427 - 224)), int(rng.integers(640 - 224))
        return draw(photographs[int(rng.integers(2))][:, y : y + 224, x : x + 224])

    names = [f"class {number}" for number in range(15)]
    noise = Encoder(20 * 60)
    entries = []
    for row in range(count):
        truth, wrong, confidence = int(rng.integers(15)), row % 5 == 0, float(rng.random())
        other = names[(truth + 1) % 15]
        entry = Entry(
            f"e{row}",
            f"image-{row}.jpg",
            f"photographs/test/{names[truth]}/image-{row}.jpg",
            crop(encode),
            "test",
            names[truth],
            other if wrong else names[truth],
            not wrong,
            tuple((names[(truth + step) % 15], confidence / (step + 1)) for step in range(5)),
            {"confidence": confidence, "loss": -float(np.log(confidence)), "radius": float(row % 9)},
            {"failing slice 1": "Errors 60 %, elsewhere 20 %."} if row % 40 == 0 else {},
            near=tuple(Near(f"t{(row + step) % _TRAINING}", 0.1 * step) for step in range(4)),
        )
        if row < 36:
            entry = replace(entry, maps={name: crop(Encoder(2000)) for name in ("saliency", "grad-cam", "smooth-grad")})
        if row < 100:
            changed = Adversarial(crop(noise), crop(noise), 63, other, 0.5, "pgd, at most 2 grey levels of 255")
            entry = replace(entry, adversarial=changed)
        entries.append(entry)
    training = [Entry(f"t{row}", f"train-{row}.jpg", picture=crop(small), split="train") for row in range(_TRAINING)]
    placed = [replace(entry, place=(float(rng.normal()), float(rng.normal()))) for entry in (*entries, *training)]
    radius = Measured("radius", "robustness radius", decimals=0)
    return Gallery(tuple(placed), (CONFIDENCE, LOSS, radius), "The images", projection=Projection("t-SNE", 0.97, 12))


def main() -> None:
    """Write the pages, open them, filter, print."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for count in map(int, sys.argv[1:] or ("500", "2000")):
            file = Explorer(gallery(count)).save(Path(folder) / f"{count}.html")
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(Path(file).as_uri())
            times = page.evaluate(_FILTERS)
            size = Path(file).stat().st_size / 2**20
            median = statistics.median(times)
            print(f"{count} images: {size:.1f} MB; painted after {median:.0f} ms, at most {max(times):.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
