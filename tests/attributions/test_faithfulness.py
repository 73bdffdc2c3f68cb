"""The measures against plain re-implementations, and what they must say of maps that are known to be good or bad."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from architectures import ARCHITECTURES
from deepscope.attributions import Saliency
from deepscope.attributions.attribution import baseline_pixels, image_seeds
from deepscope.attributions.faithfulness import (
    AverageDrop,
    Deletion,
    Explanation,
    Increase,
    Insertion,
    MaxSensitivity,
    Measure,
    Randomisation,
    energy_inside,
    rank_correlation,
)
from deepscope.attributions.faithfulness.confidence import _whole_and_dimmed
from deepscope.models import VisionModel
from deepscope.models.feature_map import feature_layer
from networks import tiny_model

COUNT, SIDE = 3, 16


@pytest.fixture
def model() -> VisionModel:
    model = tiny_model()
    model.network.double()
    for parameter in model.network.parameters():
        parameter.mul_(3)  # so that probabilities differ
    return model


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(COUNT, 3, SIDE, SIDE, generator=rng(), dtype=torch.float64)


@pytest.fixture
def target(model: VisionModel, pixels: Tensor) -> Tensor:
    return model(pixels).argmax(1)


@pytest.fixture
def maps() -> Tensor:
    return torch.rand(COUNT, SIDE, SIDE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def no_explanation(pixels: Tensor) -> Tensor:
    raise AssertionError("this measure needs no further maps")


def causal_metric(model: VisionModel, start: Tensor, finish: Tensor, label: int, values: Tensor, each: int) -> float:
    """RISE's metric for one image, pixel by pixel."""
    order = sorted(range(values.numel()), key=lambda place: -float(values.flatten()[place]))
    current, probabilities = start.clone(), []
    for step in range(math.ceil(len(order) / each) + 1):
        probabilities.append(float(model(current[None]).softmax(1)[0, label]))
        for place in order[step * each : (step + 1) * each]:
            y, x = divmod(place, values.shape[1])
            current[:, y, x] = finish[:, y, x]
    return (sum(probabilities) - probabilities[0] / 2 - probabilities[-1] / 2) / (len(probabilities) - 1)


@pytest.mark.parametrize("steps", [7, 16, 256])
def test_insertion_and_deletion_are_rises_causal_metric(
    steps: int, model: VisionModel, pixels: Tensor, target: Tensor, maps: Tensor
) -> None:
    each = math.ceil(SIDE * SIDE / steps)
    deleted = Deletion(steps)(Explanation(model, pixels, target, maps, no_explanation, rng()))
    inserted = Insertion(steps)(Explanation(model, pixels, target, maps, no_explanation, rng()))
    grey, blurred = torch.full_like(pixels, 0.5), baseline_pixels("blurred", pixels)
    for i in range(COUNT):
        label = int(target[i])
        assert abs(deleted[i] - causal_metric(model, pixels[i], grey[i], label, maps[i], each)) < 1e-4
        assert abs(inserted[i] - causal_metric(model, blurred[i], pixels[i], label, maps[i], each)) < 1e-4


def test_average_drop_and_increase(model: VisionModel, pixels: Tensor, target: Tensor, maps: Tensor) -> None:
    drop = AverageDrop()(Explanation(model, pixels, target, maps, no_explanation, rng()))
    rise = Increase()(Explanation(model, pixels, target, maps, no_explanation, rng()))
    for i in range(COUNT):
        scaled = (maps[i] - maps[i].min()) / (maps[i].max() - maps[i].min())
        whole = float(model(pixels[i, None]).softmax(1)[0, target[i]])
        seen = float(model(pixels[i, None] * scaled).softmax(1)[0, target[i]])
        assert math.isclose(float(drop[i]), max(0, whole - seen) / whole, rel_tol=1e-5, abs_tol=1e-7)
        assert float(rise[i]) == float(seen > whole)


def test_max_sensitivity(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    def explain(seen: Tensor) -> Tensor:
        return Saliency()(model, seen, target, rng=rng())

    found = MaxSensitivity(radius=0.1, samples=3)(Explanation(model, pixels, target, explain(pixels), explain, rng()))
    seeds = image_seeds(COUNT, 3, rng())
    for i in range(COUNT):
        original = Saliency()(model, pixels[i, None], target[i, None], rng=rng())
        changes = []
        for seed in seeds[i].tolist():
            noise = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).double() * 0.2 - 0.1
            moved = Saliency()(model, pixels[i, None] + noise, target[i, None], rng=rng())
            changes.append(float((moved - original).norm() / original.norm()))
        assert math.isclose(float(found[i]), max(changes), rel_tol=1e-5)


def test_energy_inside_a_box() -> None:
    maps = torch.tensor([[[1.0, 3.0], [-5.0, 4.0]], [[0.0, 0.0], [-1.0, 0.0]]])
    inside = torch.tensor([[[0.0, 1.0], [1.0, 0.5]]]).expand(2, 2, 2)
    found = energy_inside(maps, inside)
    assert found[0] == 5 / 8
    assert found[1].isnan()


def test_rank_correlation_is_spearmans(maps: Tensor) -> None:
    other = maps.flip(2).round(decimals=1)  # with ties
    expected: list[Any] = [spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(maps.numpy(), other.numpy())]
    np.testing.assert_allclose(rank_correlation(-maps, other), expected)
    assert np.isnan(rank_correlation(maps, torch.ones_like(maps))).all()


def test_randomisation_shuffles_a_copy_from_the_output_down(model: VisionModel, pixels: Tensor) -> None:
    before = copy.deepcopy(model.network.state_dict())
    changed: list[list[bool]] = []

    def explain(network: VisionModel) -> list[Tensor]:
        weights = network.network.state_dict()
        changed.append([not torch.equal(weights[f"{layer}.weight"], before[f"{layer}.weight"]) for layer in (0, 3, 7)])
        for layer in (0, 3, 7):
            kept, shuffled = before[f"{layer}.weight"].flatten(), weights[f"{layer}.weight"].flatten()
            assert torch.equal(kept.sort().values, shuffled.sort().values)
        return [Saliency()(network, pixels, torch.tensor([0, 1, 2]), rng=rng())]

    survived = Randomisation((1 / 3, 2 / 3, 1.0))(explain, model, pixels, rng=rng())
    assert survived.shape == (1, 3, COUNT)
    assert changed == [[False] * 3, [False, False, True], [False, True, True], [True] * 3]
    for key, weight in model.network.state_dict().items():
        assert torch.equal(weight, before[key])


EMBEDDINGS = {
    "ViT, class token": ["cls_token", "pos_embed", "patch_embed.proj.weight"],
    "ViT, registers": ["cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight"],
    "DeiT, distilled": ["cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight"],
    "ViT, torchvision": ["class_token", "encoder.pos_embedding", "conv_proj.weight"],
    "EVA-02": ["cls_token", "pos_embed", "patch_embed.proj.weight"],
    "Swin v1": ["patch_embed.proj.weight"],
    "ConvNeXt": ["stem.0.weight"],
}
"""What stands lowest in a network, wherever its author keeps it."""


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_randomisation_begins_with_the_head_and_ends_with_the_embeddings(name: str) -> None:
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    model = architecture.model()
    model.network.register_buffer("number", torch.arange(7))
    before = copy.deepcopy(model.network.state_dict())
    parameters = [key for key, value in model.network.named_parameters() if len(value.unique()) > 1]
    changed: list[set[str]] = []

    def explain(network: VisionModel) -> list[Tensor]:
        weights = network.network.state_dict()
        changed.append({key for key in before if not torch.equal(weights[key], before[key])})
        return [torch.rand(1, 4, 4)]

    pixels = torch.rand(1, 3, architecture.size, architecture.size).double()
    Randomisation((0.1, 0.5, 1.0))(explain, model, pixels, rng=rng())
    assert changed[0] == set()
    top = {key for key in parameters if key.startswith("head") and key.endswith("weight")} - {"head_dist.weight"}
    assert top and top <= changed[1]
    for low in EMBEDDINGS[name]:
        assert low not in changed[2] and low in changed[3]
    assert changed[3] >= {key for key in parameters if before[key].numel() > 8}
    assert changed[3] <= {key for key, _ in model.network.named_parameters()}  # no masks, indices, or tables


def test_statistics_of_batch_norms_are_shuffled_with_their_weights() -> None:
    (resnet,) = (one for one in ARCHITECTURES if one.name == "ResNet")
    model = resnet.model()
    before = copy.deepcopy(model.network.state_dict())
    shuffled: list[VisionModel] = []
    Randomisation((1.0,))(
        lambda network: [shuffled.append(network) or torch.rand(1, 4, 4)], model, torch.rand(1, 3, 64, 64).double()
    )
    after = shuffled[-1].network.state_dict()
    assert not torch.equal(after["bn1.running_var"], before["bn1.running_var"])
    assert torch.equal(after["bn1.running_var"].sort().values, before["bn1.running_var"].sort().values)


def test_the_layer_of_a_class_activation_map_is_that_of_the_trained_network(pixels: Tensor) -> None:
    """Each class reads one position of the second map, so that the first one is explained; shuffled, it reads many."""
    torch.manual_seed(0)
    side = SIDE - 4
    head = nn.Linear(4 * side * side, 4)
    head.weight.data.view(4, 4, side, side)[:, :, 1:].zero_()
    head.weight.data.view(4, 4, side, side)[:, :, 0, 1:].zero_()
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), head).double()
    plain = tiny_model(size=SIDE)
    model = VisionModel("corner", layers, plain.preprocessing, plain.categories)
    found: list[str] = []

    def explain(network: VisionModel) -> list[Tensor]:
        found.append(feature_layer(network, pixels))
        return [pixels.mean(1)]

    Randomisation((0.4, 1.0))(explain, model, pixels, rng=rng())
    assert found == ["0", "0", "0"]


def test_a_map_that_ignores_the_network_survives_randomisation(model: VisionModel, pixels: Tensor) -> None:
    survived = Randomisation()(lambda _: [pixels.mean(1)], model, pixels, rng=rng())
    np.testing.assert_allclose(survived, 1)


def test_a_map_that_goes_flat_has_nothing_left(model: VisionModel, pixels: Tensor) -> None:
    trained = iter([pixels.mean(1)])

    def explain(_: VisionModel) -> list[Tensor]:
        flat = torch.zeros_like(pixels[:, 0])
        return [next(trained, flat), flat]

    lost, never = Randomisation()(explain, model, pixels, rng=rng())
    assert (lost == 0).all()
    assert np.isnan(never).all()


measures = pytest.mark.parametrize("measure", [member() for member in Measure.members().values()], ids=lambda m: m.name)  # type: ignore[abstract]


@measures
def test_every_measure_cites_its_source_and_does_not_depend_on_the_batch(
    measure: Measure, model: VisionModel, pixels: Tensor, target: Tensor, maps: Tensor
) -> None:
    assert re.search(r"\b(19|20)\d\d\b", type(measure).__doc__ or "")

    def one(rows: slice, random: torch.Generator) -> Tensor:
        def explain(seen: Tensor, classes: Tensor = target[rows]) -> Tensor:
            return Saliency()(model, seen, classes, rng=rng())

        def explain_class(other: Tensor) -> Tensor:
            return explain(pixels[rows], other)

        return measure(
            Explanation(model, pixels[rows], target[rows], maps[rows], explain, random, explain_class=explain_class)
        )

    random = rng()
    parts = torch.cat([one(slice(i, i + 1), random) for i in range(COUNT)])
    torch.testing.assert_close(parts, one(slice(None), rng()))


def test_insertion_and_deletion_know_the_true_pixels_of_a_linear_score(pixels: Tensor) -> None:
    """On a network that looks at one corner alone, a map of that corner beats its opposite."""
    model = tiny_model()
    head = torch.zeros(4, 3 * SIDE * SIDE, dtype=torch.float64)
    head.view(4, 3, SIDE, SIDE)[1, :, :4, :4] = 0.3
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 4, dtype=torch.float64))
    network.load_state_dict({"1.weight": head, "1.bias": torch.zeros(4)})
    model = VisionModel("corner", network, model.preprocessing, model.categories)
    bright, target = torch.ones_like(pixels), torch.ones(COUNT, dtype=torch.long)
    corner = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.float64)
    corner[:, :4, :4] = 1
    for measure in (Deletion(), Insertion(substrate="black")):
        right, wrong = (
            measure(Explanation(model, bright, target, sign * corner, no_explanation, rng())) for sign in (1, -1)
        )
        assert ((right > wrong) == measure.higher_is_better).all()


def test_what_speaks_against_the_class_is_hidden_as_what_is_silent_is(
    model: VisionModel, pixels: Tensor, target: Tensor, maps: Tensor
) -> None:
    signed = maps - maps.mean()
    _, seen = _whole_and_dimmed(Explanation(model, pixels, target, signed, no_explanation, rng()))
    scaled = torch.stack([values / values.max() for values in signed.clamp_min(0)])[:, None]
    expected = model(pixels * scaled).softmax(1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(seen, expected)
    assert not torch.allclose(
        seen, _whole_and_dimmed(Explanation(model, pixels, target, maps, no_explanation, rng()))[1]
    )
