"""Who may ask: the token, the host and the origin of a request, and what every answer forbids the browser."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs

Scope: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
Send: TypeAlias = "Callable[[MutableMapping[str, Any]], Awaitable[None]]"
Application: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"

HEADER = "x-deepscope-token"
"""Carries the token in requests of a page. No other site can set it without this server's consent (CORS)."""
PAGES = ("/", "/directions")
"""Paths of the pages."""

_ALWAYS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class Access:
    """ASGI middleware in front of everything.

    A request needs the token (in the address of the page, in a header elsewhere). Its `Host` must be an address that
    no DNS record can point here, or the name that the server was started with; its `Origin`, where the browser sends
    one, must be this server. A page of another site therefore neither reads nor triggers anything.

    Attributes:
        application: what answers the requests that may pass.
        token: the secret.
        host: that the server was started with.
        policies: content security policy of each page, by its path; every other answer has that of "/".
        stop: ends at once whatever is being answered; called as soon as the server is to end.
    """

    application: Application
    token: str
    host: str
    policies: Mapping[str, str]
    stop: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            return await self.application(scope, receive, send)
        if scope["type"] != "http":
            return None

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = self.policies.get(scope["path"], self.policies["/"])
                said = {**_ALWAYS, "content-security-policy": policy}
                own = [(name.encode(), value.encode()) for name, value in said.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        if refusal := self.refusal(scope):
            await _refuse(guarded, *refusal)
        else:
            await self.application(scope, receive, guarded)
        return None

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is refused, as a status and one line; None where it may pass."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._knows(headers.get("host", "")):
            return 421, "this server answers to its own address only: open the address that it printed"
        origin = headers.get("origin")
        if origin is not None and origin != f"{scope.get('scheme', 'http')}://{headers['host']}":
            return 403, "requests of other sites are refused"
        opens = (
            scope["path"] in PAGES and headers.get("sec-fetch-mode") == "navigate"
        )  # a link to the page, with its token
        if not opens and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "requests of other sites are refused"
        if not secrets.compare_digest(_token(scope, headers).encode(), self.token.encode()):
            return 403, "the token is missing or wrong: open the address that `deepscope serve` printed"
        return None

    def _knows(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() in ("localhost", self.host.lower()):
            return True
        try:  # no DNS record leads to a number, so a number is not another site's name for this machine
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or not is_local(self.host)


def is_local(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(scope: Scope, headers: Mapping[str, str]) -> str:
    """What a request gives as the token: a page has it in its address, everything else in a header."""
    if scope["path"] in PAGES:
        return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
    return headers.get(HEADER, "")


async def _refuse(send: Send, status: int, line: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{line}\n".encode()})
