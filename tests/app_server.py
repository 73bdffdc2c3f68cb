"""What tests of the local page share: its secret, its address, and an image that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.testclient import TestClient

TOKEN = "a-token"
HOST = "http://127.0.0.1:8765"
HOSTILE = "<img src=x onerror=alert(1)>.png"


def opened(client: TestClient, name: str = "a.png") -> dict[str, object]:
    """One of the choices, held by the server."""
    answer = client.post("/api/choose", json={"name": name})
    assert answer.status_code == 200, answer.text
    return answer.json()
