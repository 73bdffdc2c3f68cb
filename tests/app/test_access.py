"""Who may ask: no other machine, no other site, nobody without the token; and what the answers forbid."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from app_server import HOST, TOKEN, opened
from deepscope.app.access import Access, is_local


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1234"}, 200),  # a forwarded port
        ({"host": "[::1]:8765"}, 200),
        ({"origin": HOST, "sec-fetch-site": "same-origin"}, 200),
        ({"x-deepscope-token": ""}, 403),
        ({"x-deepscope-token": TOKEN + "x"}, 403),
        ({"host": "evil.example"}, 421),  # its DNS record was rebound to 127.0.0.1
        ({"host": "127.0.0.1.evil.example:8765"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"host": "192.168.0.7:8765"}, 421),
        ({"host": ""}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "https://127.0.0.1:8765"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_requests(client: TestClient, headers: dict[str, str], status: int) -> None:
    answer = client.post("/api/choose", json={"name": "a.png"}, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.text.count("\n") == 1 and TOKEN not in answer.text


def test_a_token_that_is_not_ascii(client: TestClient) -> None:
    assert client.post("/api/thumbnails", headers=[(b"x-deepscope-token", b"\xe9")]).status_code == 403


@pytest.mark.parametrize("query", ["", "?token=", "?token=b", f"?nothing={TOKEN}"])
def test_the_page_needs_the_token_in_its_address(client: TestClient, query: str) -> None:
    assert client.get(f"/{query}").status_code == 403


def test_a_link_to_the_page_works_from_anywhere_and_its_requests_do_not(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get(f"/?token={TOKEN}", headers=link).status_code == 200
    assert client.get(f"/?token={TOKEN}", headers={**link, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.post("/api/thumbnails", headers=link).status_code == 403


def test_every_answer_has_the_policy_and_none_is_stored(client: TestClient) -> None:
    for answer in (
        client.get(f"/?token={TOKEN}"),
        client.get("/"),
        client.post("/api/look", json={}),
        client.get("/x"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"  # or the token would leave with a link
        assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_of_another_site_is_refused(client: TestClient) -> None:
    asks = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = client.options("/api/look", headers=asks)
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_names_of_classes_and_files_stay_text(client: TestClient) -> None:
    html = client.get(f"/?token={TOKEN}").text
    assert "</script><b>snail" not in html and "<img src=x" not in html
    assert "\\u003c/script\\u003e\\u003cb\\u003esnail" in html


def test_paths_stay_inside_the_folder(client: TestClient) -> None:
    for name in ("../outside/secret.png", "link.png", "/etc/passwd", "more/../a.png", "", "a.png\0"):
        answer = client.post("/api/choose", json={"name": name})
        assert answer.status_code == 400, name
    assert opened(client, "more/b.jpg")["name"] == "more/b.jpg"


@pytest.mark.parametrize(
    ("bound", "host", "may"),
    [
        ("0.0.0.0", "192.168.0.7:80", True),
        ("0.0.0.0", "evil.example", False),
        ("workstation", "workstation:80", True),
        ("workstation", "evil.example", False),
    ],
)
def test_a_server_for_other_machines_answers_to_numbers_and_to_its_own_name(bound: str, host: str, may: bool) -> None:
    async def nothing(*_: object) -> None:
        pass

    headers = [(b"host", host.encode()), (b"x-deepscope-token", TOKEN.encode())]
    scope = {"type": "http", "path": "/api/look", "scheme": "http", "headers": headers}
    assert (Access(nothing, TOKEN, bound, {"/": ""}, stop=print).refusal(scope) is None) == may


def test_hosts_of_this_machine_alone() -> None:
    assert all(map(is_local, ("127.0.0.1", "::1", "localhost", "127.8.0.1")))
    assert not any(map(is_local, ("0.0.0.0", "::", "10.0.0.1", "workstation")))
