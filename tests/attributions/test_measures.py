"""Infidelity, ROAD, sparseness, complexity, the random logit test and relevance rank accuracy: against plain
re-implementations, captum and Quantus; and what measures share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

from deepscope.attacks import FGSM, Conditions, evaluate_attacks
from deepscope.attributions import EigenCAM, GradCAM, IntegratedGradients, Saliency, evaluate
from deepscope.attributions.attribution import Attribution, image_seeds
from deepscope.attributions.boxes import Boxes
from deepscope.attributions.faithfulness import (
    ROAD,
    AverageDrop,
    Complexity,
    Deletion,
    Explanation,
    Increase,
    Infidelity,
    Insertion,
    RandomLogit,
    Sparseness,
    energy_inside,
    rank_inside,
)
from deepscope.attributions.faithfulness.infidelity import misfit
from deepscope.attributions.faithfulness.road import impute
from deepscope.attributions.masks import Masks
from deepscope.errors import DataError, FileError, SettingError, UnsupportedError
from deepscope.inputs import gather, read_photos
from deepscope.models import VisionModel
from deepscope.models.heads import Head
from deepscope.presenters.explain_evaluate import present
from deepscope.results import Note, Table
from deepscope.session import Session
from networks import linear_model, tiny_model

COUNT, SIDE = 3, 16


@pytest.fixture
def model() -> VisionModel:
    model = tiny_model()
    model.network.double()
    for parameter in model.network.parameters():
        parameter.mul_(3)  # so that predictions differ
    return model


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(COUNT, 3, SIDE, SIDE, generator=rng(), dtype=torch.float64)


@pytest.fixture
def target(model: VisionModel, pixels: Tensor) -> Tensor:
    return model(pixels).argmax(1)


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(COUNT, SIDE, SIDE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.fixture
def given(model: VisionModel, pixels: Tensor, target: Tensor, maps: Tensor) -> Explanation:
    return Explanation(model, pixels, target, maps, lambda changed: maps, rng())


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def quantus(name: str) -> Any:
    return getattr(pytest.importorskip("quantus", reason="compares with it: pip install 'deepscope[peers]'"), name)


class Network(nn.Module):
    """A model as other libraries take it."""

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.network, self.model = model.network, model
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels.double())


# Sparseness and complexity


def test_sparseness_and_complexity_of_known_maps(given: Explanation, model: VisionModel) -> None:
    def both(values: Tensor) -> list[float]:
        one = Explanation(model, given.pixels[:1], given.target[:1], values.double()[None], given.explain)
        return [float(Sparseness()(one)), float(Complexity()(one))]

    single, even, signs = torch.zeros(4, 4), torch.ones(4, 4), torch.ones(4, 4)
    single[1, 2], signs[:2] = -3, -1
    assert both(single) == pytest.approx([15 / 16, 0])
    assert both(even) == pytest.approx([0, math.log(16)]) == both(signs)
    assert all(math.isnan(value) for value in both(torch.zeros(4, 4)))


def test_quantus_agrees_on_sparseness_and_complexity(given: Explanation, maps: Tensor) -> None:
    shown = maps.numpy()[:, None]
    for measure, name in ((Sparseness(), "Sparseness"), (Complexity(), "Complexity")):
        peer = quantus(name)(abs=True, normalise=True, disable_warnings=True)
        theirs = peer(None, given.pixels.numpy(), given.target.numpy(), a_batch=shown.copy(), channel_first=True)
        np.testing.assert_allclose(measure(given).numpy(), np.array(theirs).ravel(), rtol=1e-5)


# Relevance rank and mass accuracy


def test_relevance_rank_counts_the_largest_values_on_the_object() -> None:
    maps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]).repeat(4, 1, 1)
    inside = torch.tensor([[[1, 0], [1, 0.0]], [[1, 1], [0, 0]], [[0, 0], [0, 0.4]], [[math.nan] * 2] * 2])
    found = rank_inside(maps, inside)
    assert found[:2].tolist() == [0.5, 1.0] and found[2:].isnan().all()


def test_quantus_agrees_on_rank_and_mass(given: Explanation, maps: Tensor) -> None:
    inside = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.float64)
    inside[:, 3:9, 4:15] = 1
    relevance = maps.clamp_min(0)
    for ours, name in ((rank_inside, "RelevanceRankAccuracy"), (energy_inside, "RelevanceMassAccuracy")):
        peer = quantus(name)(abs=False, normalise=False, disable_warnings=True)
        theirs = peer(
            Network(given.model),
            given.pixels.numpy(),
            given.target.numpy(),
            a_batch=relevance.numpy()[:, None],
            s_batch=inside.numpy()[:, None],
            channel_first=True,
        )
        np.testing.assert_allclose(ours(relevance, inside).numpy(), np.array(theirs).ravel(), rtol=1e-9)


# Infidelity


def squares(measure: Infidelity, side: int) -> list[list[tuple[int, int]]]:
    """The places that are drawn for each image."""
    found = []
    for seed in image_seeds(COUNT, 1, rng())[:, 0].tolist():
        drawn = torch.Generator().manual_seed(seed)
        tops, lefts = (torch.randint(SIDE - side + 1, (measure.squares,), generator=drawn).tolist() for _ in range(2))
        found.append(list(zip(tops, lefts)))
    return found


def test_infidelity_is_written_out(given: Explanation, model: VisionModel, pixels: Tensor, maps: Tensor) -> None:
    measure = Infidelity(squares=6, side=0.25, substrate="black")
    found = measure(given)
    for i, places in enumerate(squares(measure, 4)):
        said, fallen = [], []
        for top, left in places:
            covered = pixels[i].clone()
            covered[:, top : top + 4, left : left + 4] = 0
            said.append(float(maps[i, top : top + 4, left : left + 4].sum()))
            scores = model(torch.stack([pixels[i], covered]))[:, given.target[i]]
            fallen.append(float(scores[0] - scores[1]))
        scale = np.dot(said, fallen) / np.dot(said, said)
        expected = np.mean((scale * np.array(said) - np.array(fallen)) ** 2)
        assert float(found[i]) == pytest.approx(expected, rel=1e-6)


def test_captum_agrees_on_infidelity(given: Explanation, model: VisionModel, pixels: Tensor, maps: Tensor) -> None:
    metrics = pytest.importorskip("captum.metrics", reason="compares with it: pip install 'deepscope[peers]'")
    measure = Infidelity(squares=5, side=0.25, substrate="black")
    places = squares(measure, 4)
    for i in range(COUNT):

        def cover(inputs: Tensor, places: list[tuple[int, int]] = places[i]) -> tuple[Tensor, Tensor]:
            changed, hidden = inputs.clone(), torch.zeros(len(inputs), 3, SIDE, SIDE, dtype=torch.float64)
            for row, (top, left) in enumerate(places):
                changed[row, :, top : top + 4, left : left + 4] = 0
                hidden[row, :, top : top + 4, left : left + 4] = 1
            return hidden, changed

        theirs = metrics.infidelity(
            lambda inputs, label=int(given.target[i]): model(inputs)[:, label],
            cover,
            pixels[i : i + 1],
            maps[i, None, None].expand(1, 3, -1, -1) / 3,
            n_perturb_samples=5,
            normalize=True,
        )
        assert float(measure(given)[i]) == pytest.approx(float(theirs), rel=1e-6)


def test_quantus_agrees_on_the_misfit(given: Explanation, model: VisionModel, pixels: Tensor, maps: Tensor) -> None:
    """Quantus covers one block after the other and scales nothing: with maps at their best scale, it is the same."""
    fallen, said, covered = [], [], pixels.clone()
    whole = model(pixels).gather(1, given.target[:, None])[:, 0]
    for top in range(0, SIDE, 8):
        for left in range(0, SIDE, 8):
            covered[:, :, top : top + 8, left : left + 8] = 0
            said.append((maps[:, None] * (pixels - covered)).sum((1, 2, 3)))
            fallen.append(whole - model(covered).gather(1, given.target[:, None])[:, 0])
    ours, changes = torch.stack(said, 1), torch.stack(fallen, 1)
    scale = (ours * changes).sum(1) / ours.square().sum(1)
    peer = quantus("Infidelity")(
        perturb_patch_sizes=[8],
        perturb_baseline=0.0,
        n_perturb_samples=1,
        abs=False,
        normalise=False,
        disable_warnings=True,
    )
    theirs = peer(
        Network(model),
        pixels.numpy(),
        given.target.numpy(),
        a_batch=(maps * scale[:, None, None]).numpy()[:, None],
        channel_first=True,
        softmax=False,
    )
    np.testing.assert_allclose(misfit(ours, changes).numpy(), np.array(theirs).ravel(), rtol=1e-5)


def test_the_exact_shares_of_a_linear_score_have_no_infidelity(pixels: Tensor) -> None:
    weights = torch.randn(3, 3 * SIDE * SIDE, generator=rng(), dtype=torch.float64)
    model, target = linear_model(weights, size=SIDE), torch.tensor([0, 1, 2])
    slopes = weights.view(3, 3, SIDE, SIDE) / torch.tensor(model.preprocessing.std).view(3, 1, 1)
    shares = (slopes * (pixels - 0.5)).sum(1)
    one = Explanation(model, pixels, target, 7 * shares, lambda changed: shares, rng())
    assert float(Infidelity()(one).max()) < 1e-9
    other = Explanation(model, pixels, target, shares.flip(2), lambda changed: shares, rng())
    assert float(Infidelity()(other).min()) > 1e-3


# ROAD


def test_missing_pixels_are_the_weighted_mean_of_their_neighbours() -> None:
    image = np.random.default_rng(0).random((3, 9, 11))
    hole = np.zeros((9, 11), dtype=bool)
    hole[0, 0] = hole[2:7, 3:8] = hole[8, 5:] = True
    filled = impute(image, hole)
    np.testing.assert_array_equal(filled[:, ~hole], image[:, ~hole])
    for y, x in zip(*np.nonzero(hole)):
        near = [
            (filled[:, y + dy, x + dx], 1 / 6 if dy == 0 or dx == 0 else 1 / 12)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dy or dx) and 0 <= y + dy < 9 and 0 <= x + dx < 11
        ]
        mean = sum(value * weight for value, weight in near) / sum(weight for _, weight in near)
        np.testing.assert_allclose(filled[:, y, x], mean, rtol=1e-9)


def test_quantus_and_pytorch_grad_cam_agree_on_the_imputation() -> None:
    image = np.random.default_rng(1).random((3, 12, 12))
    hole = np.random.default_rng(2).random((12, 12)) < 0.6
    ours = impute(image, hole)
    perturb = quantus("functions").perturb_func.noisy_linear_imputation
    np.testing.assert_allclose(ours, perturb(image, np.flatnonzero(hole), noise=0), rtol=1e-8)
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="compares with it")
    system, known = road.NoisyLinearImputer.setup_sparse_system((~hole).astype(float), image, road.neighbors_weights)
    np.testing.assert_allclose(ours[:, hole], np.linalg.solve(system.toarray(), known).T, rtol=1e-8)


def test_quantus_agrees_on_road(given: Explanation, maps: Tensor) -> None:
    """On grey images: Quantus takes the places of the pixels from the map, which must have as many channels."""
    shares = (0.1, 0.3, 0.5, 0.9)
    grey = given.pixels[:, :1]
    pixels = grey.expand(-1, 3, -1, -1).contiguous()
    target = given.model(pixels).argmax(1)
    one = replace(given, pixels=pixels, target=target)
    ours = [float(ROAD(removed=(share,), noise=0)(one).mean()) for share in shares]
    peer = quantus("ROAD")(
        percentages=[100 * share for share in shares], noise=0, abs=False, normalise=False, disable_warnings=True
    )
    theirs = peer(Grey(given.model), grey.numpy(), target.numpy(), a_batch=maps.numpy()[:, None], channel_first=True)
    assert ours == pytest.approx(list(theirs.values())) and len(set(ours)) > 1
    assert float(ROAD(removed=shares, noise=0)(one).mean()) == pytest.approx(np.mean(ours))


class Grey(Network):
    """Takes one channel."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels.expand(-1, 3, -1, -1))


def test_road_finds_the_pixels_that_decide(pixels: Tensor) -> None:
    """A network that looks at one corner alone: without it, the other class wins."""
    head = torch.zeros(2, 3 * SIDE * SIDE, dtype=torch.float64)
    head.view(2, 3, SIDE, SIDE)[1, :, :4, :4] = 1
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2, dtype=torch.float64))
    network.load_state_dict({"1.weight": head, "1.bias": torch.tensor([20.0, 0])})
    plain = tiny_model(classes=2)
    prepared = type(plain.preprocessing)(resize=SIDE, crop=SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    model = VisionModel("corner", network, prepared, plain.categories)
    bright = torch.zeros(COUNT, 3, SIDE, SIDE, dtype=torch.float64)
    bright[:, :, :4, :4] = 1
    corner = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.float64)
    corner[:, :4, :4] = 1
    ones = torch.ones(COUNT, dtype=torch.long)
    right, wrong = (
        ROAD(removed=(0.1, 0.2))(Explanation(model, bright, ones, sign * corner, lambda changed: corner, rng()))
        for sign in (1, -1)
    )
    assert (right < wrong).all()


def test_road_asks_whether_a_label_stays_above_its_threshold(given: Explanation, maps: Tensor) -> None:
    """A label may be above its threshold where another one is more probable, and below it where none is."""
    threshold = float(given.model(given.pixels).sigmoid()[:, 3].median())
    model = VisionModel(
        "labels",
        given.model.network,
        given.model.preprocessing,
        given.model.categories,
        head=Head("multilabel", (0.3, 0.6, 0.5, threshold)),
    )
    measure, label = ROAD(removed=(0.2, 0.5), noise=0), torch.full((COUNT,), 3)
    found = measure(replace(given, model=model, target=label))
    expected = []
    for i in range(COUNT):
        order = maps[i].flatten().argsort(descending=True, stable=True)
        survives = []
        for share in measure.removed:
            hole = np.zeros(SIDE * SIDE, dtype=bool)
            hole[order[: int(SIDE * SIDE * share)]] = True
            filled = torch.from_numpy(impute(given.pixels[i].numpy(), hole.reshape(SIDE, SIDE)))
            survives.append(float(model(filled[None]).sigmoid()[0, 3]) > threshold)
        expected.append(np.mean(survives))
    assert found.tolist() == expected
    assert (given.model(given.pixels).argmax(1) != 3).all() and len(set(expected)) > 1


# The random logit test


def test_the_random_logit_test_compares_with_the_map_of_another_class(
    model: VisionModel, pixels: Tensor, target: Tensor
) -> None:
    asked: list[Tensor] = []

    def explain_class(other: Tensor) -> Tensor:
        asked.append(other)
        return Saliency()(model, pixels, other)

    explained: list[Tensor] = []

    def explain(images: Tensor) -> Tensor:
        explained.append(images)
        return Saliency()(model, images, target)

    maps = Saliency()(model, pixels, target)
    one = Explanation(model, pixels, target, torch.rand_like(maps), explain, rng(), explain_class=explain_class)
    found = RandomLogit()(one)
    (other,), (own,) = asked, explained
    assert torch.equal(own, pixels) and (other != target).all()
    others = Saliency()(model, pixels, other).flatten(1).numpy()
    expected = [float(spearmanr(*pair)[0]) for pair in zip(maps.flatten(1).numpy(), others)]  # type: ignore[arg-type]
    np.testing.assert_allclose(found.numpy(), expected)
    drawn = torch.cat([_other(model, pixels, target, seed) for seed in range(40)])
    assert set(drawn.tolist()) == (
        {0, 1, 2, 3} - set(target.tolist()) if len(set(target.tolist())) == 1 else {0, 1, 2, 3}
    )


def _other(model: VisionModel, pixels: Tensor, target: Tensor, seed: int) -> Tensor:
    asked: list[Tensor] = []
    maps = torch.rand(COUNT, SIDE, SIDE)

    def explain_class(other: Tensor) -> Tensor:
        asked.append(other)
        return maps

    generator = torch.Generator().manual_seed(seed)
    RandomLogit()(
        Explanation(model, pixels, target, maps, lambda changed: maps, generator, explain_class=explain_class)
    )
    return asked[-1]


def test_max_sensitivity_compares_maps_of_one_cost(
    model: VisionModel, pixels: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(method: EigenCAM, cache: str) -> Any:
        session = Session(quiet=True, cache=tmp_path / cache)
        result = evaluate(model, pixels, method, measures="max-sensitivity", sanity=0, session=session)
        return result.values["eigen-cam"]["max-sensitivity"]

    bounded = EigenCAM(layer="0")
    expected, costly = found(bounded, "bounded"), found(EigenCAM(), "costly")
    assert not np.allclose(expected, costly)
    monkeypatch.setattr(EigenCAM, "bounded", lambda self: bounded)
    np.testing.assert_allclose(found(EigenCAM(), "compared"), expected)


def test_the_random_logit_test_compares_maps_of_one_cost(
    model: VisionModel, pixels: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eigen-CAM's maps are the same for every class, so that the correlation is 1 at whatever cost."""
    monkeypatch.setattr(EigenCAM, "bounded", lambda self: EigenCAM(layer="0"))
    session = Session(quiet=True, cache=tmp_path)
    found = evaluate(model, pixels, EigenCAM(), measures="random-logit", sanity=0, session=session)
    np.testing.assert_allclose(found.values["eigen-cam"]["random-logit"], 1)


def test_the_random_logit_test_refuses_a_model_of_one_class(pixels: Tensor, tmp_path: Path) -> None:
    weights = torch.randn(1, 3 * SIDE * SIDE, generator=rng(), dtype=torch.float64)
    model = linear_model(weights, size=SIDE)
    with pytest.raises(UnsupportedError, match="random-logit compares maps of two classes, and linear has one"):
        evaluate(model, pixels, "saliency", session=Session(quiet=True, cache=tmp_path))


def test_quantus_agrees_on_the_random_logit_test(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    """With two classes, there is only one other one."""
    two = VisionModel("two", nn.Sequential(model.network, nn.Linear(4, 2).double()), model.preprocessing, ("a", "b"))
    label = two(pixels).argmax(1)
    maps = Saliency()(two, pixels, label)

    def explain_func(model: Any, inputs: Any, targets: Any, **_: Any) -> Any:
        return Saliency()(two, torch.as_tensor(inputs), torch.as_tensor(targets).long()).numpy()[:, None]

    peer = quantus("RandomLogit")(
        num_classes=2,
        similarity_func=quantus("similarity_func").correlation_spearman,
        abs=True,
        normalise=False,
        disable_warnings=True,
    )
    theirs = peer(
        Network(two),
        pixels.numpy(),
        label.numpy(),
        a_batch=maps.numpy()[:, None],
        channel_first=True,
        explain_func=explain_func,
    )
    one = Explanation(
        two,
        pixels,
        label,
        maps,
        lambda changed: maps,
        rng(),
        explain_class=lambda other: Saliency()(two, pixels, other),
    )
    np.testing.assert_allclose(RandomLogit()(one).numpy(), np.array(theirs).ravel(), rtol=1e-6)


# What is shared, and what is left out


@pytest.fixture
def counted(model: VisionModel) -> list[int]:
    """The images of every forward pass."""
    seen: list[int] = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize(
    ("measures", "first", "next_"),
    [
        ((AverageDrop(), Increase()), 2, 1),
        ((Insertion(4), Deletion(4)), 2 * 3 + 3, 2 * 3),
        ((Insertion(4), Deletion(4), AverageDrop(), Increase()), 2 * 3 + 3 + 1, 2 * 3 + 1),
        ((Infidelity(squares=7),), 8, 0),
        ((ROAD(),), 4, 4),
        ((Sparseness(), Complexity()), 0, 0),
    ],
)
def test_forward_passes_per_image(
    measures: Any,
    first: int,
    next_: int,
    model: VisionModel,
    pixels: Tensor,
    target: Tensor,
    maps: Tensor,
    counted: list[int],
) -> None:
    """What depends on the images alone is predicted for the first method, and not again for the next one.

    Two more passes of one image prepare the network.
    """
    model(pixels)  # which decides once whether the network returns logits
    shared: dict[Any, Tensor] = {}
    for passes in (first, next_):
        counted.clear()
        given = Explanation(model, pixels, target, maps, lambda changed: maps, rng(), shared=shared)
        for measure in measures:
            measure(given)
        prepared = 2 if passes and passes == first and len(counted) and counted[:2] == [1, 1] else 0
        assert sum(counted) == passes * COUNT + prepared


def test_constant_maps_are_counted_and_never_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(size=SIDE)
    images = torch.rand(4, 3, SIDE, SIDE, generator=rng())
    plain = GradCAM.__call__

    def dead(self: Attribution, model: VisionModel, seen: Tensor, target: Tensor, **named: Any) -> Tensor:
        maps = plain(self, model, seen, target, **named)  # type: ignore[arg-type]
        maps[0], maps[2, 0, 0] = 0.25, torch.nan
        return maps

    session = Session(quiet=True, cache=tmp_path)
    good = evaluate(model, images, "grad-cam", sanity=0, session=session)
    assert good.networks[0].constant == {"grad-cam": 0, "random": 0}
    monkeypatch.setattr(GradCAM, "__call__", dead)
    session = Session(quiet=True, cache=tmp_path / "other")
    found = evaluate(
        model, images, "grad-cam", measures=["insertion", "sparseness", "roughness"], sanity=0, session=session
    )
    assert found.networks[0].constant == {"grad-cam": 2, "random": 0}
    for name, values in found.values["grad-cam"].items():
        assert np.isnan(values).tolist() == [True, False, True, False], name
        np.testing.assert_allclose(values[[1, 3]], good.values["grad-cam"][name][[1, 3]])
    result = present(found)
    assert result.metrics["constant/grad-cam"] == 2
    assert result.metrics["sparseness/grad-cam"] == pytest.approx(np.nanmean(found.values["grad-cam"]["sparseness"]))
    (table,) = (block for block in result.blocks if isinstance(block, Table) and block.title.startswith("Left out"))
    assert table.rows == (("grad-cam", "all measures", 2, "each map is the same everywhere, or not finite"),)


# Masks


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[Any], Path]:
    """Two images, one of them not square, and the masks that are given for them by name."""
    (tmp_path / "images").mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    for name in ("cat", "dog"):
        Image.fromarray(levels).save(tmp_path / "images" / f"{name}.jpg")

    def with_masks(masks: dict[str, Any]) -> Path:
        (tmp_path / "masks").mkdir()
        for name, mask in masks.items():
            Image.fromarray(mask).save(tmp_path / "masks" / name)
        return tmp_path

    return with_masks


def test_masks_and_boxes_of_the_same_pixels_agree(folders: Callable[[Any], Path], tmp_path: Path) -> None:
    model, session = tiny_model(size=SIDE), Session(quiet=True, cache=tmp_path / "cache")
    mask = np.zeros((20, 16), dtype=np.uint8)
    mask[5:15, 2:12] = 1  # labels count from 1, as in datasets of segments
    root = folders({"cat.png": mask})

    def measured(**objects: Any) -> dict[str, Any]:
        found = evaluate(
            model, root / "images", "saliency", measures="roughness", sanity=0, session=session, **objects
        ).values["saliency"]
        return {name: values.tolist() for name, values in found.items() if name != "roughness"}

    expected = measured(boxes={"cat.jpg": [(2, 5, 12, 15)]})
    assert set(expected) == {"energy-pointing", "relevance-rank"}
    for values in expected.values():
        assert 0 < values[0] < 1 and math.isnan(values[1])
    for given in (root / "masks", {"cat.jpg": mask}, {"cat": torch.from_numpy(mask)}):
        found = measured(masks=given)
        assert {name: values[0] for name, values in found.items()} == {n: v[0] for n, v in expected.items()}


@pytest.mark.parametrize(
    ("objects", "kind", "said"),
    [
        (
            {"masks": {"cat.jpg": np.zeros((3, 3))}},
            FileError,
            "mask of cat.jpg has 3 x 3 pixels, and the image 16 x 20",
        ),
        ({"masks": {"cat.jpg": np.zeros(3)}}, SettingError, r"masks must give \(H, W\) numbers for cat.jpg"),
        ({"masks": {"bird.jpg": np.zeros((20, 16))}}, SettingError, "these are cat.jpg, dog.jpg"),
        ({"masks": "nowhere"}, FileError, "nowhere is not a folder of masks"),
        ({"masks": "masks"}, FileError, "no mask of any of the images"),
        ({"masks": {"cat.jpg": np.ones((20, 16))}, "boxes": {}}, SettingError, "cannot be combined with boxes"),
    ],
)
def test_masks_that_are_none_are_refused(
    objects: Any, kind: type[Exception], said: str, folders: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folders({"bird.png": np.ones((20, 16), dtype=np.uint8)})
    monkeypatch.chdir(root)
    with pytest.raises(kind, match=said):
        evaluate(tiny_model(size=SIDE), root / "images", "saliency", sanity=0, **objects)


def test_objects_are_not_mixed_up_where_images_of_two_folders_have_one_name(tmp_path: Path) -> None:
    photos = [tmp_path / folder / "image_0001.png" for folder in ("bedroom", "coast")]
    for photo in photos:
        photo.parent.mkdir()
        Image.new("L", (4, 4), 255).save(photo)
    with pytest.raises(DataError, match="masks of image_0001 may be those of 2 images"):
        Masks.of({"image_0001.png": np.ones((4, 4))}).require(photos)
    with pytest.raises(DataError, match=r"boxes of image_0001\.png may be those of 2 images"):
        Boxes.of({"image_0001.png": [(0, 0, 2, 2)]}).require(photos)
    with pytest.raises(DataError, match="may be those of 2 images"):  # also where one of them is drawn alone
        evaluate(
            tiny_model(size=SIDE), tmp_path, "saliency", sanity=0, limit=1, boxes={"image_0001.png": [(0, 0, 2, 2)]}
        )
    Image.new("L", (4, 4)).save(photos[0].with_suffix(".bmp"))
    with pytest.raises(FileError, match="are masks of one image"):
        Masks.of(tmp_path)
    with pytest.raises(SettingError, match="one mask of cat"):
        Masks.of({"cat.png": np.ones((4, 4)), "cat.jpg": np.ones((4, 4))})


def test_objects_in_class_folders_are_found_by_the_ends_of_paths(tmp_path: Path) -> None:
    """Each image has a mask and a box in another quarter; one class has no mask of an image of the same name."""
    quarters = {"bedroom": (0, 0, 8, 8), "coast": (8, 0, 16, 8)}
    lines = ["file,left,top,right,bottom"]
    for folder in (*quarters, "forest"):
        for root in ("photos", "masks"):
            (tmp_path / root / folder).mkdir(parents=True)
        Image.new("RGB", (16, 16), "grey").save(tmp_path / "photos" / folder / "1.jpg")
        if folder in quarters:
            left, top, right, bottom = quarters[folder]
            mask = np.zeros((16, 16), np.uint8)
            mask[top:bottom, left:right] = 255
            Image.fromarray(mask).save(tmp_path / "masks" / folder / "1.png")
            lines.append(f"{folder}/1.jpg,{left},{top},{right},{bottom}")
    (tmp_path / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    model = tiny_model(size=16)
    given = gather(tmp_path / "photos")
    photos = read_photos(model, given, Session(quiet=True))
    assert [path.parent.name for path in photos.paths] == ["bedroom", "coast", "forest"]
    for objects in (Masks.of(tmp_path / "masks"), Boxes.of(tmp_path / "boxes.csv")):
        objects.require(photos.paths)
        inside = objects.inside(photos, list(given.items))
        for row, (left, top, right, bottom) in enumerate(quarters.values()):
            wanted = torch.zeros(16, 16)
            wanted[top:bottom, left:right] = 1
            assert torch.equal(inside[row], wanted)
        assert inside[2].isnan().all()


def test_networks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = tiny_model(size=SIDE), tiny_model(size=SIDE, seed=1)
    assert first.name == second.name
    levels = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    alone = evaluate(second, levels, "saliency", measures="roughness", sanity=0)
    both = evaluate(first, levels, "saliency", measures="roughness", sanity=0, against=second)
    assert both.names == ("tiny", "tiny (2)") and alone.names == ("tiny",)
    frame = both.to_pandas()
    rows = frame[(frame["model"] == "tiny (2)") & (frame["method"] == "saliency")]
    assert rows["value"].tolist() == alone.values["saliency"]["roughness"].tolist()
    result = both.result()
    assert result.metrics["tiny (2)/roughness/saliency"] == alone.result().metrics["roughness/saliency"]
    assert result.arrays["tiny/roughness/saliency"] != result.arrays["tiny (2)/roughness/saliency"]
    assert result.provenance.models == {"tiny": first.fingerprint, "tiny (2)": second.fingerprint}
    moved = evaluate_attacks(first, levels, FGSM(), Conditions([0.1], transfer_to=[second])).result()
    assert moved.provenance.models == result.provenance.models


def test_a_method_that_fails_late_loses_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Saliency maps of shuffled networks are refused: in the middle of the sanity check, when all is measured."""
    model, session = tiny_model(size=SIDE), Session(quiet=True, cache=tmp_path / "cache")
    trained, maps = model.network.state_dict(), Saliency.__call__

    def of_trained_networks(method: Saliency, model: VisionModel, *given: Any, **named: Any) -> torch.Tensor:
        if not all(torch.equal(trained[name], weight) for name, weight in model.network.state_dict().items()):
            raise SettingError("error", "is out of reach")
        return maps(method, model, *given, **named)

    levels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    settings: Any = {"measures": "roughness", "sanity": 2, "session": session}
    expected = evaluate(model, levels, ["saliency", "gradient-times-input"], **settings)
    alone = evaluate(model, levels, "gradient-times-input", **settings)
    monkeypatch.setattr(Saliency, "__call__", of_trained_networks)
    session = Session(quiet=True, cache=tmp_path / "other")
    found = evaluate(model, levels, ["saliency", "gradient-times-input"], **{**settings, "session": session})
    assert found.columns() == expected.columns() and not found.networks[0].refused
    check = found.networks[0].sanity
    assert check is not None and list(check.refused) == ["saliency"] and check.images == 2
    assert alone.networks[0].sanity is not None
    first, second = (one.survived["gradient-times-input"] for one in (check, alone.networks[0].sanity))
    np.testing.assert_array_equal(first, second)
    result = found.result()
    assert "sanity/gradient-times-input" in result.metrics and "sanity/saliency" not in result.metrics
    assert any(isinstance(block, Note) and "out of reach" in block.text for block in result.blocks)
    found = evaluate(model, levels, "saliency", **{**settings, "session": session})  # of which no sanity check is left
    assert found.networks[0].sanity is None and "roughness" in found.values["saliency"]


def test_integrated_gradients_of_no_image() -> None:
    model, none = tiny_model(size=SIDE), torch.zeros(0, 3, SIDE, SIDE)
    model(torch.rand(1, 3, SIDE, SIDE))  # finds out what the network returns
    for method in (IntegratedGradients(), IntegratedGradients(steps=4)):
        assert method(model, none, torch.zeros(0, dtype=torch.long)).shape == none.shape
