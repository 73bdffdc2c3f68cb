from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from deepscope.errors import DeepscopeError
from deepscope.gans.pictures import DIGITS, Labelled, Pictures, load_pictures
from deepscope.gans.quality import (
    Modes,
    Nearest,
    compared,
    fitting_evaluator,
    frechet_distance,
    likeness,
    memorised,
    memorised_by_chance,
    nearest,
    precision_recall,
)
from deepscope.gans.quality.evaluator import Evaluator, load_evaluator, run, save_evaluator, shipped_evaluator
from deepscope.gans.sampling import great_circle
from deepscope.gans.stability import diagnose, diversity
from deepscope.gans.style import agreement, slant, thickness
from deepscope.session import Session
from deepscope.training import History


@pytest.mark.parametrize("count", [200, 4])  # 4 rows of 6 features: singular covariances
def test_frechet_against_scipys_root(count: int) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(count, 6)), 1 + rng.normal(size=(count, 6)) @ rng.normal(size=(6, 6))
    covariances = [np.cov(x, rowvar=False) for x in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0]) @ covariances[1] @ scipy.linalg.sqrtm(covariances[0])
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + sum(np.trace(c) for c in covariances)
    expected -= 2 * np.trace(scipy.linalg.sqrtm(root)).real
    found = frechet_distance(torch.from_numpy(first), torch.from_numpy(second))
    assert found == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(torch.from_numpy(first), torch.from_numpy(first)) == pytest.approx(0, abs=1e-9)


def test_frechet_of_known_gaussians() -> None:
    # Diagonal: |m|^2 + sum (s1 - s2)^2 = 4 * 9 + 4 * (2 - 1)^2.
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(200_000, 4, generator=rng)
    second = 3 + 2 * torch.randn(200_000, 4, generator=rng)
    assert frechet_distance(first, second) == pytest.approx(40, rel=0.01)


def test_precision_and_recall_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) * 0.7 + 0.3

    def inside(points: np.ndarray, centres: np.ndarray) -> float:
        hits = 0
        for point in points:
            for own, centre in enumerate(centres):
                others = sorted(math.dist(centre, c) for other, c in enumerate(centres) if other != own)
                if math.dist(point, centre) <= others[2]:
                    hits += 1
                    break
        return hits / len(points)

    found = precision_recall(torch.from_numpy(real), torch.from_numpy(fake))
    assert found == pytest.approx((inside(fake, real), inside(real, fake)))
    assert 0 < found[1] < 1
    with pytest.raises(DeepscopeError, match="more than 3"):
        precision_recall(torch.from_numpy(real[:3]), torch.from_numpy(fake))


def test_modes_by_hand() -> None:
    real = torch.tensor([0, 0, 1, 2])
    modes = Modes.of(torch.tensor([0, 0, 0, 1]), real, 4)
    assert modes.covered == 2
    assert modes.kl == pytest.approx(0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.25))
    assert modes.balance == 0
    assert Modes.of(real, real, 4).kl == 0 and Modes.of(real, real, 4).balance == 1
    assert Modes.of(torch.tensor([3]), real, 4).kl == math.inf


def test_copies_are_found() -> None:
    rng = torch.Generator().manual_seed(0)
    train, new = (torch.randint(0, 256, (n, 1, 4, 4), dtype=torch.uint8, generator=rng) for n in (700, 60))
    copies = nearest(train[[650, 3]], train)
    assert copies.rows.tolist() == [650, 3] and copies.distances.tolist() == pytest.approx([0, 0], abs=1e-3)
    held_out = nearest(new, train)
    distances = (new[:, None].double() - train[None].double()).square().mean((2, 3, 4)).sqrt() / 255
    torch.testing.assert_close(held_out.distances.double(), distances.min(1).values, atol=1e-3, rtol=0)
    assert memorised(copies, held_out) == 1
    assert memorised(held_out, held_out) < 0.05


@pytest.mark.parametrize("held_out", [3, 10, 500])
def test_new_images_are_taken_for_copies_as_often_as_is_said(held_out: int) -> None:
    rng = torch.Generator().manual_seed(0)

    def near() -> Nearest:
        return Nearest(torch.zeros(held_out, dtype=torch.int64), torch.rand(held_out, generator=rng))

    found = sum(memorised(near(), near()) for _ in range(2000)) / 2000
    assert found == pytest.approx(memorised_by_chance(held_out), rel=0.1)
    assert memorised_by_chance(3) > 0.25 and memorised_by_chance(500) < 0.0121


@pytest.mark.parametrize(("train", "test", "samples"), [(6, 12, 20), (12, 6, 20), (12, 12, 5)])
def test_a_distance_and_its_floor_are_of_equally_many_images(train: int, test: int, samples: int) -> None:
    rng = torch.Generator().manual_seed(0)
    counts: list[int] = []

    def images(count: int) -> Labelled:
        pixels = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=rng)
        return Labelled(pixels, torch.zeros(count, dtype=torch.int64))

    def features(given: Tensor) -> Tensor:
        counts.append(len(given))
        return given.flatten(1).float()

    pictures = Pictures("noise", (), images(train), images(test))
    likeness("own", features, images(samples).images, pictures, Session(quiet=True))
    assert counts == [compared(samples, pictures)] * 3


def test_great_circles() -> None:
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    way = great_circle(start, end, 3)
    torch.testing.assert_close(way[[0, 2]], torch.stack([start, end]))
    torch.testing.assert_close(way[1], torch.tensor([3.0, 3.0]) / 2**0.5)
    torch.testing.assert_close(great_circle(start, 2 * start, 2), torch.stack([start, 2 * start]))


def test_slant_and_thickness_of_drawn_strokes() -> None:
    image = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    image[0, 0, 4:28, 14:18] = 255  # upright, 4 pixels wide
    for row in range(24):
        image[1, 0, 27 - row, 4 + row] = 255  # a pixel right for each pixel up
    assert slant(image).tolist() == pytest.approx([0, 1, 0], abs=0.01)
    assert float(thickness(image)[0]) == pytest.approx(4, rel=0.2)
    assert float(thickness(image)[1]) == pytest.approx(1, rel=0.1)


def test_agreement_is_the_intraclass_correlation() -> None:
    rng = np.random.default_rng(0)
    style = rng.normal(size=(2000, 1))
    offsets = np.array([0.0, 5.0, -3.0])
    half = style + rng.normal(size=(2000, 3)) + offsets
    assert agreement(style + offsets) == pytest.approx(1)
    assert agreement(half) == pytest.approx(0.5, abs=0.05)
    assert agreement(rng.normal(size=(2000, 3))) == pytest.approx(0, abs=0.05)
    assert math.isnan(agreement(np.ones((3, 2))))


def test_diversity_is_half_the_mean_squared_distance_within_a_class() -> None:
    images = torch.randint(0, 256, (5, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = images.double() / 255
    pairs = [(pixels[i] - pixels[j]).square().mean() / 2 for i in range(5) for j in range(5) if i != j]
    assert diversity(images, torch.zeros(5)) == pytest.approx(float(torch.stack(pairs).mean()), rel=1e-5)
    assert diversity(images[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])) == 0
    assert math.isnan(diversity(images, torch.arange(5)))


def history(**columns: list[float]) -> History:
    rows = zip(*columns.values(), strict=True)
    names = [name.replace("_", "/") for name in columns]
    return History([{"step": step, **dict(zip(names, row, strict=True))} for step, row in enumerate(rows, start=1)])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"score_real": [0.6, 0.99], "score_fake": [0.4, 0.01]}, "discriminator has won"),
        ({"gradient_generator": [1.0, 1e-5]}, "gradient has vanished"),
        ({"diversity": [0.8, 0.1]}, "Mode collapse"),
        ({"diversity": [0.9, 0.4]}, "being lost"),
        ({"modes": [3.0, 5.0], "modes_real": [10.0, 10.0]}, "5 classes appear"),
    ],
)
def test_trouble_is_said_in_words(columns: dict[str, list[float]], words: str) -> None:
    (sentence,) = diagnose(history(**columns))
    assert words in sentence


def test_a_healthy_training_is_left_in_peace() -> None:
    well = {"score_real": [0.7], "score_fake": [0.3], "gradient_generator": [0.5], "diversity": [0.9], "modes": [10.0]}
    assert diagnose(history(**well, modes_real=[10.0])) == ()
    assert diagnose(history(score_real=[14.0], score_fake=[-9.0])) == ()  # no probabilities


def test_an_evaluator_of_the_last_release_is_read_and_replaced(tmp_path: Path) -> None:
    evaluator = Evaluator(1, ("bee", "cat")).eval()
    save_evaluator(tmp_path, evaluator, {})
    about = json.loads((tmp_path / "evaluator.json").read_text()) | {"format": "deepscope-judge"}
    (tmp_path / "evaluator.json").unlink()
    (tmp_path / "judge.json").write_text(json.dumps(about))
    (tmp_path / "evaluator.safetensors").rename(tmp_path / "judge.safetensors")
    found = load_evaluator(tmp_path)
    assert found.classes == ("bee", "cat")
    images = torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8)
    assert torch.equal(found.recognise(images), evaluator.recognise(images))
    save_evaluator(tmp_path, Evaluator(1, ("ant", "dog")).eval(), {})
    assert load_evaluator(tmp_path).classes == ("ant", "dog")
    assert not list(tmp_path.glob("judge*"))


@pytest.mark.real
def test_the_shipped_evaluator_knows_digits(home: Path) -> None:
    """Both of its networks, on the 10 000 test digits: as many right as its description says, and 0.99 at least."""
    evaluator = shipped_evaluator()
    assert evaluator is not None
    assert evaluator.classes == tuple("0123456789")
    digits = load_pictures("mnist", 32, Session.open(device="cpu", home=home, quiet=True)).test
    about = json.loads((files("deepscope.gans.quality") / "digit_evaluator" / "evaluator.json").read_text())
    for name, network in (("measure", evaluator.measure), ("verdict", evaluator.verdict)):
        right = (run(network, digits.images).argmax(1) == digits.labels).float().mean().item()
        assert right >= 0.99
        assert right == pytest.approx(about["accuracy"][name], abs=1e-3)


def test_the_shipped_evaluator_is_for_digits_of_its_own_size() -> None:
    for side, known in ((32, True), (64, False), (16, False)):
        part = Labelled(torch.zeros(2, 1, side, side, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
        assert (fitting_evaluator(None, Pictures("digits", DIGITS, part, part)) is not None) == known
