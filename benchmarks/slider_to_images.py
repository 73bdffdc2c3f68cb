"""Measure the sliders of `deepscope serve`: from moving a slider to the new images, in a real browser.

    python benchmarks/slider_to_images.py RUN [MOVES]

RUN is a folder that `deepscope gan train` wrote. It prints the median and the slowest time from a slider's event to the
decoded picture, the processor time of the server's answer, and the load of the machine. It needs Playwright and an
installed Chromium.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from deepscope.app import web
from deepscope.app.asked import Move
from deepscope.app.latent import LatentStudio
from deepscope.app.studio import Studio
from deepscope.models import load_model
from deepscope.session import Session

_WATCH = """() => {
    globalThis.times = [];
    let begun = 0;
    document.querySelector('.sliders').addEventListener('input', () => { begun = performance.now(); }, true);
    document.querySelector('.sl-picture').addEventListener('load', () => {
        if (begun) globalThis.times.push(performance.now() - begun);
        begun = 0;
    });
}"""


def moves(page: Page, count: int) -> list[float]:
    """Seconds from the event of a slider to its picture, of sliders in turn, by the keyboard."""
    page.evaluate(_WATCH)
    sliders = page.get_by_role("slider").all()
    for number in range(count):
        sliders[number % len(sliders)].press("ArrowRight")
        page.wait_for_timeout(400)
    return [one / 1000 for one in page.evaluate("globalThis.times")]


def main() -> None:
    """Start the page, move sliders, print."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30
    latent = LatentStudio(folder, Session())
    latent.warm()
    began = time.process_time()
    for place in range(10):
        latent.move(Move((20 + place,) * latent.directions))
    print(f"{folder}: {1000 * (time.process_time() - began) / 10:.0f} ms of processor time per answer")
    studio = Studio((load_model("efficientnet_lite0", Session()),), {}, Session())
    server = web.server(web.application(studio, "token", "127.0.0.1", latent))
    with web.listening("127.0.0.1", 0) as socket, sync_playwright() as playwright:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(web.address("127.0.0.1", socket.getsockname()[1], "token", "/directions"))
        page.locator("img.sl-picture[src^=data]").wait_for()
        times = moves(page, count)
        chromium.close()
        server.should_exit = True
        thread.join()
    load = os.getloadavg()[0]
    print(f"median {statistics.median(times):.3f} s, slowest {max(times):.3f} s, {len(times)} moves, load {load:.1f}")


if __name__ == "__main__":
    main()
