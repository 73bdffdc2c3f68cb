"""What the server answers: the figures of the public workflows; and one line for anything that it cannot read."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import deepscope as ds
from app_server import HOST, HOSTILE, TOKEN, opened
from deepscope.app.asked import Choice, Look, Stroke
from deepscope.app.pictures import choices, lossless, painted
from deepscope.app.studio import Studio
from deepscope.app.web import application
from deepscope.models import Preprocessing
from deepscope.models.capabilities import Capabilities
from deepscope.presenters.explained import heat
from deepscope.render.plots import overlay
from deepscope.visualization import preset
from image_files import encoded, photograph
from networks import tiny_model

BLUR = {"brush": "blur", "size": 300, "points": [[500, 500], [600, 500]]}


def levels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def look(client: TestClient, **asked: Any) -> Any:
    answer = client.post("/api/look", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("place", [0, 1])
def test_classes_and_map_are_those_of_explain(client: TestClient, studio: Studio, folder: Path, place: int) -> None:
    image = opened(client)["image"]
    found = look(client, image=image, model=place, method="grad-cam")
    model = studio.models[place]
    expected = ds.explain(model, folder / "a.png", "grad-cam", top=1)
    order = expected.photos.probabilities[0].argsort(descending=True).tolist()[:5]
    assert [one[0] for one in found["top"]] == order
    assert [one[1] for one in found["top"]] == pytest.approx(expected.photos.probabilities[0][order].tolist())
    assert [one[2] for one in found["top"]] == [one[1] for one in found["top"]]
    assert found["target"] == order[0]
    seen = (expected.photos.pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (levels(found["picture"]) == seen).all()
    alpha = levels(found["map"])[..., 3].astype(float).ravel()
    weights = expected.maps[0].numpy().ravel()
    assert np.corrcoef(alpha, weights)[0, 1] > 0.9
    assert look(client, image=image, model=place, method="grad-cam", target=order[-1])["target"] == order[-1]


def test_paint_changes_the_answer_and_the_answer_without_it_is_remembered(
    client: TestClient, studio: Studio, folder: Path
) -> None:
    image = opened(client)["image"]
    studio._before.clear()
    strokes = [BLUR, {"brush": "white", "size": 200, "points": [[500, 500]]}]
    found = look(client, image=image, strokes=strokes)
    plain = ds.classify(studio.models[0], folder / "a.png", top=None)
    before = dict(zip(plain.classes[0].tolist(), plain.probabilities[0].tolist()))
    assert [one[2] for one in found["top"]] == pytest.approx([before[int(one[0])] for one in found["top"]])
    assert [one[1] for one in found["top"]] != pytest.approx([one[2] for one in found["top"]])
    assert (levels(found["picture"])[16, 16] == 255).all()


def test_a_stroke_covers_a_disc_and_nothing_else() -> None:
    image = Image.fromarray(photograph(100, 200))
    made = np.asarray(painted(image, [Stroke("black", 200, ((250, 500),))]))
    y, x = np.mgrid[:100, :200]
    distance = np.hypot(x - 50, y - 50)
    assert (made[distance < 9] == 0).all()
    assert (made[distance > 12] == np.asarray(image)[distance > 12]).all()
    blurred = np.asarray(painted(image, [Stroke("blur", 1000, ((500, 500),))])).astype(float)
    assert (
        np.abs(np.diff(blurred[40:60, 90:110], axis=1)).max()
        < np.abs(np.diff(np.asarray(image, float)[40:60, 90:110], axis=1)).max()
    )


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (256, 256), (20, 20)])
@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(128, 112), Preprocessing((64, 96), None), Preprocessing(96, (64, 32))]
)
def test_the_frame_is_where_the_network_looks(size: tuple[int, int], preprocessing: Preprocessing) -> None:
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = preprocessing(np.stack([x, y, 0 * x], 2).round().astype(np.uint8))
    left, top, right, bottom = preprocessing.seen(size)
    assert float(pixels[0].mean()) == pytest.approx((left + right) / 2, abs=0.02)
    assert float(pixels[1].mean()) == pytest.approx((top + bottom) / 2, abs=0.02)
    spread = float(pixels[0, :, -1].mean() - pixels[0, :, 0].mean())
    assert spread == pytest.approx(right - left, abs=0.04)


def test_an_attack_is_the_one_of_the_library(client: TestClient, studio: Studio, folder: Path) -> None:
    image = opened(client)["image"]
    goal = look(client, image=image)["top"][1][0]
    answer = client.post("/api/attack", json={"image": image, "radius": 16, "goal": goal}).json()
    expected = ds.attack(studio.models[0], folder / "a.png", ds.attacks.PGD(radius=16 / 255, steps=10), target=goal)
    verdict = expected.verdicts[0]
    assert answer["success"] == bool(expected.success[0])
    assert answer["after"] == [[label, pytest.approx(p)] for label, p in verdict.top_after]
    saved = expected.images[0].permute(1, 2, 0).numpy()
    assert (levels(answer["picture"]) == saved).all()
    change = saved.astype(int) - levels(answer["original"]).astype(int)
    assert np.abs(change).max() == answer["linf"] <= 16
    assert (levels(answer["difference"]) == 127 + answer["factor"] * change).all()


def test_a_class_image_grows_to_that_of_visualize(client: TestClient, studio: Studio) -> None:
    with client.stream("POST", "/api/dream", json={"target": 1, "steps": 3}) as answer:
        frames = [json.loads(line) for line in answer.iter_lines()]
    assert frames[-1]["step"] == 3 and frames[0]["step"] == 0
    recipe = preset("default")
    made = ds.visualize(studio.models[0], [1], recipe=type(recipe)(iterations=3))
    expected = (made.pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (levels(frames[-1]["picture"]) == expected).all()


@pytest.mark.parametrize("method", ["rise", "kernel-shap"])
def test_a_costly_map_is_that_of_explain_and_its_passes_are_counted(
    client: TestClient, studio: Studio, folder: Path, method: str
) -> None:
    key = opened(client)["image"]
    asked = {"image": key, "method": method, "target": 1}
    before = look(client, **asked)
    assert (before["map"], before["costly"], before["target"]) == ("", method, 1)
    with client.stream("POST", "/api/explain", json=asked) as answer:
        *counts, last = [json.loads(line) for line in answer.iter_lines()]
    passes = [one["passes"] for one in counts]
    assert passes == sorted(set(passes)) and len(passes) > 2
    most = getattr(ds.attributions.Attribution.named(method), {"rise": "masks", "kernel-shap": "samples"}[method])
    assert counts[-1]["most"] == most
    model = studio.models[0]
    wanted = ds.explain(model, folder / "a.png", method, target=1, session=studio.session)
    assert last["map"] == lossless(overlay(heat(wanted.method, wanted.maps[0])))
    assert look(client, **asked)["map"] == last["map"]
    assert "Map" in client.post("/api/export", json={"looks": [asked]}).text


def test_a_quick_method_is_not_for_the_stream(client: TestClient) -> None:
    asked = {"image": opened(client)["image"], "method": "saliency"}
    with client.stream("POST", "/api/explain", json=asked) as answer:
        (line,) = answer.iter_lines()
    assert "hundreds of passes" in json.loads(line)["error"]


def test_a_session_is_exported_as_a_page_that_asks_for_nothing(client: TestClient) -> None:
    image = opened(client, HOSTILE)["image"]
    looks = [
        {"image": image, "strokes": [BLUR]},
        {"image": image, "model": 1, "radius": 0},
        {"image": image, "radius": 8},
    ]
    answer = client.post("/api/export", json={"looks": looks})
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    html = answer.text
    assert "tiny-vit" in html and "edited" in html and "pgd on tiny" in html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert "<img src=x" not in html


def test_thumbnails_of_the_choices(client: TestClient) -> None:
    found = client.post("/api/thumbnails").json()
    assert set(found) == {"a.png", "more/b.jpg", HOSTILE}
    assert max(levels(found["a.png"]).shape) <= 96


def _bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels in a few kilobytes."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


JPEG = encoded(Image.fromarray(photograph(64, 64)), "JPEG")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"not an image", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.7", "not an image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (_bomb(), "pixels"),
        (bytes(33 * 2**20), "32 MB"),
    ],
    ids=["empty", "text", "svg", "pdf", "truncated", "bomb", "large"],
)
def test_a_hostile_file_is_one_line(client: TestClient, content: bytes, said: str) -> None:
    answer = client.post("/api/open", content=content, headers={"x-name": "a%0Ab.png"})
    assert answer.status_code in (400, 413)
    line = answer.json()["error"]
    assert said in line and "\n" not in line and "Traceback" not in line


def test_a_sent_image_is_held_in_memory_alone(client: TestClient, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sent = client.post("/api/open", content=JPEG, headers={"x-name": "photo.jpg"}).json()
    look(client, image=sent["image"], strokes=[BLUR])
    assert client.post("/api/choose", json={"key": sent["image"]}).json()["name"] == "photo.jpg"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("look", b"{"),
        ("look", b"[" * 100_000),
        ("look", b"[]"),
        ("look", b"{}"),
        ("look", b'{"image": "none"}'),
        ("look", b'{"image": 3}'),
        ("look", b'{"image": "KEY", "model": 7}'),
        ("look", b'{"image": "KEY", "method": "nothing"}'),
        ("explain", b'{"image": "KEY", "strokes": 3}'),
        ("look", b'{"image": "KEY", "target": 99}'),
        ("look", b'{"image": "KEY", "target": -1}'),
        ("look", b'{"image": "KEY", "strokes": [{"brush": "fire"}]}'),
        ("look", b'{"image": "KEY", "strokes": [{"brush": "blur", "size": 10, "points": [[1e9, 2]]}]}'),
        ("look", b'{"image": "KEY", "strokes": [{"brush": "blur", "size": true, "points": [[1, 2]]}]}'),
        ("attack", b'{"image": "KEY"}'),
        ("attack", b'{"image": "KEY", "radius": 500}'),
        ("dream", b'{"target": 99, "steps": 2}'),
        ("dream", b'{"steps": 2}'),
        ("dream", b'{"target": 1, "steps": 100000}'),
        ("export", b'{"looks": []}'),
        ("choose", b'{"name": ["a"]}'),
    ],
)
def test_a_wrong_request_is_one_line(client: TestClient, path: str, asked: bytes) -> None:
    key = str(opened(client)["image"]).encode()
    answer = client.post(f"/api/{path}", content=asked.replace(b"KEY", key))
    assert answer.status_code == 400
    line = answer.json()["error"]
    assert line and "\n" not in line and "Traceback" not in line


def test_a_defect_is_one_line_too(client: TestClient, monkeypatch: Any) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Studio, "thumbnails", broken)
    answer = client.post("/api/thumbnails")
    assert answer.status_code == 500
    assert answer.json()["error"] == "the server failed (RuntimeError): its terminal says more"


def test_two_hundred_requests_at_once(studio: Studio) -> None:
    """Each is answered, by its result, by a newer one of its view, or because too many wait; then all is as before."""
    app = application(studio, TOKEN, "127.0.0.1")

    async def ask(client: httpx2.AsyncClient, image: str, number: int) -> int:
        view = {"x-view": f"tab/{number % 50}"}
        return (await client.post("/api/look", json={"image": image}, headers=view)).status_code

    async def body() -> list[int]:
        transport = httpx2.ASGITransport(app)
        headers = {"x-deepscope-token": TOKEN}
        async with httpx2.AsyncClient(transport=transport, base_url=HOST, headers=headers, timeout=60) as client:
            image = (await client.post("/api/choose", json={"name": "a.png"})).json()["image"]
            found = await asyncio.gather(*(ask(client, image, number) for number in range(200)))
            assert await ask(client, image, 0) == 200
        return found

    found = asyncio.run(body())
    assert len(found) == 200 and set(found) <= {200, 409, 503} and found.count(200) >= 10


def test_a_closed_tab_stops_the_ascent(studio: Studio, monkeypatch: Any) -> None:
    app = application(studio, TOKEN, "127.0.0.1")
    steps: list[int] = []
    real = Studio.dream

    def counted(self: Studio, asked: Any) -> Any:
        for frame in real(self, asked):
            steps.append(frame["step"])
            yield frame

    monkeypatch.setattr(Studio, "dream", counted)
    request = json.dumps({"target": 1, "steps": 1000}).encode()
    headers = [(b"host", b"127.0.0.1"), (b"x-deepscope-token", TOKEN.encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/dream", "headers": headers, "query_string": b""}
    scope |= {"scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"}}

    async def body() -> None:
        gone = asyncio.Event()
        sent = [{"type": "http.request", "body": request, "more_body": False}]

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                gone.set()

        await asyncio.wait_for(app(scope, receive, send), 20)
        await asyncio.sleep(0.1)
        count = len(steps)
        await asyncio.sleep(0.2)
        assert 0 < len(steps) == count < 1000

    asyncio.run(body())


def test_a_model_without_gradients_has_classes_and_no_map(folder: Path) -> None:
    black_box = replace(tiny_model(size=32), capabilities=Capabilities(gradients=False, activations=False))
    studio = Studio((black_box,), choices(folder, ()), ds.Session())
    studio.warm()
    assert studio.about()["models"][0]["methods"] == []
    image = studio.choose(Choice("a.png"))["image"]
    found = studio.look(Look(image, (Stroke("grey", 300, ((500, 500),)),)))
    plain = ds.classify(black_box, folder / "a.png", top=None)
    before = dict(zip(plain.classes[0].tolist(), plain.probabilities[0].tolist()))
    assert found["map"] == ""
    assert [one[2] for one in found["top"]] == pytest.approx([before[one[0]] for one in found["top"]])
    assert "a.png" in studio.export([Look(image)])
    with pytest.raises(ds.UnsupportedError, match="gradients"):
        studio.attack(Look(image, radius=4))


def test_the_studio_refuses_models_that_it_cannot_show() -> None:
    bare = replace(tiny_model(), categories=())
    with pytest.raises(ds.ModelError, match="no class layer"):
        Studio((bare,), {}, ds.Session())
