"""Heads against scikit-learn and against the long way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as ScikitRidge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC as ScikitLinearSVC
from torch import Tensor, nn
from torch.nn import functional

from deepscope.batch import rows
from deepscope.errors import DeepscopeError
from deepscope.transfer.fitting import temperature
from deepscope.transfer.heads import Head, Streamed, folds_of, squared_hinge, streamed
from deepscope.transfer.heads.linear_svc import LinearSVC, cross_validate
from deepscope.transfer.heads.nearest_neighbours import NearestNeighbours
from deepscope.transfer.heads.primal import solve
from deepscope.transfer.heads.ridge import Ridge, Solved
from deepscope.transfer.heads.span import span
from deepscope.transfer.heads.streamed import drawn


def blobs(count: int, dimension: int, classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping clouds of unit vectors."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(count)
    centres = torch.randn(classes, dimension, generator=rng)
    features = centres[labels] * 0.5 + torch.randn(len(labels), dimension, generator=rng)
    return functional.normalize(features), labels


@pytest.mark.parametrize(("few", "most"), [(512, 8192), (0, 8192), (512, 0)])
@pytest.mark.parametrize("dimension", [20, 400])
def test_cross_validation_is_that_of_plain_refits(
    dimension: int, few: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By exact steps and by conjugate gradients."""
    monkeypatch.setattr(squared_hinge, "_FEW", few)
    monkeypatch.setattr(squared_hinge, "_MOST_IMAGES", most)
    features, labels = blobs(30, dimension, 4)
    folds = folds_of(labels, seed=0)
    assert folds is not None
    costs = (0.1, 1.0, 30.0)
    coordinates, _ = span(features)
    for cost, found in zip(costs, cross_validate(coordinates, labels, folds, costs), strict=True):
        wanted = np.empty(found.shape)
        for fold in range(5):
            seen = (folds != fold).numpy()
            machine = ScikitLinearSVC(C=cost, tol=1e-8, max_iter=200_000, random_state=0)
            machine.fit(features.double().numpy()[seen], labels.numpy()[seen])
            wanted[~seen] = machine.decision_function(features.double().numpy()[~seen])
        assert np.abs(found.numpy() - wanted).max() < 5e-3
        assert (found.argmax(1).numpy() == wanted.argmax(1)).mean() > 0.99


@pytest.mark.parametrize("classes", [2, 4])
def test_linear_svc_is_scikit_learns(classes: int) -> None:
    features, labels = blobs(30, 300, classes)
    fitted = LinearSVC().fit(features, labels, folds_of(labels, seed=0))
    cost = float(fitted.setting.removeprefix("C="))
    machine = ScikitLinearSVC(C=cost, tol=1e-8, max_iter=200_000, random_state=0)
    machine.fit(features.double().numpy(), labels.numpy())
    wanted = machine.decision_function(features.double().numpy())
    found = fitted.scores(features).numpy()
    if classes == 2:
        wanted = np.stack([-wanted, wanted], 1)
    assert np.abs(found - wanted).max() < 1e-3


def test_the_primal_solver_takes_over_where_the_dual_one_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(30, 20, 4)
    own, tried = ScikitLinearSVC.fit, []

    def stubborn(machine: ScikitLinearSVC, *data: object) -> ScikitLinearSVC:
        tried.append(machine.dual)
        if machine.dual:
            machine.set_params(max_iter=1)
        return own(machine, *data)  # pyright: ignore[reportArgumentType]

    wanted = LinearSVC().fit(features, labels, folds_of(labels, seed=0)).scores(features)
    monkeypatch.setattr(ScikitLinearSVC, "fit", stubborn)
    found = LinearSVC().fit(features, labels, folds_of(labels, seed=0)).scores(features)
    assert tried == [True, False]
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-3)


def test_span_keeps_inner_products() -> None:
    features, _ = blobs(5, 100, 3)
    coordinates, basis = span(features)
    assert basis is not None
    assert coordinates.shape == (15, 15)
    torch.testing.assert_close(coordinates @ coordinates.T, features @ features.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(coordinates @ basis.T, features, rtol=1e-4, atol=1e-5)


def test_ridge_leaves_each_image_out_exactly() -> None:
    features, labels = blobs(8, 6, 3)
    fitted = Ridge(penalties=(0.5,)).fit(features, labels, folds_of(labels, seed=0))
    assert fitted.out_of_fold is not None
    targets = functional.one_hot(labels).double().numpy() * 2 - 1
    x = features.double().numpy()
    everything = ScikitRidge(alpha=0.5).fit(x, targets)
    assert np.allclose(fitted.scores(features).numpy(), everything.predict(x), atol=1e-5)
    for row in range(len(x)):
        others = np.arange(len(x)) != row
        alone = ScikitRidge(alpha=0.5).fit(x[others], targets[others]).predict(x[row : row + 1])
        assert np.allclose(fitted.out_of_fold[row].numpy(), alone[0], atol=1e-5)


def in_small_parts(features: Tensor, labels: Tensor) -> Streamed:
    """The same features, stored in parts of odd sizes."""
    return Streamed(labels, lambda: iter(features.split(337)), torch.arange(len(labels)))


def test_streamed_ridge_is_the_fit_by_all_inner_products() -> None:
    """To 1e-8 at 2,000 images, by the N x N matrix of which no one has room for a million images."""
    features, labels = blobs(500, 24, 4)
    features = features + 0.3  # as after a ReLU: the mean is no zero
    x, targets = features.double(), functional.one_hot(labels).double() * 2 - 1
    centred = x - x.mean(0)
    solved = Solved.of(in_small_parts(features, labels), (10.0, 0.01))
    for place, penalty in enumerate((10.0, 0.01)):
        kernel = centred @ centred.T
        kernel.diagonal().add_(penalty)
        inverse = torch.linalg.inv(kernel)
        dual = inverse @ (targets - targets.mean(0))
        weight = dual.T @ centred
        found, intercept = solved.weights(place)
        torch.testing.assert_close(found, weight, rtol=0, atol=1e-8)
        torch.testing.assert_close(intercept, targets.mean(0) - weight @ x.mean(0), rtol=0, atol=1e-8)
        alone = targets - dual / (inverse.diagonal() - 1 / (penalty * len(x)))[:, None]
        torch.testing.assert_close(list(solved.without_each(x, labels))[place], alone, rtol=0, atol=1e-8)


@pytest.mark.parametrize("cost", [0.1, 2.0])
def test_streamed_svm_is_liblinears_to_eight_digits(cost: float) -> None:
    features, labels = blobs(500, 24, 4)
    weights = solve(in_small_parts(features, labels), cost)
    machine = ScikitLinearSVC(C=cost, tol=1e-11, dual=True, max_iter=500_000, random_state=0)  # type: ignore[arg-type]
    machine.fit(features.double().numpy(), labels.numpy())
    assert np.abs(weights[:-1].T.numpy() - machine.coef_).max() < 1e-8
    assert np.abs(weights[-1].numpy() - machine.intercept_).max() < 1e-8


@pytest.mark.parametrize("name", ["ridge", "linear-svc"])
def test_a_streamed_fit_is_that_in_memory_whatever_the_parts(name: str) -> None:
    features, labels = blobs(60, 20, 3)
    folds, head = folds_of(labels, seed=0), Head.named(name)
    plain, found = head.fit(features, labels, folds), head.fit_streamed(in_small_parts(features, labels), folds)
    assert found.setting == plain.setting
    assert found.accuracy_out_of_fold(labels) == plain.accuracy_out_of_fold(labels)
    torch.testing.assert_close(found.scores(features), plain.scores(features), rtol=0, atol=1e-3)
    again = head.fit_streamed(Streamed(labels, lambda: iter(features.split(7)), torch.arange(len(labels))), folds)
    assert torch.equal(found.scores(features), again.scores(features))


def test_heads_that_need_all_features_say_which_do_not() -> None:
    features, labels = blobs(5, 4, 2)
    with pytest.raises(DeepscopeError, match=r"logistic-regression needs .* at once: choose linear-svc or ridge"):
        Head.named("logistic-regression").fit_streamed(Streamed.of(features, labels), None)


def test_a_sample_has_rows_of_every_class_in_their_proportions(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([0] * 6000 + [1] * 3000 + [2] * 3 + [0] * 997)
    monkeypatch.setattr(streamed, "_SAMPLE", 10_000)
    assert torch.equal(drawn(labels), torch.arange(10_000))
    monkeypatch.setattr(streamed, "_SAMPLE", 1000)
    rows = drawn(labels)
    assert torch.equal(rows, rows.unique())
    assert labels[rows].bincount().tolist() == [704, 304, 3]  # a tenth, and four more of the first ones


def test_the_features_of_a_sample_are_its_rows_and_keep_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 blocks one row each: small tensors that stay would keep the blocks' memory from being used again."""
    monkeypatch.setattr(rows, "BLOCK", 16)
    features, sample = torch.rand(1024, 8), torch.arange(0, 1024, 16)
    made = Streamed(torch.arange(1024) % 3, lambda: iter(features.split(100)), sample)
    found = made.sampled()
    assert torch.equal(found, features[sample])
    assert found.untyped_storage().nbytes() == found.nbytes


def test_nearest_neighbour_is_scikit_learns() -> None:
    features, labels = blobs(20, 10, 3)
    test, _ = blobs(20, 10, 3, seed=1)
    fitted = NearestNeighbours(neighbours=(1,)).fit(features, labels, folds_of(labels, seed=0))
    wanted = KNeighborsClassifier(1, metric="cosine").fit(features.numpy(), labels.numpy()).predict(test.numpy())
    assert np.array_equal(fitted.scores(test).argmax(1).numpy(), wanted)


@pytest.mark.parametrize("name", Head.members())
def test_every_head_learns_and_says_how_well(name: str) -> None:
    features, labels = blobs(40, 30, 3)
    test, truth = blobs(40, 30, 3)
    head = Head.named(name)
    assert type(head).__doc__
    fitted = head.fit(features, labels, folds_of(labels, seed=0))
    assert (fitted.scores(test).argmax(1) == truth).float().mean() > 0.8
    assert 0.6 < fitted.accuracy_out_of_fold(labels) <= 1
    assert "=" in fitted.setting
    again = head.fit(features, labels, folds_of(labels, seed=0))
    assert torch.equal(fitted.scores(test), again.scores(test))


@pytest.mark.parametrize("name", Head.members())
def test_every_head_learns_from_one_image_a_class(name: str) -> None:
    features, labels = blobs(1, 30, 3)
    assert folds_of(labels, seed=0) is None
    fitted = Head.named(name).fit(features, labels, None)
    assert fitted.out_of_fold is None
    assert (fitted.scores(features).argmax(1) == labels).all()


def test_out_of_fold_scores_come_from_fits_without_the_image() -> None:
    """On noise, a fit that had seen the image would look better than chance."""
    features = functional.normalize(torch.randn(200, 100, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(2).repeat(100)
    for name in Head.members():
        accuracy = Head.named(name).fit(features, labels, folds_of(labels, seed=0)).accuracy_out_of_fold(labels)
        assert 0.35 < accuracy < 0.65, name


def test_folds_are_stratified() -> None:
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] * 3)
    folds = folds_of(labels, seed=0)
    assert folds is not None
    assert folds.max() == 2
    for fold in range(3):
        assert labels[folds == fold].bincount(minlength=3).min() >= 1


def test_temperature_undoes_a_scale() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=rng) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    assert temperature(logits * 7, labels) == pytest.approx(7, rel=0.1)
    assert temperature(None, labels) == 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 40),
    classes=st.integers(2, 7),
    right=st.floats(0, 1),
    margin=st.floats(-6, 3),
    factor=st.integers(-20, 20),
)
def test_confidence_is_what_the_number_of_images_supports(
    seed: int, images: int, classes: int, right: float, margin: float, factor: int
) -> None:
    """The rule of succession: after N right answers of N, the next one is right with (N + 1) / (N + 2)."""
    rng = torch.Generator().manual_seed(seed)
    labels, guesses = torch.randint(classes, (2, images), generator=rng)
    scores = torch.randn(images, classes, generator=rng).double()
    answers = torch.where(torch.rand(images, generator=rng) < right, labels, guesses)
    scores[torch.arange(images), answers] = scores.amax(1) + 10**margin
    found = temperature(scores, labels)
    confidence = (scores / found).softmax(1).amax(1).mean().item()
    assert confidence <= (images + 1) / (images + 2) + 1e-4
    assert temperature(scores * 2.0**factor, labels) == pytest.approx(found * 2.0**factor, rel=1e-9)


def test_temperature_of_two_separable_classes_is_the_closed_form() -> None:
    """All margins are m: the confidence is (N + 1) / (N + 2) where T = m / log(N + 1)."""
    labels = torch.arange(2).repeat(9)
    scores = functional.one_hot(labels).float() * 3e4
    assert temperature(scores, labels) == pytest.approx(3e4 / math.log(19), rel=1e-4)


def test_temperature_from_little_or_nothing() -> None:
    labels = torch.tensor([0, 1])
    assert temperature(torch.empty(0, 2), labels[:0]) == 1
    assert temperature(torch.ones(2, 3), labels) == 1, "no score prefers any class"
    huge = torch.tensor([[3e38, -3e38], [-3e38, 3e38]])
    assert 1e38 < temperature(huge, labels) < math.inf
    for bad in (math.nan, math.inf):
        with pytest.raises(DeepscopeError, match="not finite"):
            temperature(torch.tensor([[bad, 0.0], [0.0, 1.0]]), labels)


def test_linear_heads_are_linear_layers() -> None:
    features, labels = blobs(10, 8, 3)
    linear = {
        name
        for name in Head.members()
        if isinstance(Head.named(name).fit(features, labels, folds_of(labels, seed=0)).scores, nn.Linear)
    }
    assert linear == {"linear-svc", "logistic-regression", "ridge"}
