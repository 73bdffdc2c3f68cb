"""Each method against its closed form, or against a slow and plain computation in float64."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation import (
    SOURCE,
    TARGET,
    Adaptation,
    AdversarialTeacher,
    Augmentation,
    Coral,
    Dann,
    DomainNetwork,
    EntropyMinimisation,
    Labelled,
    MaximumMeanDiscrepancy,
    PseudoLabels,
    Recipe,
    Seen,
    View,
    VirtualAdversarial,
    reverse,
)
from deepscope.adaptation.coral import distance
from deepscope.adaptation.domain_norm import DomainNorm
from deepscope.adaptation.gradient_reversal import inverse_decay, ramp
from deepscope.adaptation.mmd import discrepancy
from deepscope.adaptation.networks import DigitNetwork, FeatureNetwork
from deepscope.adaptation.step import AdaptationStep
from deepscope.session import Session
from deepscope.training import Moment, cosine_decay

QUIET = Session(quiet=True)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(seed: int = 0) -> FeatureNetwork:
    torch.manual_seed(seed)
    return FeatureNetwork(5, 3, width=4, dropout=0.0, centre=False).double()


def seen(network: DomainNetwork, source: Tensor, target: Tensor, labels: Tensor, *, step: int = 5) -> Seen:
    views = [View(part, *network(part, domain)) for domain, part in ((SOURCE, source), (TARGET, target))]
    return Seen(network, views[0], views[1], labels, target, Moment(step, 10, QUIET))


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    source, target = torch.randn(2, 6, 5, generator=rng(1), dtype=dtype)
    return source, torch.randint(3, (6,), generator=rng(2)), target + 1


def test_reversal_is_the_identity_whose_gradient_is_exactly_minus_lambda_g() -> None:
    inputs = torch.randn(4, 3, generator=rng(), requires_grad=True)
    gradient = torch.randn(4, 3, generator=rng(1))
    for factor in (0.0, 0.3, 1.0, 3.0):
        outputs = reverse(inputs, factor)
        assert torch.equal(outputs, inputs)
        (found,) = torch.autograd.grad(outputs, inputs, gradient)
        assert torch.equal(found, -factor * gradient)


def test_one_training_step_agrees_with_skadas() -> None:
    """skada's reversal and DANN loss around the same networks; its loss is the sum over domains, ours the mean."""
    reason = "compares with skada: pip install 'deepscope[peers]'"
    modules = pytest.importorskip("skada.deep.modules", reason=reason)
    losses = pytest.importorskip("skada.deep", reason=reason)
    source, labels, target = batch(torch.float32)
    network, method, factor = tiny().float(), Dann(0.7, "constant"), 0.7
    own = method.begin(network)
    parameters = [*network.parameters(), *own.parameters()]
    here = seen(network, source, target, labels)
    classification = functional.cross_entropy(here.source.logits, labels)
    ours = torch.autograd.grad(classification + 2 * method.loss(here, own)[0], parameters, retain_graph=True)
    views = [modules.GradientReversalLayer.apply(view.features, factor) for view in (here.source, here.target)]
    predictions = [own(features).sigmoid().flatten() for features in views]
    theirs = torch.autograd.grad(classification + losses.DANNLoss()(*predictions), parameters)
    torch.testing.assert_close(ours, theirs)


def test_schedules_by_hand() -> None:
    assert ramp(0.0) == 0
    assert ramp(0.1) == pytest.approx((math.e - 1) / (math.e + 1))  # tanh(1/2) = 0.46212
    assert ramp(0.1) == pytest.approx(0.46212, abs=1e-5)
    assert ramp(1.0) == pytest.approx(0.99991, abs=1e-5)
    assert inverse_decay(0.0) == 1
    assert inverse_decay(0.3) == pytest.approx(4**-0.75) == pytest.approx(0.353553, abs=1e-6)
    assert inverse_decay(1.0) == pytest.approx(1 / (3.3166248 * 1.8211603), abs=1e-6)  # 11^(1/2) 11^(1/4)
    assert [cosine_decay(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize("reversal", [True, False])
def test_dann_is_two_optimisers_that_pull_against_each_other(reversal: bool) -> None:
    """Gradients by hand: features descend L_label - lambda L_domain, the domain classifier descends L_domain."""
    source, labels, target = batch()
    network, factor = tiny(), 0.7
    method = Dann(factor, "constant", reversal=reversal, hidden=3)
    own = method.begin(network).double()
    here = seen(network, source, target, labels)
    loss, _ = method.loss(here, own)
    parameters = [*network.parameters(), *own.parameters()]
    found = torch.autograd.grad(loss + functional.cross_entropy(here.source.logits, labels), parameters)

    features = [network(part, domain)[0] for domain, part in ((SOURCE, source), (TARGET, target))]
    label_loss = functional.cross_entropy(network.classify(features[0], (6, 0)), labels)
    probability = [torch.sigmoid(own(part)).squeeze(1) for part in features]
    domain_loss = -(torch.log(1 - probability[0]).sum() + torch.log(probability[1]).sum()) / 12
    pull = -factor if reversal else factor
    bottleneck, head = list(network.bottleneck.parameters()), list(network.output.parameters())
    of_label = torch.autograd.grad(label_loss, bottleneck + head, retain_graph=True)
    of_domain = torch.autograd.grad(domain_loss, bottleneck + list(own.parameters()))
    expected = [
        *(a + pull * b for a, b in zip(of_label[:2], of_domain[:2], strict=True)),
        *of_label[2:],
        *of_domain[2:],
    ]
    torch.testing.assert_close(list(found), expected, rtol=1e-5, atol=1e-7)


def test_dann_says_the_domain_classifiers_accuracy_and_factor() -> None:
    network = tiny()
    source, labels, target = batch()
    own = nn.Linear(4, 1, bias=False).double()
    here = seen(network, source, target, labels)
    _, figures = Dann(0.5).loss(here, own)
    scores = [own(view.features).squeeze(1) for view in (here.source, here.target)]
    expected = ((scores[0] <= 0).double().mean() + (scores[1] > 0).double().mean()) / 2
    assert figures["domain/accuracy"].item() == pytest.approx(expected.item())
    assert figures["domain/factor"].item() == pytest.approx(0.5 * ramp(0.5))


def test_mmd_is_the_mean_of_all_pairs_kernels() -> None:
    first, second = torch.randn(2, 5, 3, generator=rng(), dtype=torch.float64)
    second = second[:4] * 2 + 1
    points = [*first, *second]
    squares = [[float((a - b).square().sum()) for b in points] for a in points]
    mean = sum(map(sum, squares)) / 81

    def kernel(i: int, j: int) -> float:
        return sum(math.exp(-squares[i][j] / (scale * mean)) for scale in (0.25, 0.5, 1, 2, 4)) / 5

    within = sum(kernel(i, j) for i in range(5) for j in range(5)) / 25
    within += sum(kernel(i, j) for i in range(5, 9) for j in range(5, 9)) / 16
    across = sum(kernel(i, j) for i in range(5) for j in range(5, 9)) / 20
    assert discrepancy(first, second).item() == pytest.approx(within - 2 * across)
    assert discrepancy(first, first.flip(0)).item() == pytest.approx(0, abs=1e-12)


def test_mmd_gradient_is_finite_where_points_coincide() -> None:
    first = torch.zeros(3, 2, requires_grad=True)
    discrepancy(first, torch.ones(3, 2)).backward()
    assert first.grad is not None and first.grad.isfinite().all()


def test_coral_is_the_distance_of_the_covariances() -> None:
    first, second = torch.randn(2, 7, 3, generator=rng(), dtype=torch.float64)
    second = second[:5] * 2

    def covariance(sample: Tensor) -> Tensor:
        centred = sample - sample.mean(0)
        return sum((torch.outer(row, row) for row in centred), torch.zeros(3, 3).double()) / (len(sample) - 1)

    expected = (covariance(first) - covariance(second)).square().sum() / (4 * 9)
    torch.testing.assert_close(distance(first, second), expected)
    assert distance(first, first + 5).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", [MaximumMeanDiscrepancy(2.0), Coral(2.0), EntropyMinimisation(2.0)])
def test_weights_multiply_what_is_measured(method: Adaptation) -> None:
    source, labels, target = batch()
    loss, figures = method.loss(seen(tiny(), source, target, labels), nn.Module())
    (measured,) = figures.values()
    assert loss.item() == pytest.approx(2 * measured.item()) and loss.item() > 0


def test_entropy_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    view = View(logits, logits, logits)
    here = Seen(tiny(), view, view, torch.zeros(2).long(), logits, Moment(0, 1, QUIET))
    expected = (-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) + math.log(2)) / 2
    assert EntropyMinimisation(1.0).loss(here, nn.Module())[0].item() == pytest.approx(expected)


def test_virtual_adversarial_direction_is_the_worst_one() -> None:
    """Near the input the divergence is a quadratic form: the power method finds its largest eigenvector."""
    source, labels, target = batch()
    network = tiny()
    method = VirtualAdversarial(weight=1.0, radius=1e-2, probe=1e-4, iterations=60, entropy=0.0)
    loss, figures = method.loss(seen(network, source, target[:1], labels), nn.Module())

    def divergence(change: Tensor) -> Tensor:
        before = network(target[:1], TARGET)[1].detach().log_softmax(1)
        after = network(target[:1] + change, TARGET)[1].log_softmax(1)
        return (before.exp() * (before - after)).sum()

    hessian = torch.autograd.functional.hessian(divergence, torch.zeros(1, 5).double())
    assert isinstance(hessian, Tensor)
    largest = torch.linalg.eigvalsh(hessian.view(5, 5))[-1]
    assert loss.item() == pytest.approx(0.5 * largest.item() * 1e-4, rel=2e-2)
    assert figures["divergence"].item() == loss.item()


def test_pseudo_labels_are_the_teachers_confident_ones() -> None:
    source, labels, target = batch()
    network = tiny()
    method = PseudoLabels(confidence=0.5, warmup=0.5)
    teacher = cast("DomainNetwork", method.begin(tiny(1)))
    here = seen(network, source, target, labels)
    loss, figures = method.loss(here, teacher)
    probabilities = teacher(target, TARGET)[1].softmax(1)
    expected, counted = 0.0, 0
    for row in range(6):
        confidence, label = probabilities[row].max(0)
        if confidence >= 0.5:
            expected -= here.target.logits[row].log_softmax(0)[label].item()
            counted += 1
    assert 0 < counted < 6
    assert loss.item() == pytest.approx(expected / 6)
    assert figures["pseudo-labels/coverage"].item() == pytest.approx(counted / 6)
    early = seen(network, source, target, labels, step=4)
    assert method.loss(early, teacher)[0].item() == 0


def test_the_teacher_is_a_moving_average() -> None:
    network, method = tiny(), PseudoLabels(decay=0.9)
    teacher = method.begin(network)
    before = teacher.get_parameter("output.weight").clone()
    with torch.no_grad():
        network.output.weight.add_(1)
        network.shift.add_(1)
    method.after(network, teacher, Moment(0, 1000, QUIET))
    torch.testing.assert_close(teacher.get_parameter("output.weight"), before + 0.9)  # young: a tenth is kept
    method.after(network, teacher, Moment(500, 1000, QUIET))
    torch.testing.assert_close(teacher.get_parameter("output.weight"), before + 0.91)
    assert torch.equal(teacher.get_buffer("shift"), network.shift)
    assert method.result(network, teacher) is teacher
    assert not any(p.requires_grad for p in teacher.parameters())


def test_adversarial_teacher_is_the_sum_of_both() -> None:
    source, labels, target = batch(torch.float32)
    network = tiny().float()
    both = AdversarialTeacher(factor=0.3, confidence=0.4)
    own = both.begin(network)
    here = seen(network, source, target, labels)
    parts = [
        Dann(0.3).loss(here, own.get_submodule("domain"))[0],
        PseudoLabels(0.4).loss(here, own.get_submodule("teacher"))[0],
    ]
    assert both.loss(here, own)[0].item() == pytest.approx(sum(part.item() for part in parts))


@pytest.mark.parametrize("method", Adaptation.members().values(), ids=lambda method: method.name)
def test_every_method_learns_and_cites_its_source(method: type[Adaptation]) -> None:
    assert "20" in (method.__doc__ or "")
    torch.manual_seed(0)
    source, labels, target = batch(torch.float32)
    step = AdaptationStep(tiny().float(), method(), Recipe(rate=0.05))
    losses = []

    def update(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for number in range(30):
        figures = step((source, labels, target), Moment(number, 60, QUIET), update)
        losses.append(figures["loss/source"].item())
        assert all(value.ndim == 0 and value.isfinite() for value in figures.values())
    assert losses[-1] < 0.5 * losses[0]


def test_domain_norm_normalises_each_part_on_its_own() -> None:
    inputs = torch.randn(10, 3, 4, 4, generator=rng()) * 2 + 1
    norm = DomainNorm(3, "domain")
    found = norm(inputs, (4, 6))
    for part, chunk, domain in zip(found.split((4, 6)), inputs.split((4, 6)), (SOURCE, TARGET), strict=True):
        plain = nn.BatchNorm2d(3)
        torch.testing.assert_close(part, plain(chunk))
        torch.testing.assert_close(norm.mean[domain], plain.running_mean)
        torch.testing.assert_close(norm.variance[domain], plain.running_var)
        torch.testing.assert_close(norm.eval()(chunk, (0, 6) if domain else (4, 0)), plain.eval()(chunk))
        norm.train()
    torch.testing.assert_close(DomainNorm(3, "batch")(inputs, (4, 6)), nn.BatchNorm2d(3)(inputs))
    assert DomainNorm(3, "none")(inputs, (4, 6)) is inputs


@pytest.mark.parametrize("statistics", ["none", "batch", "domain"])
def test_a_digit_network_is_saved_as_the_plain_network_of_one_domain(statistics: str) -> None:
    torch.manual_seed(0)
    network = DigitNetwork(statistics, 0.1, centre=True)  # type: ignore[arg-type]
    source, target = torch.randint(256, (20, 1, 28, 28), dtype=torch.uint8), torch.randint(60, (20, 3, 28, 28)).byte()
    network.calibrate(source, target)
    for _ in range(3):
        joined = torch.cat([network.stored(source), network.stored(target)])
        network.classify(network.features(joined, (20, 20)), (20, 20))
    network.eval()
    for domain, stored in ((SOURCE, source), (TARGET, target)):
        pixels = network.stored(stored)
        with torch.no_grad():
            torch.testing.assert_close(
                network.classifier(domain)(pixels), network(pixels, domain)[1], atol=1e-4, rtol=0
            )


def test_a_feature_network_is_saved_as_one_linear_layer() -> None:
    torch.manual_seed(0)
    network = FeatureNetwork(7, 3, width=4, dropout=0.0, centre=True)
    source, target = torch.randn(2, 20, 7, generator=rng())
    target[:, 2] = 5.0  # constant: no deviation to divide by
    network.calibrate(source, target * 2)
    network.eval()
    for domain, features in ((SOURCE, source), (TARGET, target * 2)):
        normalisation, linear = network.head(domain)
        with torch.no_grad():
            torch.testing.assert_close(linear(normalisation(features)), network(features, domain)[1])


def test_shifts_repeat_the_border_and_move_no_more_than_allowed() -> None:
    images = torch.arange(36.0).view(1, 1, 6, 6).expand(50, 3, 6, 6)
    moved = Augmentation(shift=2).move(images, rng())
    padded = functional.pad(images[:1], [2] * 4, mode="replicate")[0, 0]
    places = {(r, c): padded[r : r + 6, c : c + 6] for r in range(5) for c in range(5)}
    hits = [{place for place, crop in places.items() if torch.equal(crop, image[0])} for image in moved]
    assert all(len(hit) == 1 for hit in hits) and len(set.union(*hits)) > 12
    assert torch.equal(Augmentation(shift=0).move(images, rng()), images)


def test_distortion_is_negative_gain_offset_and_noise() -> None:
    pixels = torch.rand(40, 3, 8, 8, generator=rng())
    settings = Augmentation(invert=0.5, gain=0.4, offset=0.2, noise=0.0)
    found = settings.distort(pixels, rng(1))
    negatives = 0
    for image, result in zip(pixels, found, strict=True):
        slopes = []
        for channel, outcome in zip(image, result, strict=True):
            line = torch.linalg.lstsq(torch.stack([channel.flatten(), torch.ones(64)], 1), outcome.flatten()[:, None])
            slope, intercept = line.solution.flatten().tolist()
            torch.testing.assert_close(outcome, slope * channel + intercept, atol=1e-4, rtol=0)
            assert 0.6 <= abs(slope) <= 1.4
            assert abs(intercept - (abs(slope) if slope < 0 else 0)) <= 0.2 + 1e-4
            slopes.append(slope)
        assert len({slope > 0 for slope in slopes}) == 1
        negatives += slopes[0] < 0
    assert 10 < negatives < 30
    noisy = Augmentation(invert=0, gain=0, offset=0, noise=0.1).distort(pixels, rng(1)) - pixels
    deviations = noisy.flatten(1).std(1)
    assert deviations.max() < 0.12 and deviations.min() < 0.03 and noisy.mean().abs() < 0.01
    assert torch.equal(settings.distort(pixels, rng(1)), found)


def test_clutter_is_a_mirrored_target_image_without_its_mean() -> None:
    pixels, target = torch.rand(30, 3, 8, 8, generator=rng()), torch.rand(5, 3, 8, 8, generator=rng(2))
    plain = Augmentation(invert=0, gain=0, offset=0, noise=0, clutter=0.5)
    added = (plain.distort(pixels, rng(1), target=target) - plain.distort(pixels, rng(1))).flatten(1)
    shapes = torch.stack([image.flip(2) - image.flip(2).mean((1, 2), keepdim=True) for image in target]).flatten(1)
    weights = (added @ shapes.T) / shapes.square().sum(1)
    left = (added[:, None] - weights[..., None] * shapes).norm(dim=2).min(1)  # one of the targets explains it all
    assert left.values.max() < 1e-4 and len(left.indices.unique()) == 5
    used = weights.gather(1, left.indices[:, None])
    assert used.min() >= 0 and 0.4 < used.max() <= 0.5
    assert torch.equal(plain.distort(pixels, rng(1), target=target[:0]), plain.distort(pixels, rng(1)))


def test_labelled_knows_its_length() -> None:
    assert len(Labelled(torch.zeros(3, 2), torch.zeros(3))) == 3
