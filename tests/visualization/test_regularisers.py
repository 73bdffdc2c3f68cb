from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from deepscope.ascent import State, Streams
from deepscope.errors import DeepscopeError
from deepscope.visualization.batch_norm import statistics_distance
from deepscope.visualization.canvas import Fourier, Standardised
from deepscope.visualization.regularisers import (
    Blur,
    ClipSmallContribution,
    ClipSmallNorm,
    gaussian_blur,
    squared_norm,
    total_variation,
)
from deepscope.visualization.views import Jitter, RandomView
from networks import smooth_model


def images(count: int = 3, height: int = 10, width: int = 14, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=rng, dtype=torch.float64)


def state(points: Tensor, step: int = 0, gradient: Tensor | None = None) -> State:
    rows = torch.arange(len(points))
    return State(step, rows, points, rows, rows, rows >= 0, gradient=gradient)


def streams(count: int, seed: int = 0) -> Streams:
    return Streams.split(torch.Generator().manual_seed(seed), count)


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 2.5])
def test_blur_is_scipys(sigma: float) -> None:
    points = images()
    plain = ndimage.gaussian_filter(points.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=4)
    np.testing.assert_allclose(gaussian_blur(points, sigma).numpy(), plain, atol=1e-12)


def test_blur_comes_every_so_many_steps_from_the_first_on() -> None:
    points = images()
    changed = [not torch.equal(Blur(4, 1.0)(points, state(points, step)), points) for step in range(9)]
    assert [step for step, is_changed in enumerate(changed) if is_changed] == [0, 4, 8]


def test_small_norms_are_clipped_as_in_plain_loops() -> None:
    points = images() - 0.5
    clipped = ClipSmallNorm(30)(points, state(points))
    for image, result in zip(points.numpy(), clipped.numpy()):
        norms = np.sqrt((image**2).sum(0))
        limit = np.percentile(norms, 30)
        for place in np.ndindex(norms.shape):
            expected = image[:, place[0], place[1]] if norms[place] >= limit else np.zeros(3)
            assert np.array_equal(result[:, place[0], place[1]], expected)


def test_small_contributions_are_what_a_linear_score_loses_without_the_pixel() -> None:
    before, gradient = images() - 0.5, images(seed=1) - 0.5
    after = before + 0.1 * gradient
    clipped = ClipSmallContribution(40)(after, state(before, gradient=gradient))
    for index in range(len(before)):
        losses = np.empty(before.shape[2:])
        for place in np.ndindex(losses.shape):
            without = before[index].clone()
            without[:, place[0], place[1]] = 0
            losses[place] = abs(float((gradient[index] * (before[index] - without)).sum()))
        kept = losses >= np.percentile(losses, 40) - 1e-12
        assert np.array_equal(clipped[index].numpy(), after[index].numpy() * kept)


def test_total_variation_and_norm_are_plain_sums() -> None:
    pixels = images(2, 4, 5)
    for image, variation, norm in zip(pixels.numpy(), total_variation(pixels), squared_norm(pixels)):
        down = [(image[c, i + 1, j] - image[c, i, j]) ** 2 for c in range(3) for i in range(3) for j in range(5)]
        right = [(image[c, i, j + 1] - image[c, i, j]) ** 2 for c in range(3) for i in range(4) for j in range(4)]
        assert float(variation) == pytest.approx(np.mean(down) + np.mean(right))
        assert float(norm) == pytest.approx(sum(value**2 for value in image.flat))


@pytest.mark.parametrize("size", [(12, 12), (9, 15), (8, 5)])
def test_fourier_points_are_a_plain_sum_of_waves_and_come_back(size: tuple[int, int]) -> None:
    height, width = size
    canvas = Fourier(size, decay=1.0)
    pixels = 0.1 + 0.8 * images(2, height, width)
    points = canvas.points(pixels)
    assert points.shape == (2, 3, height, width // 2 + 1, 2)
    torch.testing.assert_close(canvas.pixels(points), pixels)

    wave = torch.zeros(1, 3, height, width // 2 + 1, 2, dtype=torch.float64)
    wave[0, 0, 2, 1] = torch.tensor([0.3, 0.4])
    rows, columns = np.mgrid[:height, :width]
    cycles = np.sqrt((2 / height) ** 2 + (1 / width) ** 2) * np.sqrt(height * width)
    phase = 2 * np.pi * (2 * rows / height + columns / width)
    values = 2 * (0.3 * np.cos(phase) - 0.4 * np.sin(phase)) / cycles * 0.58  # a real image holds a wave and its twin
    expected = 1 / (1 + np.exp(-values))
    np.testing.assert_allclose(canvas.pixels(wave)[0, 0].numpy(), expected, atol=1e-12)


def test_fourier_images_of_awkward_sizes_come_back_too() -> None:
    pixels = 0.1 + 0.8 * images(2, 11, 17)
    canvas = Fourier((11, 17))
    torch.testing.assert_close(canvas.pixels(canvas.points(pixels)), pixels)


def test_standardised_pixels_are_in_the_usual_units_between_black_and_white() -> None:
    canvas, pixels = Standardised((12, 12)), images(2, 12, 12)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    np.testing.assert_allclose(canvas.points(pixels).numpy(), (pixels.numpy() - mean) / std)
    torch.testing.assert_close(canvas.pixels(canvas.points(pixels)), pixels)
    allowed = canvas.pixels(canvas.allowed(5 * torch.randn(2, 3, 12, 12, dtype=torch.float64)))
    assert float(allowed.min()) == pytest.approx(0, abs=1e-12)
    assert float(allowed.max()) == pytest.approx(1, abs=1e-12)


def test_jitter_rolls_each_image_by_its_own_shift() -> None:
    pixels, rows = images(4), torch.arange(4)
    shifts = streams(4).integers(rows, 4, 2).tolist()
    jittered = Jitter(streams(4), 3)(pixels, rows)
    for image, result, (down, right) in zip(pixels.numpy(), jittered.numpy(), shifts):
        assert np.array_equal(result, np.roll(image, (down, right), (1, 2)))
    assert len({tuple(shift) for shift in shifts}) > 1


def test_a_view_of_a_ramp_is_the_ramp_at_the_places_it_looks_at() -> None:
    """Bilinear sampling of a ramp is exact, so the ramp tells where each pixel of the view was taken from."""
    side, rows = 40, torch.arange(6)
    down, right = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    ramp = torch.stack([down, right, down + right]).double().expand(6, -1, -1, -1)
    view = RandomView(streams(6), 16, zoom=0.5, rotation=20, flip=True)(ramp, rows)
    draws = streams(6).uniform(rows, 5).double().numpy()
    centres = (np.arange(16) + 0.5) / 16 * 2 - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    seen = 0
    for image, (share, turn, mirror, low, left) in zip(view.numpy(), draws):
        share, angle = 0.5 + 0.5 * share, np.radians(20) * (2 * turn - 1)
        x_in = -x if mirror < 0.5 else x
        across = share * (np.cos(angle) * x_in - np.sin(angle) * y) + (1 - share) * (2 * left - 1)
        along = share * (np.sin(angle) * x_in + np.cos(angle) * y) + (1 - share) * (2 * low - 1)
        inside = (np.abs(across) < 0.97) & (np.abs(along) < 0.97)
        np.testing.assert_allclose(image[0][inside], ((along + 1) * side / 2 - 0.5)[inside], atol=1e-5)
        np.testing.assert_allclose(image[1][inside], ((across + 1) * side / 2 - 0.5)[inside], atol=1e-5)
        seen += int(inside.sum())
    assert seen > 6 * 16 * 16 / 2


def test_a_view_of_everything_is_the_image() -> None:
    pixels = images(2, 16, 16)
    torch.testing.assert_close(RandomView(streams(2), 16)(pixels, torch.arange(2)), pixels)


def test_statistics_distance_is_the_plain_formula_and_leaves_no_hook() -> None:
    model = smooth_model(batch_norm=True)
    pixels = images(2, 12, 12).requires_grad_()
    with statistics_distance(model.network) as distance:
        model(pixels)
        found = distance.take()
    assert isinstance(model.network, nn.Sequential)
    values, expected, layers = model.normalise(pixels), torch.zeros((), dtype=torch.float64), 0
    for module in model.network:
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            layers += 1
            usual = module.running_var + module.eps
            maps = values.transpose(0, 1).flatten(1)  # each channel over both images and all places
            shift = (maps.mean(1) - module.running_mean) ** 2 / usual
            spread = torch.log((maps.var(1, correction=0) + module.eps) / usual) ** 2 / 4
            expected = expected + (3 - layers) * (shift + spread).mean() / 3  # the first of two layers counts twice
        values = module(values)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, pixels, retain_graph=True)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert not any(module._forward_pre_hooks for module in model.network.modules())


def test_statistics_of_a_network_without_any_are_refused() -> None:
    with pytest.raises(DeepscopeError, match="no batch normalisation"), statistics_distance(smooth_model().network):
        pass
