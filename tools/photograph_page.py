"""Take the picture of the local page for the documentation: `python tools/photograph_page.py`.

It starts the page with two models, paints, attacks, grows a class image, and writes docs/images/serve.png. It needs
Playwright and an installed Chromium.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from deepscope.app import web
from deepscope.app.studio import Studio
from deepscope.data.photographs import bundled_photographs
from deepscope.models import load_model
from deepscope.session import Session

FILE = Path(__file__).parent.parent / "docs" / "images" / "serve.png"
_STATE = (
    "image=choice:chelsea.png&compare=1&opacity=80&radius=4&goal=859&dream=22&steps=80"
    "&strokes=blur,150,545.430,600.430,650.430,700.430,760.430"
)


def use(page: Page) -> None:
    """Grow the class image and wait for everything else."""
    page.locator("#dream ~ .ap-row button").click()
    page.locator(".ap-grown p", has_text="Step 80 of 80").wait_for()
    page.locator(".ap-verdict[data-tone]").wait_for()
    page.locator(".ap-model[aria-busy=false]").nth(1).wait_for()


def main() -> None:
    """Start the page, look at it, write the picture."""
    models = tuple(load_model(name, Session()) for name in ("efficientnet_lite0", "squeezenet1_0"))
    studio = Studio(models, {path.name: path for path in bundled_photographs().paths}, Session())
    studio.warm()
    server = web.server(web.application(studio, "token", "127.0.0.1"))
    with web.listening("127.0.0.1", 0) as socket, sync_playwright() as playwright:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(180_000)
        page.goto(f"{web.address('127.0.0.1', socket.getsockname()[1], 'token')}#{_STATE}")
        use(page)
        page.screenshot(path=FILE, full_page=True)
        chromium.close()
        server.should_exit = True
        thread.join()
    with Image.open(FILE) as image:
        image.convert("RGB").quantize(200).save(FILE, optimize=True)
    print(FILE)


if __name__ == "__main__":
    main()
