"""The corruptions of ImageNet-C against plain loops over their published formulas, at equal draws."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage.filters import gaussian

from deepscope.data.corruptions import (
    Corruption,
    DefocusBlur,
    ElasticTransform,
    Fog,
    Frost,
    GlassBlur,
    ImpulseNoise,
    MotionBlur,
    Snow,
    ZoomBlur,
    shrunk,
)
from deepscope.data.corruptions.blur import displaced
from deepscope.data.photographs import bundled
from deepscope.session import Session

LEVEL = 1.01 / 255
"""One grey level."""
SEVERITIES = range(1, 6)


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return Image.open(bundled("chelsea.png")).convert("RGB").crop((120, 60, 184, 124))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float) / 255


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def drawn(low: float, high: float, size: tuple[int, ...], source: torch.Generator) -> np.ndarray:
    return torch.empty(size, dtype=torch.float64).uniform_(low, high, generator=source).numpy()


def trail(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """ImageMagick's motion blur, pixel by pixel: a one-sided Gaussian along the angle, edges repeated."""
    length = 2 * radius + 1
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(length)]
    x, y = length * math.sin(math.radians(angle)), length * math.cos(math.radians(angle))
    moves = [
        (math.ceil(i * y / math.hypot(x, y) - 0.5), math.ceil(i * x / math.hypot(x, y) - 0.5)) for i in range(length)
    ]
    height, width = image.shape[:2]
    made = np.zeros_like(image)
    for h, w in product(range(height), range(width)):
        for (right, down), weight in zip(moves, weights, strict=True):
            made[h, w] += weight * image[min(max(h + down, 0), height - 1), min(max(w + right, 0), width - 1)]
    return made / sum(weights)


def middle(image: np.ndarray, factor: float) -> np.ndarray:
    side = len(image)
    kept = math.ceil(side / factor)
    top = (side - kept) // 2
    large = np.asarray(ndimage.zoom(image[top : top + kept, top : top + kept], (factor, factor, 1), order=1))
    top = (len(large) - side) // 2
    return large[top : top + side, top : top + side]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_spreads_each_point_over_a_disk(severity: int) -> None:
    radius = (3, 4, 6, 8, 10)[severity - 1]
    point = Image.new("RGB", (61, 61))
    point.putpixel((30, 30), (255, 255, 255))
    spread = pixels(DefocusBlur(severity).damage(point, rng()))[..., 0]
    row, column = np.indices(spread.shape) - 30
    hard = row**2 + column**2 <= radius**2
    blurred = hard / hard.sum() if severity == 1 else gaussian(hard / hard.sum(), 0.5, truncate=2 if radius <= 8 else 4)
    np.testing.assert_allclose(spread, blurred, atol=LEVEL)


def test_glass_displaces_pixels_as_the_published_loop() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)
    for reach in (1, 2, 4):
        moves = torch.randint(-reach, reach, (19, 23, 2), generator=rng()).numpy()
        expected = levels.copy()
        for h in range(19 - reach, reach, -1):
            for w in range(23 - reach, reach, -1):
                right, down = moves[h, w]
                a, b = (h, w), (h + down, w + right)
                expected[a], expected[b] = expected[b], expected[a]  # views: the second assignment changes nothing
        np.testing.assert_array_equal(displaced(levels, moves, reach), expected)
        assert not np.array_equal(expected, levels)


def test_glass_blurs_before_and_after(cat: Image.Image) -> None:
    draws, sigma, reach = rng(), 1.5, 4
    levels = (gaussian(pixels(cat), sigma=sigma, channel_axis=-1) * 255).astype(np.uint8)
    for _ in range(2):
        levels = displaced(levels, torch.randint(-reach, reach, (64, 64, 2), generator=draws).numpy(), reach)
    expected = gaussian(levels / 255, sigma=sigma, channel_axis=-1)
    np.testing.assert_allclose(pixels(GlassBlur(5).damage(cat, rng())), expected, atol=LEVEL)


@pytest.mark.parametrize("severity", [1, 5])
def test_motion_is_a_fading_trail(severity: int, cat: Image.Image) -> None:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    small = cat.resize((24, 24))
    expected = trail(pixels(small), radius, sigma, drawn(-45, 45, (1,), rng())[0])
    np.testing.assert_allclose(pixels(MotionBlur(severity).damage(small, rng())), expected, atol=LEVEL)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_is_the_mean_of_enlargements(severity: int, cat: Image.Image) -> None:
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, end, step)
    plain = pixels(cat)
    expected = (plain + sum(middle(plain, factor) for factor in factors)) / (len(factors) + 1)
    np.testing.assert_allclose(pixels(ZoomBlur(severity).damage(cat, rng())), expected, atol=LEVEL)


def clouds(decay: float, source: torch.Generator) -> np.ndarray:
    """Diamond-square on a torus of 256 x 256, point by point."""
    side, step, spread = 256, 256, 100.0
    found = np.zeros((side, side))
    while step >= 2:
        half, count = step // 2, side // step
        for first, second, around in (
            (half, half, [(-half, -half), (-half, half), (half, -half), (half, half)]),
            (0, half, [(-half, 0), (half, 0), (0, -half), (0, half)]),
            (half, 0, [(-half, 0), (half, 0), (0, -half), (0, half)]),
        ):
            noise = spread * drawn(-spread, spread, (count, count), source)
            rows, columns = (np.arange(start, side, step) for start in (first, second))
            near = sum(found[np.ix_((rows + a) % side, (columns + b) % side)] for a, b in around)
            found[np.ix_(rows, columns)] = near / 4 + noise
        step, spread = half, spread / decay
    found -= found.min()
    return found / found.max()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_adds_clouds_and_keeps_the_range(severity: int, cat: Image.Image) -> None:
    density, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    plain = pixels(cat)
    foggy = plain + density * clouds(decay, rng())[:64, :64, None]
    expected = (foggy * plain.max() / (plain.max() + density)).clip(0, 1)
    np.testing.assert_allclose(pixels(Fog(severity).damage(cat, rng())), expected, atol=LEVEL)


@pytest.mark.parametrize("severity", [1, 5])
def test_snow_is_enlarged_noise_with_trails(severity: int, cat: Image.Image) -> None:
    settings = {1: (0.1, 0.3, 3, 0.5, 10, 4, 0.8), 5: (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)}
    loc, scale, zoom, threshold, radius, sigma, light = settings[severity]
    small, draws = cat.resize((24, 24)), rng()
    noise = torch.randn((24, 24), generator=draws, dtype=torch.float64).numpy()
    layer = middle((loc + scale * noise)[..., None], zoom)
    layer[layer < threshold] = 0
    layer = np.floor(layer.clip(0, 1) * 255) / 255
    layer = np.rint(trail(layer, radius, sigma, drawn(-135, -45, (1,), draws)[0]) * 255) / 255
    plain = pixels(small)
    grey = (0.299 * plain[..., 0] + 0.587 * plain[..., 1] + 0.114 * plain[..., 2])[..., None]
    pale = light * plain + (1 - light) * np.maximum(plain, grey * 1.5 + 0.5)
    expected = (pale + layer + np.rot90(layer, 2)).clip(0, 1)
    np.testing.assert_allclose(pixels(Snow(severity).damage(small, rng())), expected, atol=LEVEL)


def test_frost_blends_its_own_texture_with_the_published_weights() -> None:
    black, grey = Image.new("RGB", (40, 30)), Image.new("RGB", (40, 30), (51, 51, 51))
    for severity, (own, other) in enumerate(((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)), start=1):
        ice, both = (pixels(Frost(severity).damage(image, rng())) for image in (black, grey))
        np.testing.assert_allclose(both, np.minimum(ice + own * 0.2, 1), atol=LEVEL)
        assert 0.2 * other < ice.mean() < other and ice.max() <= other + LEVEL
        assert (ice[..., 2] >= ice[..., 0]).all()  # bluish


@pytest.mark.parametrize("severity", [2, 5])
def test_elastic_moves_three_corners_then_every_pixel(severity: int, cat: Image.Image) -> None:
    """The affine map is solved from its definition; every pixel is interpolated by hand."""
    image, draws = cat.resize((224, 224)), rng()
    size, deviation, reach = {2: (488, 19.52, 48.8), 5: (29.28, 2.44, 4.88)}[severity]
    corners, moves = drawn(-1, 1, (3, 2), draws), drawn(-1, 1, (2, 224, 224), draws)
    before = np.array([(186, 186), (186, 38), (38, 38)], dtype=float)  # centre 112, a third of the side around it
    after = before + reach * corners
    system = np.linalg.lstsq(np.c_[before, np.ones(3)], after, rcond=None)[0].T  # (x, y, 1) before -> (x, y) after
    turn, shift = system[:, :2], system[:, 2]
    y, x = np.indices((224, 224)).astype(float)
    source = np.linalg.inv(turn) @ (np.stack([x.ravel(), y.ravel()]) - shift[:, None])
    turned = bilinear(pixels(image), source[1].reshape(x.shape), source[0].reshape(x.shape), "reflect")
    right, down = (gaussian(move, deviation, mode="reflect", truncate=3) * size for move in moves)
    expected = bilinear(turned, y + down, x + right, "symmetric")
    np.testing.assert_allclose(pixels(ElasticTransform(severity).damage(image, rng())), expected, atol=LEVEL)


def bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, border: str) -> np.ndarray:
    """Values between pixels of an image whose border is mirrored."""
    wide = 150
    padded = np.pad(image, ((wide, wide), (wide, wide), (0, 0)), mode=border)  # pyright: ignore[reportCallIssue, reportArgumentType]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    a, b = (rows - top)[..., None], (columns - left)[..., None]
    at = [[padded[top + wide + i, left + wide + j] for j in (0, 1)] for i in (0, 1)]
    return (1 - a) * ((1 - b) * at[0][0] + b * at[0][1]) + a * ((1 - b) * at[1][0] + b * at[1][1])


def test_impulses_replace_the_stated_share() -> None:
    grey = Image.new("RGB", (120, 100), (102, 102, 102))
    for severity, share in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), start=1):
        values = pixels(ImpulseNoise(severity).damage(grey, rng()))
        assert set(np.unique(values)) == {0, 0.4, 1}
        assert (values != 0.4).mean() == pytest.approx(share, rel=0.06)
        assert (values == 1).sum() / (values != 0.4).sum() == pytest.approx(0.5, abs=0.04)


def test_the_benchmark_has_fifteen() -> None:
    extra = {name for name, kind in Corruption.members().items() if not kind.benchmark}
    assert (len(Corruption.members()), extra) == (16, {"gaussian-blur"})


@pytest.mark.parametrize("name", ["gaussian-noise", "glass-blur", "frost", "elastic-transform"])
def test_randomness_follows_from_seed_kind_severity_and_pixels(name: str, cat: Image.Image) -> None:
    kind = Corruption.named(name)

    def made(image: Image.Image, corruption: Corruption = kind, seed: int = 0) -> np.ndarray:
        return np.asarray(corruption.applied(image, Session(seed=seed, quiet=True)))

    first = made(cat)
    assert not np.array_equal(made(cat.rotate(90)), first)  # other images in between change nothing
    assert np.array_equal(made(cat.copy()), first)
    assert np.array_equal(made(shrunk(cat)), first)
    assert not np.array_equal(made(cat, seed=1), first)
    flat = Image.new("RGB", (64, 64), "grey")
    noise = [made(flat, replace(kind, severity=severity)).astype(int) - 128 for severity in (3, 4)]
    if name in ("gaussian-noise", "frost"):
        assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.9  # not the same noise, scaled
