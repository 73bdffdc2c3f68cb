"""A web server on loopback that misbehaves to order."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Answers each request with the next word of `script`; the last word goes on for ever.

    whole, truncate (half, then closes), stall (half, then silence), corrupt (one byte wrong), lengthless
    (no Content-Length), elsewhere (another range than asked), or a status such as 404.
    """

    daemon_threads = True

    def __init__(self, content: bytes, script: list[str], *, ranges: bool, version: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.script, self.ranges, self.version = content, script, ranges, version
        self.asked: list[str] = []
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range", ""))
        word = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        if word.isdigit():
            self.send_error(int(word))
            return
        content = server.content
        if word == "corrupt":
            content = content[:10] + bytes([content[10] ^ 1]) + content[11:]
        start = self._start(word)
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.version:
            self.send_header("ETag", server.version)
        body = content[start or 0 :]
        if word != "lengthless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = word in ("truncate", "stall")
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()
        if word == "stall":
            server.release.wait(10)

    def _start(self, word: str) -> int | None:
        """Where the answer begins; None for the whole file."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not self.server.ranges or not asked or self.headers.get("If-Range") != self.server.version:
            return None
        return int(asked[1]) + (word == "elsewhere")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(content: bytes, *script: str, ranges: bool = True, version: str = '"v1"') -> Iterator[Server]:
    with Server(content, list(script), ranges=ranges, version=version) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
