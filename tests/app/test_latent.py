"""The page of sliders that a server answers: the images of the library, and one line for what it cannot read."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from app_server import HOST, HOSTILE, TOKEN
from deepscope.app.latent import LatentStudio
from deepscope.app.studio import Studio
from deepscope.app.web import application
from deepscope.gans import GAN, Architecture, Generator, generate, latent_directions, save, sheet
from deepscope.gans.directions import sefa
from deepscope.session import Session
from html_pages import check

MIDDLE = [30, 30, 30, 30]


@pytest.fixture(scope="module")
def gan() -> GAN:
    """Two classes, one of a hostile name; z has four dimensions, so there are four directions."""
    architecture = Architecture(side=16, latent=4, width=2)
    torch.manual_seed(0)
    generator = Generator(architecture, 1, 2).eval().requires_grad_(False)
    generator.start.weight.mul_(20)
    return GAN(generator, architecture, channels=1, classes=("a", HOSTILE), data="planted")


@pytest.fixture(scope="module")
def run(gan: GAN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gan")
    save(folder, gan)
    return folder


@pytest.fixture(scope="module")
def client(studio: Studio, run: Path) -> Any:
    latent = LatentStudio(run, Session())
    latent.warm()
    app = application(studio, TOKEN, "127.0.0.1", latent)
    headers = {"x-deepscope-token": TOKEN}
    with TestClient(app, base_url=HOST, headers=headers, raise_server_exceptions=False) as made:  # type: ignore[arg-type]
        yield made


def moved(client: TestClient, **asked: Any) -> np.ndarray:
    answer = client.post("/api/move", json=asked)
    assert answer.status_code == 200, answer.text
    picture = answer.json()["picture"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))))


def expected(gan: GAN, offsets: list[float], labels: torch.Tensor, seed: int = 0) -> np.ndarray:
    """The sheet of images whose z is moved, by the definition: z + the sum of offset times direction."""
    vectors, _ = sefa(gan.generator.start.weight[:, :4], 4)
    z = torch.randn(16, 4, generator=Session(seed=seed).rng("directions"))
    for offset, vector in zip(offsets, vectors):
        z = z + offset * vector
    return sheet(generate(gan.generator, z, labels), columns=4)


def near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape and int(np.abs(found.astype(int) - wanted.astype(int)).max()) <= 1


def test_all_sliders_move_z_together(client: TestClient, gan: GAN) -> None:
    turns = torch.arange(16) % 2
    start = moved(client, at=MIDDLE)
    assert near(start, expected(gan, [0, 0, 0, 0], turns))
    both = moved(client, at=[40, 30, 0, 30])
    assert near(both, expected(gan, [1, 0, -3, 0], turns)) and not near(both, start)
    assert near(moved(client, at=MIDDLE, seed=7), expected(gan, [0] * 4, turns, seed=7))
    ones = torch.ones(16, dtype=torch.int64)
    assert near(moved(client, at=MIDDLE, label=HOSTILE), expected(gan, [0] * 4, ones))


def test_the_export_needs_no_server_and_starts_where_the_sliders_are(client: TestClient, gan: GAN, run: Path) -> None:
    answer = client.post("/api/directions", json={"at": [40, 30, 0, 30], "label": "a", "seed": 3})
    assert 'filename="directions.html"' in answer.headers["content-disposition"]
    check(answer.text, scripts=2)
    assert "connect-src" not in answer.text and "/api" not in answer.text
    data = re.search(r'<script type="application/json">(.*?)</script>', answer.text, re.DOTALL)
    assert data is not None
    sliders = json.loads(data[1])["sliders"]
    assert [one["places"][6] for one in sliders] == ["+1.0 SD", "+0.0 SD", "-3.0 SD", "+0.0 SD"]
    assert sliders[2]["places"][0] == "-6.0 SD" and len(sliders) == 4
    found = latent_directions(run, count=4, label="a", at=[1, 0, -3, 0], seed=3)
    zeros = torch.zeros(16, dtype=torch.int64)
    for row in range(4):
        middle = sheet(found.images[row][:, 6], columns=4)
        assert near(middle, expected(gan, [1, 0, -3, 0], zeros, seed=3))
    ahead = expected(gan, [1, 0.5, -3, 0], zeros, seed=3)
    assert near(sheet(found.images[1][:, 7], columns=4), ahead)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "request must be a JSON object"),
        ({}, "at must be a list"),
        ({"at": []}, "at must be a list"),
        ({"at": [30] * 101}, "at must be a list"),
        ({"at": [30, 30]}, "at must be 4 places"),
        ({"at": [61, 30, 30, 30]}, "at must be 4 places"),
        ({"at": [-1, 30, 30, 30]}, "at -1 is out of range"),
        ({"at": [1.5, 30, 30, 30]}, "at must be a whole number"),
        ({"at": [True, 30, 30, 30]}, "at must be a whole number"),
        ({"at": MIDDLE, "label": 3}, "label must be a text"),
        ({"at": MIDDLE, "label": "c"}, "no class is named 'c'"),
        ({"at": MIDDLE, "seed": -1}, "seed -1 is out of range"),
        ({"at": MIDDLE, "seed": 2**31}, "out of range"),
    ],
)
def test_what_cannot_be_read_is_one_line(client: TestClient, asked: Any, words: str) -> None:
    for path in ("move", "directions"):
        answer = client.post(f"/api/{path}", json=asked)
        assert answer.status_code == 400
        line = answer.json()["error"]
        assert words in line and "\n" not in line


def test_the_page_needs_the_token_and_has_its_own_policy(client: TestClient) -> None:
    del client.headers["x-deepscope-token"]
    try:
        assert client.get("/directions").status_code == 403
        assert client.post("/api/move", json={"at": MIDDLE}).status_code == 403
        foreign = {"origin": "https://example.org"}
        assert client.get(f"/directions?token={TOKEN}", headers=foreign).status_code == 403
        answer, other = client.get(f"/directions?token={TOKEN}"), client.get(f"/?token={TOKEN}")
    finally:
        client.headers["x-deepscope-token"] = TOKEN
    assert answer.status_code == other.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy != other.headers["content-security-policy"] and "unsafe" not in policy
    assert "<img src=x" not in answer.text and 'href="directions"' in other.text


def test_a_generator_without_classes_has_nothing_to_choose(studio: Studio, tmp_path: Path) -> None:
    architecture = Architecture(side=16, latent=4, width=2)
    save(tmp_path, GAN(Generator(architecture, 1, 0), architecture, channels=1, classes=(), data="planted"))
    app = application(studio, TOKEN, "127.0.0.1", LatentStudio(tmp_path, Session()))
    with TestClient(app, base_url=HOST, headers={"x-deepscope-token": TOKEN}) as client:  # type: ignore[arg-type]
        assert '"labels":[]' in client.get(f"/directions?token={TOKEN}").text
        assert moved(client, at=MIDDLE).shape == (64, 64, 3)
        answer = client.post("/api/move", json={"at": MIDDLE, "label": "a"})
        assert answer.status_code == 400 and "needs a conditional generator" in answer.json()["error"]


def test_without_a_generator_there_is_no_such_page(studio: Studio) -> None:
    app = application(studio, TOKEN, "127.0.0.1")
    with TestClient(app, base_url=HOST, headers={"x-deepscope-token": TOKEN}) as client:  # type: ignore[arg-type]
        assert client.get(f"/directions?token={TOKEN}").status_code == 404
        assert client.post("/api/move", json={"at": MIDDLE}).status_code == 404
        assert 'href="directions"' not in client.get(f"/?token={TOKEN}").text
