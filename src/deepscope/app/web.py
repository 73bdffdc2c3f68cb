"""The ASGI application: routes to the studio through the one worker, with limits on what is sent."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from deepscope.app import asked
from deepscope.app.access import Access, Application
from deepscope.app.latent import LatentStudio
from deepscope.app.page import Page
from deepscope.app.pictures import UPLOAD
from deepscope.app.studio import Studio
from deepscope.app.worker import Busy, Replaced, Stopped, Worker
from deepscope.errors import DeepscopeError, out_of_memory

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response

_JSON = 2**20
"""Bytes of a request other than an image."""
_UPLOADS = 4
"""Requests whose bodies are read at the same time."""
_SLOWEST = 30.0
"""Seconds that a body may take to arrive."""
_VIEW = 80
_LOOK_AGAIN = 0.25
"""Seconds between two looks whether the browser still waits."""

_log = logging.getLogger("deepscope.app")


class TooLarge(Exception):
    """More bytes were sent than are read."""


class Gone(Exception):
    """The browser does not wait any more."""


def application(studio: Studio, token: str, host: str, latent: LatentStudio | None = None) -> Access:
    """What the server runs: every route, behind `Access`.

    Args:
        studio: what answers.
        token: that requests need.
        host: that the server listens on.
        latent: what answers the page of sliders; without one there is no such page.
    """
    page = Page(studio.about(), directions=latent is not None)
    policies = {"/": page.policy, **({"/directions": latent.policy} if latent else {})}
    routes = _Routes(studio, page, latent)
    return Access(cast(Application, routes.application()), token, host, policies, routes.worker.stop)


class _Routes:
    def __init__(self, studio: Studio, page: Page, latent: LatentStudio | None) -> None:
        self.studio, self.page, self.latent = studio, page, latent
        self.worker = Worker()
        self.reading = asyncio.Semaphore(_UPLOADS)

    def application(self) -> object:
        from starlette.applications import Starlette
        from starlette.routing import Route

        @asynccontextmanager
        async def lifespan(_: object) -> AsyncIterator[None]:
            yield
            self.worker.close()

        posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "open": self.open,
            "choose": self.choose,
            "thumbnails": self.thumbnails,
            "look": self.look,
            "explain": self.explain,
            "attack": self.attack,
            "dream": self.dream,
            "export": self.export,
        }
        pages = {"/": self.page.html}
        if self.latent:
            pages["/directions"] = self.latent.html
            posts |= {"move": self.move, "directions": self.directions}
        routes = [Route(f"/api/{name}", self.answered(answer), methods=["POST"]) for name, answer in posts.items()]
        shown = [Route(path, _document(html)) for path, html in pages.items()]
        return Starlette(routes=[*shown, *routes], lifespan=lifespan)

    async def open(self, request: Request) -> Response:
        content = await self.body(request, UPLOAD)
        name = unquote(request.headers.get("x-name", ""))[:200] or "image"
        return await self.computed(request, lambda: self.studio.open(content, name))

    async def choose(self, request: Request) -> Response:
        chosen = asked.choice(asked.parsed(await self.body(request, _JSON)))
        return await self.computed(request, lambda: self.studio.choose(chosen))

    async def thumbnails(self, request: Request) -> Response:
        return await self.computed(request, self.studio.thumbnails)

    async def look(self, request: Request) -> Response:
        view = asked.look(asked.parsed(await self.body(request, _JSON)))
        return await self.computed(request, lambda: self.studio.look(view))

    async def attack(self, request: Request) -> Response:
        view = asked.look(asked.parsed(await self.body(request, _JSON)))
        return await self.computed(request, lambda: self.studio.attack(view))

    async def export(self, request: Request) -> Response:
        looks = asked.kept(asked.parsed(await self.body(request, _JSON)))
        return _saved(await self.waited(request, lambda: self.studio.export(looks)), "deepscope.html")

    async def move(self, request: Request) -> Response:
        latent, places = self.latent, asked.move(asked.parsed(await self.body(request, _JSON)))
        assert latent is not None
        return await self.computed(request, lambda: latent.move(places))

    async def directions(self, request: Request) -> Response:
        latent, places = self.latent, asked.move(asked.parsed(await self.body(request, _JSON)))
        assert latent is not None
        return _saved(await self.waited(request, lambda: latent.export(places)), "directions.html")

    async def dream(self, request: Request) -> Response:
        """Lines of JSON while the image grows. A closed connection stops the ascent."""
        from starlette.responses import StreamingResponse

        wanted = asked.dream(asked.parsed(await self.body(request, _JSON)))
        frames = self.worker.run(_view(request), self.studio.dream(wanted))
        first = await anext(frames)  # an error that comes at once has a status of its own
        return StreamingResponse(_lines(_pictured(first, frames)), media_type="application/x-ndjson")

    async def explain(self, request: Request) -> Response:
        """Lines of JSON while a costly map is computed, the map last. A closed connection stops it."""
        from starlette.responses import StreamingResponse

        view = asked.look(asked.parsed(await self.body(request, _JSON)))
        lines = _lines(self.worker.watch(_view(request), lambda report: self.studio.explain(view, report)))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def computed(self, request: Request, answer: Callable[[], object]) -> Response:
        from starlette.responses import JSONResponse

        return JSONResponse(await self.waited(request, answer))

    async def waited(self, request: Request, answer: Callable[[], object]) -> object:
        """The worker's answer. Raises Gone where the browser does not wait for it: it is not computed then."""
        running = asyncio.create_task(self.worker.first(_view(request), answer))
        while not running.done():
            await asyncio.wait([running], timeout=_LOOK_AGAIN)
            if not running.done() and await request.is_disconnected():
                running.cancel()
                raise Gone
        return running.result()

    async def body(self, request: Request, most: int) -> bytes:
        """What was sent. Raises TooLarge where it is more than `most` bytes, and reads no further."""
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise TooLarge(f"at most {most >> 20} MB can be sent")
        async with self.reading:
            try:
                return await asyncio.wait_for(_read(request, most), _SLOWEST)
            except asyncio.TimeoutError:
                raise TooLarge(f"nothing that takes longer than {_SLOWEST:.0f} s to arrive can be sent") from None

    def answered(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """A handler whose errors are one line of JSON each, never a traceback."""

        async def answer(request: Request) -> Response:
            from starlette.responses import JSONResponse

            try:
                return await handler(request)
            except Exception as error:
                status, line = _said(error)
                return JSONResponse({"error": line}, status_code=status)

        return answer


def _document(html: str) -> Callable[[Request], Awaitable[Response]]:
    """What answers with a page."""

    async def document(_: Request) -> Response:
        from starlette.responses import HTMLResponse

        return HTMLResponse(html)

    return document


def _saved(html: object, name: str) -> Response:
    """A page that the browser saves under a name."""
    from starlette.responses import HTMLResponse

    return HTMLResponse(str(html), headers={"content-disposition": f'attachment; filename="{name}"'})


def _said(error: Exception) -> tuple[int, str]:
    """A status and one line for the page."""
    match error:
        case DeepscopeError():
            return 400, str(error)
        case TooLarge():
            return 413, str(error)
        case Replaced():
            return 409, "a newer request came first"
        case Busy():
            return 503, "too many requests wait: try again in a moment"
        case Stopped():
            return 503, "the server has ended"
        case Gone():
            return 499, "the browser did not wait"
        case _ if out_of_memory(error):
            return 507, "there is not enough memory: use a smaller image, or close other programs"
        case _:
            _log.error("a request failed", exc_info=error)
            return 500, f"the server failed ({type(error).__name__}): its terminal says more"


async def _pictured(first: object, frames: AsyncGenerator[object, None]) -> AsyncGenerator[object, None]:
    """The first frame, and those of the others that have a picture."""
    try:
        yield first
        async for frame in frames:
            if "picture" in cast("dict[str, Any]", frame):
                yield frame
    finally:
        await frames.aclose()


async def _lines(frames: AsyncGenerator[object, None]) -> AsyncIterator[bytes]:
    """One line of JSON per answer; the last one says what failed, where something did."""
    try:
        async for frame in frames:
            yield _line(frame)
    except Exception as error:
        yield _line({"error": _said(error)[1]})
    finally:
        await frames.aclose()


def _line(said: object) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


async def _read(request: Request, most: int) -> bytes:
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge(f"at most {most >> 20} MB can be sent")
        parts.append(part)
    return b"".join(parts)


def _view(request: Request) -> str | None:
    """What asks: a part of one page. Its newer requests replace older ones that wait."""
    return request.headers.get("x-view", "")[:_VIEW] or None


def address(host: str, port: int, token: str, path: str = "/") -> str:
    """Where a page is."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}?token={token}"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; 0 takes any free port. Raises OSError where the port is taken or the host is elsewhere."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def server(application: Access) -> uvicorn.Server:
    """What answers requests: `run(sockets=[...])` returns after ctrl-C, or once `should_exit` is set."""
    import uvicorn

    config = uvicorn.Config(
        cast(Any, application),
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=512,
        timeout_graceful_shutdown=2,
    )

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a traceback of each upload that it cuts off
            application.stop()
            await super().shutdown(sockets)

    return Server(config)
