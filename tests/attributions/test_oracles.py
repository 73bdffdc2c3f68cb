"""Every method against a closed form, or a slow and plain re-implementation, in float64 on tiny networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepscope.attributions import (
    RISE,
    DeepLIFT,
    GradCAM,
    GradCAMPlusPlus,
    GradientTimesInput,
    GuidedBackpropagation,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGrad,
)
from deepscope.attributions.faithfulness import Deletion, MaxSensitivity
from deepscope.errors import DeepscopeError, SettingError, UnsupportedError
from deepscope.models.feature_map import feature_layer
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.vision_model import VisionModel

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def vision_model(network: nn.Module, classes: int = 4) -> VisionModel:
    categories = tuple(f"class {index}" for index in range(classes))
    return VisionModel("tiny", network.double(), Preprocessing(mean=MEAN, std=STD), categories)


def images(count: int = 2, height: int = 6, width: int = 8) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


TARGET = torch.tensor([2, 1])


@pytest.fixture
def linear() -> VisionModel:
    torch.manual_seed(0)
    return vision_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 8, 4)))


@pytest.fixture
def weights(linear: VisionModel) -> Tensor:
    """(2, 3, 6, 8) of the target classes, with respect to pixels."""
    layer = linear.network.get_submodule("1")
    assert isinstance(layer, nn.Linear)
    return layer.weight[TARGET].view(2, 3, 6, 8) / torch.tensor(STD, dtype=torch.float64).view(3, 1, 1)


def convolutional() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    )


def test_linear_network_saliency_is_the_weight(linear: VisionModel, weights: Tensor) -> None:
    maps = Saliency()(linear, images(), TARGET, rng=rng())
    torch.testing.assert_close(maps, weights.abs().amax(1))


def test_linear_network_shares_are_weight_times_input(linear: VisionModel, weights: Tensor) -> None:
    for method in (GradientTimesInput(), IntegratedGradients(), DeepLIFT()):
        torch.testing.assert_close(method(linear, images(), TARGET, rng=rng()), weights * images())


def test_linear_network_smoothgrad_is_the_gradient(linear: VisionModel, weights: Tensor) -> None:
    def maps(form: str) -> Tensor:
        return SmoothGrad(samples=7, form=form)(linear, images(), TARGET, rng=rng())  # type: ignore[arg-type]

    torch.testing.assert_close(maps("mean"), weights.abs().amax(1))
    torch.testing.assert_close(maps("squared"), weights.square().amax(1))
    torch.testing.assert_close(maps("variance"), torch.zeros(2, 6, 8, dtype=torch.float64), atol=1e-12, rtol=0)


def test_linear_network_occlusion_is_the_share_of_the_window(linear: VisionModel, weights: Tensor) -> None:
    maps = Occlusion(window=1, stride=1)(linear, images(), TARGET, rng=rng())
    torch.testing.assert_close(maps, (weights * images()).sum(1))


def test_smoothgrad_forms_are_moments_of_the_noisy_gradients() -> None:
    model = vision_model(convolutional())

    class Recorded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach() * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1))
            return inner(x)

    seen: list[Tensor] = []
    inner, model = model.network, vision_model(Recorded())
    forms = {
        form: SmoothGrad(9, 0.3, form)(model, images(), TARGET, rng=rng()) for form in ("mean", "squared", "variance")
    }
    noisy = torch.cat(seen)[-2 * 9 :].view(2, 9, 3, 6, 8)  # of the last form; all forms draw the same noise
    found = torch.empty_like(noisy)
    for image in range(2):
        for sample in range(9):
            leaf = noisy[image, sample, None].clone().requires_grad_()
            found[image, sample] = torch.autograd.grad(model(leaf)[0, TARGET[image]], leaf)[0][0]
    torch.testing.assert_close(forms["mean"], found.mean(1).abs().amax(1))
    torch.testing.assert_close(forms["squared"], found.square().mean(1).amax(1))
    torch.testing.assert_close(forms["variance"], found.var(1, correction=0).amax(1))
    spread = (noisy - images()[:, None]).flatten(1).std(1) / (images().amax((1, 2, 3)) - images().amin((1, 2, 3)))
    assert ((spread - 0.3).abs() < 0.03).all()


def path_integral(model: VisionModel, pixels: Tensor, steps: int) -> Tensor:
    """The shares as a plain sum over midpoints of the path from black."""
    total = torch.zeros_like(pixels)
    for step in range(steps):
        leaf = (pixels * (step + 0.5) / steps).requires_grad_()
        total += torch.autograd.grad(model(leaf).gather(1, TARGET[:, None]).sum(), leaf)[0] * pixels / steps
    return total


def test_integrated_gradients_add_up_and_agree_with_a_fine_riemann_sum() -> None:
    model = vision_model(convolutional())
    pixels = images(height=16, width=12)
    maps = IntegratedGradients(error=1e-2)(model, pixels, TARGET, rng=rng())
    change = (model(pixels) - model(torch.zeros_like(pixels))).gather(1, TARGET[:, None])[:, 0]
    assert ((maps.sum((1, 2, 3)) - change).abs() <= 1e-2 * change.abs()).all()
    riemann = path_integral(model, pixels, 2000)
    assert (maps - riemann).norm() < 0.01 * riemann.norm()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Softplus, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("seed", range(3))
def test_integrated_gradients_are_as_near_as_they_say(activation: type[nn.Module], seed: int) -> None:
    """Contrasts steep enough that the gradient turns several times on the way."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), activation(), nn.Conv2d(8, 8, 3), activation(), nn.Flatten(), nn.Linear(8 * 12 * 8, 4)
    )
    with torch.no_grad():
        network.get_parameter("0.weight").mul_(6)
    model, pixels = vision_model(network), images(height=16, width=12)
    reference = path_integral(model, pixels, 1000)
    for error in (0.1, 0.02):
        maps = IntegratedGradients(error=error)(model, pixels, TARGET, rng=rng())
        apart = (maps - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
        assert (apart <= error).all()


def test_integrated_gradients_see_errors_that_cancel() -> None:
    """Two pixels whose trapezoid errors are opposite: their sum is right at once, the map is not."""

    class Opposite(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bend = torch.sin(7 * x.flatten(1)[:, :2])
            return torch.stack([bend[:, 0] - bend[:, 1], bend[:, 1]], 1)

    model = VisionModel("opposite", Opposite(), Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3), ("a", "b"))
    pixels = torch.ones(1, 3, 2, 2).double()
    maps = IntegratedGradients(error=0.01)(model, pixels, torch.zeros(1, dtype=torch.long), rng=rng()).flatten()
    expected = torch.tensor([math.sin(7.0), -math.sin(7.0)], dtype=torch.float64)
    assert maps.sum().abs() < 1e-9
    assert (maps[:2] - expected).norm() <= 0.01 * expected.norm()


def test_guided_backpropagation_against_a_plain_backward_pass() -> None:
    network = convolutional()
    model = vision_model(network)
    pixels = images(height=16, width=12)
    maps = GuidedBackpropagation()(model, pixels, TARGET, rng=rng())

    leaf = model.normalise(pixels).requires_grad_()
    first = network[0](leaf)
    rectified = first.clamp_min(0).detach().requires_grad_()
    second = network[3](network[2](rectified))
    rectified_again = second.clamp_min(0).detach().requires_grad_()
    network[5:](rectified_again).gather(1, TARGET[:, None]).sum().backward()
    second.backward(rectified_again.grad.clamp_min(0) * (second > 0))  # type: ignore[union-attr]
    first.backward(rectified.grad.clamp_min(0) * (first > 0))  # type: ignore[union-attr]
    expected = (leaf.grad / torch.tensor(STD).view(3, 1, 1)).abs().amax(1)  # type: ignore[operator]
    torch.testing.assert_close(maps, expected)


def pooled_linear() -> VisionModel:
    torch.manual_seed(2)
    return vision_model(
        nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))
    )


def test_gradcam_of_a_pooled_linear_network_is_cam() -> None:
    model = pooled_linear()
    head = model.network.get_submodule("4")
    assert isinstance(head, nn.Linear)
    features = model.activations(images(), ["1"])["1"]
    cam = torch.einsum("nchw,nc->nhw", features, head.weight[TARGET]).relu() / (6 * 8)
    torch.testing.assert_close(GradCAM()(model, images(), TARGET, rng=rng()), cam)
    positive = torch.einsum("nchw,nc->nhw", features, head.weight[TARGET].relu()).relu() / (6 * 8)
    torch.testing.assert_close(LayerCAM()(model, images(), TARGET, rng=rng()), positive)


def test_gradcam_plus_plus_against_the_paper_term_by_term() -> None:
    model = pooled_linear()
    head = model.network.get_submodule("4")
    assert isinstance(head, nn.Linear)
    features = model.activations(images(), ["1"])["1"]
    expected = torch.zeros(2, 6, 8, dtype=torch.float64)
    for image in range(2):
        for channel in range(5):
            slope = float(head.weight[TARGET[image], channel]) / (6 * 8)
            total = float(features[image, channel].sum())
            share = slope**2 / (2 * slope**2 + total * slope**3)
            expected[image] += 6 * 8 * share * max(slope, 0) * features[image, channel]
    torch.testing.assert_close(GradCAMPlusPlus()(model, images(), TARGET, rng=rng()), expected.relu())


def test_gradcam_is_enlarged_bilinearly_and_its_backward_stops_at_the_layer() -> None:
    network = convolutional()
    model = vision_model(network)
    pixels = images(height=16, width=12)
    recorded: list[bool] = []
    network[0].register_forward_hook(lambda module, inputs, output: recorded.append(output.requires_grad))
    maps = GradCAM()(model, pixels, TARGET, rng=rng())
    recorded.clear()
    torch.testing.assert_close(GradCAM("4")(model, pixels, TARGET, rng=rng()), maps)
    assert recorded == [False]
    features = model.activations(pixels, ["4"])["4"]
    small = torch.einsum("nchw,nc->nhw", features, network[7].weight[TARGET]).relu() / features[0, 0].numel()  # type: ignore[index]
    torch.testing.assert_close(maps, F.interpolate(small[:, None], (16, 12), mode="bilinear")[:, 0])


def test_scorecam_channel_by_channel() -> None:
    model = vision_model(convolutional())
    pixels = images(height=16, width=12)
    features = model.activations(pixels, ["4"])["4"]
    expected = torch.zeros(2, 16, 12, dtype=torch.float64)
    for image in range(2):
        scores = []
        for channel in features[image]:
            window = (channel - channel.min()) / max(float(channel.max() - channel.min()), 1e-8)
            window = F.interpolate(window[None, None], (16, 12), mode="bilinear")[0, 0]
            scores.append(model(pixels[image, None] * window)[0, TARGET[image]])
        weight = torch.stack(scores).softmax(0)
        cam = (weight[:, None, None] * features[image]).sum(0).relu()
        expected[image] = F.interpolate(cam[None, None], (16, 12), mode="bilinear")[0, 0]
    torch.testing.assert_close(ScoreCAM()(model, pixels, TARGET, rng=rng()), expected)


def test_occlusion_window_by_window() -> None:
    model = vision_model(convolutional())
    pixels = images(height=13, width=11)
    expected, covered = torch.zeros(2, 13, 11, dtype=torch.float64), torch.zeros(13, 11)
    plain = model(pixels).gather(1, TARGET[:, None])[:, 0]
    for top in (0, 3, 6, 8):  # the last one ends with the image
        for left in (0, 3, 6):
            part = pixels.clone()
            part[:, :, top : top + 5, left : left + 5] = 0.5
            fall = plain - model(part).gather(1, TARGET[:, None])[:, 0]
            expected[:, top : top + 5, left : left + 5] += fall[:, None, None]
            covered[top : top + 5, left : left + 5] += 1
    maps = Occlusion(window=5, stride=3, baseline="grey")(model, pixels, TARGET, rng=rng())
    torch.testing.assert_close(maps, expected / covered)


@pytest.mark.parametrize(("window", "stride", "setting"), [(9, 4, "window"), (4, 5, "stride")])
def test_occlusion_refuses_windows_that_do_not_cover(
    linear: VisionModel, window: int, stride: int, setting: str
) -> None:
    with pytest.raises(SettingError) as caught:
        Occlusion(window=window, stride=stride)(linear, images(), TARGET, rng=rng())
    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (Occlusion, {"window": 0}),
        (Occlusion, {"stride": 0}),
        (SmoothGrad, {"samples": 0}),
        (SmoothGrad, {"noise": -1.0}),
        (RISE, {"masks": 0}),
        (RISE, {"visible": 0.0}),
        (IntegratedGradients, {"error": 0.0}),
        (IntegratedGradients, {"steps": -1}),
        (IntegratedGradients, {"most": 4}),
        (Deletion, {"steps": 0}),
        (MaxSensitivity, {"samples": 0}),
    ],
)
def test_settings_out_of_range_are_refused(method: Callable[..., object], settings: dict[str, float]) -> None:
    with pytest.raises(SettingError) as caught:
        method(**settings)
    assert caught.value.setting == next(iter(settings))


def test_an_error_out_of_reach_is_said() -> None:
    with pytest.raises(DeepscopeError, match="raise it or most"):
        IntegratedGradients(error=1e-9, most=20)(
            vision_model(convolutional()), images(height=16, width=12), TARGET, rng=rng()
        )


def test_rise_is_the_mean_of_masks_weighted_by_probability() -> None:
    class Recorded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return inner(x)

    seen: list[Tensor] = []
    inner, model = vision_model(convolutional()).network, vision_model(Recorded())
    pixels = torch.full((1, 3, 28, 21), 0.8, dtype=torch.float64)
    maps = RISE(masks=40)(model, pixels, TARGET[:1], rng=rng())
    inputs = torch.cat(seen)[-40:]  # after what prepared the network
    masks = ((inputs * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) / 0.8)[:, 0]
    assert masks.shape == (40, 28, 21)
    assert masks.min() > -1e-6 and masks.max() < 1 + 1e-6
    assert abs(float(masks.mean()) - 0.5) < 0.05
    seen_probability = inner(inputs).softmax(1)[:, TARGET[0]]
    torch.testing.assert_close(maps[0], (masks * seen_probability[:, None, None]).mean(0) / 0.5, rtol=1e-6, atol=1e-8)


def test_rise_masks_shift_by_every_pixel_of_a_cell() -> None:
    method = RISE()
    assert math.isclose(float(torch.stack([method.mask(21, 28, s) for s in range(4000)]).mean()), 0.5, abs_tol=0.01)


def test_feature_layer_is_the_map_before_pooling_also_where_the_head_is_a_convolution() -> None:
    torch.manual_seed(0)
    fully = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Dropout(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert feature_layer(vision_model(fully), images()) == "1"
    assert feature_layer(vision_model(convolutional()), images()) == "4"


def test_feature_layer_is_the_same_whatever_the_images_show() -> None:
    """On a black image, no hidden unit is active and the scores depend on nothing."""
    torch.manual_seed(0)
    hidden = nn.Linear(6 * 4 * 6, 8)
    nn.init.constant_(hidden.bias, -1e-3)
    layers = (nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Flatten(), hidden, nn.ReLU(), nn.Linear(8, 3))
    plain = Preprocessing(8, 8, mean=(0,) * 3, std=(1,) * 3)
    model = VisionModel("dark", nn.Sequential(*layers).double(), plain, ("a", "b", "c"))
    assert feature_layer(model, torch.zeros_like(images())) == "1"


def test_feature_layer_is_that_of_the_size_of_the_images() -> None:
    """At 8 x 8 pixels the second map has one position."""
    torch.manual_seed(0)
    maps = (nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 5, 2, stride=2))
    model = vision_model(nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)))
    assert feature_layer(model, images(height=8, width=8)) == "0"
    assert feature_layer(model, images(height=32, width=32)) == "1"


def test_feature_layer_of_a_network_without_a_map_is_refused(linear: VisionModel) -> None:
    with pytest.raises(UnsupportedError, match="no feature map"):
        GradCAM()(linear, images(), TARGET, rng=rng())


@pytest.mark.parametrize("layer", ["nowhere", "7"])
def test_gradcam_refuses_a_layer_that_is_no_map(layer: str) -> None:
    with pytest.raises(DeepscopeError, match="layer"):
        GradCAM(layer)(vision_model(convolutional()), images(height=16, width=12), TARGET, rng=rng())
