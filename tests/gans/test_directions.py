"""Directions of z, against closed forms of a linear generator."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepscope.commands.gan_directions import PAGE, GanDirections
from deepscope.errors import DeepscopeError
from deepscope.gans import GAN, Architecture, Generator, latent_directions, save
from deepscope.gans.directions import principal, sefa
from gan_commands import session
from html_pages import check

KNOWN = torch.tensor([5.0, 3.0, 2.0, 1.0])
"""Singular values of the linear generator below."""


def linear() -> tuple[Tensor, Tensor]:
    """The weights (12, 4) of a linear generator, and the directions (4, 4) that it stretches by `KNOWN`."""
    rng = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(12, 4, generator=rng))
    right, _ = torch.linalg.qr(torch.randn(4, 4, generator=rng))
    return left @ torch.diag(KNOWN) @ right.T, right.T


def same_up_to_sign(found: Tensor, expected: Tensor, *, atol: float) -> None:
    torch.testing.assert_close((found * expected).sum(1).abs(), torch.ones(len(found)), atol=atol, rtol=0)
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()  # one sign of the two, always the same


def test_sefa_finds_the_axes_of_a_linear_generator() -> None:
    weights, expected = linear()
    vectors, shares = sefa(weights, 3)
    same_up_to_sign(vectors, expected[:3], atol=1e-5)
    torch.testing.assert_close(shares, KNOWN[:3] ** 2 / (KNOWN**2).sum())


def test_pca_finds_the_same_axes_from_outputs() -> None:
    weights, expected = linear()
    z = torch.randn(4000, 4, generator=torch.Generator().manual_seed(1))
    vectors, shares = principal(z, z @ weights.T + 7, 4)
    same_up_to_sign(vectors, expected, atol=0.01)
    torch.testing.assert_close(shares, KNOWN**2 / (KNOWN**2).sum(), atol=0.02, rtol=0)


def planted(classes: tuple[str, ...] = ()) -> GAN:
    """A generator whose first layer stretches z's third dimension most, then its first."""
    architecture = Architecture(side=16, latent=4, width=2)
    torch.manual_seed(0)
    generator = Generator(architecture, 1, len(classes)).eval()
    with torch.no_grad():
        generator.start.weight[:, :4] = torch.linalg.qr(generator.start.weight[:, :4])[0]
        generator.start.weight[:, :4] *= torch.tensor([2.0, 0.1, 8.0, 0.5])
        generator.start.weight[:, 4:] = 3.0  # classes differ by more than z
    return GAN(generator, architecture, channels=1, classes=classes, data="planted")


@pytest.mark.parametrize("method", ["sefa", "pca"])
@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_planted_directions_are_found_in_a_generator(method: str, classes: tuple[str, ...]) -> None:
    found = latent_directions(planted(classes), method=method, count=2, samples=3, steps=5)  # type: ignore[arg-type]
    assert found.vectors.abs().argmax(1).tolist() == [2, 0]
    assert (found.vectors.abs().max(1).values > 0.98).all()


def test_a_layer_of_few_outputs_has_as_few_directions() -> None:
    z = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    vectors, shares = principal(z, z[:, :3] * torch.tensor([3.0, 2.0, 1.0]), 4)
    assert vectors.shape == (3, 4) and float(shares.sum()) == pytest.approx(1)
    assert (sefa(torch.randn(2, 40, generator=torch.Generator().manual_seed(0)), 40)[1] >= 0).all()


def test_images_are_those_of_the_moved_z() -> None:
    gan = planted(("a", "b"))
    found = latent_directions(gan, count=3, samples=4, reach=2.0, steps=5, label="b")
    assert found.offsets.tolist() == [-2, -1, 0, 1, 2] and found.labels.tolist() == [1] * 4
    with torch.no_grad():
        for place, offset in ((0, -2.0), (2, 0.0), (3, 1.0)):
            pixels = gan.generator(found.z + offset * found.vectors[1], found.labels)
            expected = ((pixels + 1) * 127.5).round().byte()
            difference = (found.images[1, :, place].int() - expected.int()).abs().max()
            assert difference <= 1  # one pass over all offsets rounds otherwise
    assert found.changes[:, 2].tolist() == [0, 0, 0] and (found.changes[:, [0, 4]] > 0).all()
    assert len({len(column) for column in found.columns().values()}) == 1
    assert len(latent_directions(gan, count=9, samples=1, steps=3).vectors) == 4  # z has no more


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 0}, "count must be at least 1"),
        ({"steps": 4}, "steps must be odd"),
        ({"reach": 0.0}, "reach must be above 0"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"label": "a"}, "label needs a conditional generator"),
    ],
)
def test_what_cannot_be_moved_says_so(settings: dict[str, object], words: str) -> None:
    with pytest.raises(DeepscopeError, match=words):
        latent_directions(planted(), **{"count": 2, **settings})  # type: ignore[arg-type]


def test_the_command_writes_a_page_that_asks_for_nothing(tmp_path: Path) -> None:
    save(tmp_path / "gan", planted())
    found = GanDirections(tmp_path / "gan", count=2, samples=4, steps=3).run(session(tmp_path / "out"))
    assert found.files == (PAGE,) and {"change/direction-1", "change/direction-2"} == found.metrics.keys()
    written = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    check(written, scripts=2)
    data = re.search(r'<script type="application/json">(.*?)</script>', written, re.DOTALL)
    assert data is not None
    sliders = json.loads(data[1])["sliders"]
    assert [one["places"] for one in sliders] == [["-3.0 SD", "+0.0 SD", "+3.0 SD"]] * 2
    assert all(len({*one["pictures"]}) == 3 for one in sliders)
    assert GanDirections(tmp_path / "gan", count=1, steps=3).run(session()).files == ()
