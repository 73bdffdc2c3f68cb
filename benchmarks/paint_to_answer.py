"""Measure the local page: from lifting the brush to the new classes and map, in a real browser.

    python benchmarks/paint_to_answer.py [MODEL] [STROKES]

It prints the median and the slowest time of some strokes, the processor time of the server's answer, and the load of
the machine. It needs Playwright and an installed Chromium.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import threading
import time

from playwright.sync_api import Page, sync_playwright

from deepscope.app import web
from deepscope.app.asked import Choice, Look, Stroke
from deepscope.app.studio import Studio
from deepscope.data.photographs import bundled
from deepscope.models import load_model
from deepscope.session import Session

_WATCH = """() => {
    const told = document.querySelector('.ap-model .ex-help');
    globalThis.times = [];
    let begun = 0;
    document.querySelector('canvas').addEventListener('pointerup', () => { begun = performance.now(); });
    new MutationObserver(() => {
        if (begun) globalThis.times.push(performance.now() - begun);
        begun = 0;
    }).observe(told, {childList: true});
}"""


def strokes(page: Page, count: int) -> list[float]:
    """Seconds from lifting the brush to the answer, of short strokes at different places."""
    box = page.locator("canvas").bounding_box()
    assert box is not None
    page.evaluate(_WATCH)
    for number in range(count):
        page.mouse.move(box["x"] + box["width"] * (0.3 + 0.4 * number / count), box["y"] + box["height"] / 2)
        page.mouse.down()
        page.wait_for_timeout(700)  # the answer for the first dab is there before the brush is lifted
        page.mouse.move(box["x"] + box["width"] * (0.32 + 0.4 * number / count), box["y"] + box["height"] / 2)
        page.mouse.up()
        page.wait_for_timeout(1500)
    return [one / 1000 for one in page.evaluate("globalThis.times")]


def main() -> None:
    """Start the page, paint, print."""
    name, count, *_ = [*sys.argv[1:], *("efficientnet_lite0", "12")[len(sys.argv) - 1 :]]
    studio = Studio((load_model(name, Session()),), {"cat": bundled("chelsea.png")}, Session())
    studio.warm()
    image = studio.choose(Choice("cat"))["image"]
    began = time.process_time()
    for x in range(5):
        studio.look(Look(image, (Stroke("blur", 120, ((100 * x, 500),)),)))
    print(f"{name}: {1000 * (time.process_time() - began) / 5:.0f} ms of processor time per answer")
    server = web.server(web.application(studio, "token", "127.0.0.1"))
    with web.listening("127.0.0.1", 0) as socket, sync_playwright() as playwright:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(web.address("127.0.0.1", socket.getsockname()[1], "token"))
        page.locator(".ap-model[aria-busy=false] .ex-bars li").first.wait_for()
        times = strokes(page, int(count))
        chromium.close()
        server.should_exit = True
        thread.join()
    load = os.getloadavg()[0]
    print(f"median {statistics.median(times):.3f} s, slowest {max(times):.3f} s, {len(times)} strokes, load {load:.1f}")


if __name__ == "__main__":
    main()
