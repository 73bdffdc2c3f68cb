"""TCAV: closed forms on a linear network, false alarms, refusals; captum's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn

import deepscope as ds
from deepscope.concepts.directions import _STRENGTH, direction, sensitivities
from deepscope.concepts.tcav import needed_sets
from deepscope.errors import DataError, SettingError, UnknownNameError
from deepscope.models import Preprocessing, VisionModel
from networks import tiny_model

_SIZE = 4


@pytest.fixture
def linear() -> VisionModel:
    """Class scores are: the red channel's mean, less it, and the green one's."""
    network = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False))
    network[3].weight.data = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])
    return VisionModel("linear", network, Preprocessing(_SIZE, _SIZE), ("red", "dark", "green"))


def noise(count: int, seed: int, red: float = 0.0) -> torch.Tensor:
    pixels = torch.rand(count, 3, _SIZE, _SIZE, generator=torch.Generator().manual_seed(seed)) * 0.5
    pixels[:, 0] += red
    return pixels


def test_scores_of_a_linear_network_are_the_signs_of_its_weights(linear: VisionModel) -> None:
    images = torch.cat([noise(4, 0, red=0.5), -noise(4, 1) + 0.5, noise(4, 2)])
    images[4:8, 0], images[8:, 1] = 0.0, 1.0
    concepts = {"red": noise(10, 3, red=0.4), "none": noise(10, 4)}
    settings: dict[str, Any] = {"targets": list(linear.categories), "layers": "0", "counterparts": 1}
    found = ds.concepts.tcav(linear, images, concepts, noise(60, 5), **settings)
    by_name = {(one.concept, one.target): one for one in found.tests}
    assert by_name["red", "red"].found.score == 1 and by_name["red", "dark"].found.score == 0
    assert by_name["red", "red"].significant and by_name["red", "dark"].significant
    assert by_name["red", "red"].found.effect == pytest.approx(-by_name["red", "dark"].found.effect)
    assert by_name["red", "red"].found.accuracy > 0.9
    assert not any(by_name["none", target].significant for target in linear.categories)
    assert found.random_sets == 40 * 6 - 1 and found.needed == needed_sets(6) == 119
    assert found.tests[0].concept == "red" and found.result().metrics["significant"] >= 2
    assert len(found.to_pandas()) == 6


def test_too_few_random_sets_are_never_significant_and_the_result_says_so(linear: VisionModel) -> None:
    images, concept = noise(4, 0, red=0.5), {"red": noise(8, 3, red=0.4)}
    few = ds.concepts.tcav(linear, images, concept, noise(20, 5), targets="red", layers="0", random_sets=18)
    enough = ds.concepts.tcav(linear, images, concept, noise(20, 5), targets="red", layers="0", random_sets=19)
    assert few.tests[0].adjusted == pytest.approx(1 / 19) and enough.tests[0].adjusted == pytest.approx(0.05)
    assert any("Use at least 19" in getattr(block, "text", "") for block in few.result().blocks)
    assert not any("Use at least" in getattr(block, "text", "") for block in enough.result().blocks)


def test_random_concepts_are_significant_in_5_percent() -> None:
    """Concept and a small pool from one distribution."""
    alarms, trials = 0, 80
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        vectors = rng.exponential(size=(26, 5))
        (found,) = sensitivities(
            vectors[:6], vectors[6:20], [vectors[20:]], [rng.normal(size=(4, 5)) + 1], random_sets=19, rng=rng
        )
        alarms += found.p_value <= 0.05
    assert stats.binomtest(alarms, trials, 0.05).pvalue > 0.001


def test_directions_are_those_of_scikit_learn_and_scores_those_of_captum(tmp_path: Path) -> None:
    concept_module = pytest.importorskip("captum.concept", reason="pip install 'deepscope[peers]'")
    from captum.attr import LayerGradientXActivation
    from captum.concept._utils.classifier import Classifier

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)
    ).eval()
    for layer in ("1", "3"):
        network.get_parameter(f"{layer}.weight").data *= 6
    given, members, counterpart = noise(40, 0), noise(12, 1, red=0.3), noise(12, 2)
    with torch.no_grad():
        ours, theirs = (network[:3](one).double().numpy() for one in (members, counterpart))
    everything = np.concatenate([ours, theirs, theirs])  # concept, pool and counterpart
    scale = _STRENGTH / np.square(everything - everything.mean(0)).sum(1).mean()

    class Linear(Classifier):
        def __init__(self) -> None:
            self.normal = torch.empty(0)

        def train_and_eval(self, dataloader: Any, **_: Any) -> dict[str, float]:
            vectors, labels = (torch.cat(parts) for parts in zip(*dataloader))
            fitted = LogisticRegression(C=scale, tol=1e-8, max_iter=2000).fit(vectors.numpy(), labels.numpy() == 0)
            self.normal = torch.from_numpy(fitted.coef_[0]).float()
            return {"accs": 1.0}

        def weights(self) -> torch.Tensor:
            return torch.stack([self.normal, -self.normal])

        def classes(self) -> list[int]:
            return [0, 1]

    made = [
        concept_module.Concept(number, name, list(pixels.split(4)))
        for number, name, pixels in ((0, "concept", members), (1, "counterpart", counterpart))
    ]
    attribution = LayerGradientXActivation(network, network[2], multiply_by_inputs=False)

    def peer(target: int) -> float:
        settings = {"classifier": Linear(), "save_path": f"{tmp_path}/{target}/"}
        made_by = concept_module.TCAV(network, ["2"], layer_attr_method=attribution, **settings)
        return float(made_by.interpret(given, [made], target=target)["0-1"]["2"]["sign_count"][0])

    hidden = network[:3](given).detach().requires_grad_()
    targets, gradients = range(3), []
    for target in targets:
        gradients += [torch.autograd.grad(network[3:](hidden)[:, target].sum(), hidden)[0].double().numpy()]
    found = sensitivities(ours, theirs, [theirs], gradients, random_sets=1, rng=np.random.default_rng(0))
    assert any(0 < one.score < 1 for one in found)
    assert [one.score for one in found] == pytest.approx([peer(target) for target in targets], abs=1 / 40)


def test_a_direction_points_from_the_counterpart_to_the_set() -> None:
    rng = np.random.default_rng(0)
    found = direction(rng.normal((4, 0, 0), size=(50, 3)), rng.normal(size=(50, 3)))
    assert found[0] > 0.9 and np.linalg.norm(found) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"concepts": {"few": noise(4, 0)}}, DataError, "concept few needs at least 5 images"),
        ({"pool": noise(15, 0)}, DataError, "the pool needs at least 16 images, twice as many as concept a"),
        ({"concepts": {}}, SettingError, "concepts must name at least one"),
        ({"concepts": 3}, SettingError, "concepts must be folders, or images by the concept's name"),
        ({"random_sets": 0}, SettingError, "random_sets must be a whole number, and at least 1"),
        ({"targets": "cat"}, UnknownNameError, "no class is named 'cat'"),
        ({"targets": "green"}, DataError, "linear classifies none of the 3 images as green"),
        ({"layers": "9"}, UnknownNameError, "no layer is named '9'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    settings: dict[str, Any], error: type[Exception], said: str, linear: VisionModel
) -> None:
    usual: dict[str, Any] = {"concepts": {"a": noise(8, 1)}, "pool": noise(20, 2), "layers": "0"}
    with pytest.raises(error, match=said):
        ds.concepts.tcav(linear, noise(3, 0, red=0.5), **{**usual, **settings})


def test_a_layer_without_influence_is_refused() -> None:
    model = tiny_model()
    linear = nn.Sequential(nn.Conv2d(3, 2, 1), _Ignored(), nn.Flatten(), nn.Linear(2 * 256, 4))
    given = torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SettingError, match="has no influence on the score"):
        ds.concepts.tcav(model.with_network(linear, returns="logits"), given, {"a": given[:5]}, given, layers="1.head")


class _Ignored(nn.Module):
    """Runs a layer, and discards its output."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(2, 2, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        self.head(maps)
        return maps
