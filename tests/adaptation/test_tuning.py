"""Tuning without source images: statistics and TENT against plain PyTorch, and the alarm for collapse."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import deepscope as ds
from deepscope import render
from deepscope.adaptation import SelfTraining, Statistics, Tent, Tuning, tune
from deepscope.adaptation.auto import Auto
from deepscope.adaptation.collapse import signs
from deepscope.adaptation.self_training import observed, pseudo_labels
from deepscope.adaptation.tent import TentStep
from deepscope.adaptation.tuning import Proposal, Target, norms
from deepscope.adaptation.validators import InfoMax
from deepscope.commands.adapt_tune import AdaptTune
from deepscope.errors import DataError, SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel, load_model, save_model
from deepscope.results import Note
from deepscope.session import Session
from deepscope.training import Moment
from networks import smooth_model, tiny_model, tiny_transformer
from painted import CLASSES, paint_folder

QUIET = Session(quiet=True)


def pixels(count: int = 24, *, seed: int = 0) -> Tensor:
    return (255 * torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) ** 2).byte()


def target(given: Tensor, batch_size: int = 8) -> Target:
    return Target(given, batch_size, InfoMax(), QUIET)


def pictures(count: int = 24) -> list[np.ndarray]:
    return list(pixels(count).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("mix", [1.0, 0.3])
def test_statistics_are_those_of_a_plain_loop(mix: float) -> None:
    model, given = smooth_model(batch_norm=True), target(pixels(25))
    plain = copy.deepcopy(model.network)
    before = copy.deepcopy(plain.state_dict())
    for layer in plain.children():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
    with torch.no_grad():
        for rows in given.parts():
            plain(model.normalise(given.pixels[rows].double() / 255))
    (proposal,) = Statistics(mix).propose(given.proposal("source", model), given)
    for name, found in proposal.model.network.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(
                found, mix * plain.state_dict()[name] + (1 - mix) * before[name], rtol=1e-6, atol=1e-7
            )
        elif "num_batches" not in name:
            assert torch.equal(found, before[name])
    assert all(torch.equal(model.network.state_dict()[name], value) for name, value in before.items())


def test_a_step_of_tent_is_the_hand_written_one() -> None:
    model, given = smooth_model(batch_norm=True), (pixels(8).double() / 255)
    plain = copy.deepcopy(model.network)
    layers = [layer for layer in plain.children() if isinstance(layer, nn.BatchNorm2d)]
    affine = [parameter.requires_grad_(True) for layer in layers for parameter in (layer.weight, layer.bias)]
    optimiser = torch.optim.Adam(affine, 0.01)
    for layer in layers:
        layer.train()

    def update(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step = TentStep(model, 0.01)
    for number in range(2):
        logits = plain(model.normalise(given))
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        update(entropy, optimiser)
        found = step(given, Moment(number, 2, QUIET), update)
        assert found["entropy"].item() == pytest.approx(entropy.item())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], value)
    assert not torch.equal(affine[0], torch.ones_like(affine[0]))


def test_pseudo_labels_are_the_nearest_centres() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=rng, dtype=torch.float64)
    rows = torch.randn(12, 3, generator=rng, dtype=torch.float64).softmax(1)
    units = [feature / feature.norm() for feature in features]
    labels: list[int] = []
    for first in (True, False):
        centres = []
        for kind in range(3):
            shares = rows[:, kind].tolist() if first else [float(label == kind) for label in labels]
            centre = sum((share * unit for share, unit in zip(shares, units, strict=True)), torch.zeros(5).double())
            centres.append(centre / centre.norm())
        labels = [int(torch.stack([unit @ centre for centre in centres]).argmax()) for unit in units]
    assert set(labels) == {0, 1, 2}
    assert pseudo_labels(features, rows).tolist() == labels


def test_pseudo_labels_repair_a_head_that_prefers_one_class() -> None:
    """Three clusters, and a head by which all images look most like the first."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.arange(60) % 3
    features = functional.one_hot(truth, 3) + 0.1 * torch.randn(60, 3, generator=rng)
    rows = (2 * features + torch.tensor([3.0, 0.0, 0.0])).softmax(1)
    assert (rows.argmax(1) == 0).all()
    assert torch.equal(pseudo_labels(features, rows), truth)


class Functional(nn.Module):
    """Pools by a function, and uses one layer twice: no module returns what the class layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)  # defined first, run last
        self.convolution, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def features(self, pixels: Tensor) -> Tensor:
        return self.norm(torch.relu(self.norm(self.convolution(pixels)))).mean((2, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))


class WithoutGradients(Functional):
    """As some deployed networks are."""

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels)


def functional_model(network: Functional) -> VisionModel:
    return VisionModel("functional", network.double().eval(), Preprocessing(resize=12, crop=12), CLASSES)


@pytest.mark.parametrize("named", [False, True])
def test_features_of_self_training_are_what_the_class_layer_reads(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Functional()
    if named:  # the class layer's input by its name
        monkeypatch.setattr(Functional, "forward", lambda self, pixels: self.head(input=self.features(pixels)))
    model, given = functional_model(network), target(pixels(20))
    features, probabilities = observed(model, "norm", given)
    with torch.no_grad():
        wanted = network.features(model.normalise(given.pixels.double() / 255))
        torch.testing.assert_close(features, wanted.float())
        torch.testing.assert_close(probabilities, network.head(wanted).softmax(1).float())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert len(tune(model, pictures(), method="self-training", batch_size=8, session=QUIET).choices) == 2


@pytest.mark.parametrize("method", ["tent", "self-training", "auto"])
def test_a_network_that_computes_without_gradients_is_refused(method: str) -> None:
    with pytest.raises(UnsupportedError, match=r"without gradients.*: use statistics"):
        tune(functional_model(WithoutGradients()), pictures(), method=method, batch_size=8, session=QUIET)


def planted(kind: int, source: Tensor, rng: torch.Generator) -> Tensor:
    """Ten ways in which a tuned model may have collapsed."""
    count, classes = source.shape
    one = functional.one_hot(torch.full((count,), kind % classes), classes).float()
    drawn = 5 * torch.randn(count, classes, generator=rng)
    return (
        one,
        0.9 * one + 0.1 / classes,
        source.mean(0).expand(count, -1),
        torch.full_like(source, torch.nan),
        drawn.softmax(1),
        source[torch.randperm(count, generator=rng)],
        source.roll(1, 1),
        (0.7 * one + 0.3 * source) ** 4 / ((0.7 * one + 0.3 * source) ** 4).sum(1, keepdim=True),
        torch.cat([source[: count // 3], one[count // 3 :]]),
        torch.where(torch.rand(count, 1, generator=rng) < 0.9, torch.eye(classes)[0], torch.eye(classes)[1]),
    )[kind]


@pytest.mark.parametrize("kind", range(10))
def test_the_alarm_catches_planted_collapses(kind: int) -> None:
    rng = torch.Generator().manual_seed(kind)
    source = (3 * torch.randn(200, 6, generator=rng)).softmax(1)
    assert signs(source, planted(kind, source, rng)).alarm


def test_the_alarm_for_one_class_names_no_entropy_below_zero() -> None:
    source = torch.tensor([[0.6, 0.4]]).repeat(4, 1)
    found = signs(source, torch.tensor([[1.0, 0.0]]).repeat(4, 1))
    assert found.alarm == "the entropy of its mean prediction fell to 0.00 nats, from 0.67"


@pytest.mark.parametrize("seed", range(10))
def test_the_alarm_is_quiet_where_predictions_improve(seed: int) -> None:
    """The source model is right in a third of the images and prefers two classes; the tuned one is right in more."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(6, (200,), generator=rng)
    right = functional.one_hot(truth, 6)
    noise = torch.randn(2, 200, 6, generator=rng)
    source = (1.3 * right + noise[0] + torch.tensor([1.2, 1.0, 0, 0, 0, 0])).softmax(1)
    tuned = (2.4 * right + 0.5 * noise[0] + noise[1]).softmax(1)
    assert (source.argmax(1) == truth).float().mean() < (tuned.argmax(1) == truth).float().mean()
    assert signs(source, tuned).alarm == "" and signs(source, source).alarm == ""


@pytest.mark.parametrize("seed", range(10))
def test_a_tuning_that_collapses_falls_back_to_the_source_model(seed: int) -> None:
    model = smooth_model(batch_norm=True)
    found = tune(
        model, pictures(), method=Tent(epochs=6, rate=3.0), batch_size=8, session=Session(quiet=True, seed=seed)
    )
    assert found.fell_back and found.model is model and found.chosen == "source"
    (note,) = (block for block in found.result().blocks if isinstance(block, Note) and block.title == "Fallback")
    assert note.text.startswith("The tuned model collapsed: ") and note.text.endswith("The source model is kept.")
    assert found.result().metrics["fell-back"] == 1


@pytest.mark.parametrize("collapsed", [0.3, 1.0])
def test_self_training_never_starts_from_statistics_that_collapse(
    collapsed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blurred photographs once scored best with statistics that gave two thirds of them the same class."""

    def propose(self: Statistics, source: Proposal, target: Target) -> Iterator[Proposal]:
        name, found = f"statistics, mix {self.mix:g}", source.probabilities
        if self.mix == collapsed:
            yield Proposal(name, source.model, functional.one_hot(0 * found.argmax(1), found.shape[1]).float(), 9.0)
        else:
            yield Proposal(name, source.model, found, 5.0)

    monkeypatch.setattr(Statistics, "propose", propose)
    found = tune(smooth_model(batch_norm=True), pictures(), method=Auto(epochs=1), batch_size=8, session=QUIET)
    others = {0.3, 1.0} - {collapsed}
    assert found.choices[-1].name == f"self-training, mix {others.pop():g}"
    assert [choice.signs.alarm != "" for choice in found.choices[1:3]] == [collapsed == 0.3, collapsed == 1.0]


def test_a_training_that_diverges_falls_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepscope.adaptation.tent.uncertainty", lambda probabilities: probabilities.sum() * torch.nan)
    found = tune(smooth_model(batch_norm=True), pictures(), method="tent", batch_size=8, session=QUIET)
    assert found.fell_back and found.choices[-1].signs.alarm == "its scores are no longer finite"
    assert found.choices[-1].score is None and "diverged" in found.choices[-1].name
    assert found.result().metrics["fell-back"] == 1


@pytest.mark.parametrize("method", Tuning.members(), ids=str)
def test_every_method_repeats_its_bits_and_leaves_the_model_alone(method: str) -> None:
    model = smooth_model(batch_norm=True)
    before = copy.deepcopy(model.network.state_dict())
    one, other = (tune(model, pictures(), method=method, batch_size=8, session=QUIET) for _ in range(2))
    assert all(torch.equal(model.network.state_dict()[name], value) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in one.model.network.parameters())
    assert not one.model.network.training and not any(m._forward_hooks for m in one.model.network.modules())
    assert torch.equal(one.model(pixels().double() / 255), other.model(pixels().double() / 255))
    assert one.result().metrics == other.result().metrics
    assert one.columns()["model"][0] == "source"


@pytest.mark.parametrize("limit", [2000, 6])
def test_labels_decide_nothing(tmp_path: Path, limit: int) -> None:
    model = painted_model()
    whole = paint_folder(tmp_path / "pictures", train=4, test=2)
    moved = tmp_path / "moved"
    for number, path in enumerate(sorted(whole.rglob("*.png"))):
        place = moved / path.relative_to(whole).parts[0] / CLASSES[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(path.read_bytes())
    one, other = (
        tune(model, folder, method=SelfTraining(epochs=1), batch_size=4, limit=limit, session=QUIET)
        for folder in (whole, moved)
    )
    assert one.images == other.images == min(limit, 12)
    for name, value in one.model.network.state_dict().items():
        assert torch.equal(value, other.model.network.state_dict()[name])
    assert set(one.accuracies) == {"accuracy/source-model", "accuracy/tuned"}
    assert f"Only {min(limit, 12)} images" in one.remarks[0]


def test_what_accuracy_leaves_out_is_said() -> None:
    model = painted_model()
    known = [(image, CLASSES[number % 3]) for number, image in enumerate(pictures(12))]
    for strangers, said in (
        ([], []),
        (
            [(image, "walrus") for image in pictures(15)[12:]],
            ["Accuracy leaves out what the model has no class for: walrus."],
        ),
    ):
        found = tune(model, known + strangers, method=Statistics(0.5), batch_size=4, session=QUIET)
        assert found.images == 12 + len(strangers) and len(found.accuracies) == 2
        assert [remark for remark in found.remarks if "leaves out" in remark] == said


def painted_model() -> VisionModel:
    torch.manual_seed(0)
    network = smooth_model(batch_norm=True).network
    assert isinstance(network, nn.Sequential)
    network[3], network[4] = nn.Conv2d(6, 3, 3, padding=1).double(), nn.BatchNorm2d(3).double()
    return VisionModel("painted", network, Preprocessing(resize=12, crop=12), CLASSES)


@pytest.mark.parametrize(
    ("method", "model", "instead"),
    [("statistics", tiny_transformer(), "tent or self-training"), ("tent", tiny_model(), "adapt fit"),
     ("statistics", tiny_model(), "adapt fit"), ("auto", tiny_model(), "adapt fit")],
)  # fmt: skip
def test_a_network_without_the_layers_is_refused(method: str, model: VisionModel, instead: str) -> None:
    with pytest.raises(UnsupportedError, match=instead):
        tune(model, pictures(), method=method, session=QUIET)


def test_tent_trains_the_norms_of_a_transformer() -> None:
    model = tiny_transformer()
    given = [np.repeat(np.repeat(image, 2, 0), 2, 1) for image in pictures(16)]
    found = tune(model, given, method=Tent(rate=0.01), batch_size=8, session=QUIET)
    trained = {id(parameter) for parameter in norms(found.model.network)}
    for (name, new), (_, old) in zip(
        found.model.network.named_parameters(), model.network.named_parameters(), strict=True
    ):
        assert torch.equal(new, old) == (id(new) not in trained), name


def test_settings_and_data_that_cannot_be_used(tmp_path: Path) -> None:
    model = smooth_model(batch_norm=True)
    with pytest.raises(SettingError, match="source"):
        tune(model, pictures(), validator="source-accuracy", session=QUIET)
    with pytest.raises(DataError, match="one image is too few"):
        tune(model, pictures(1), session=QUIET)
    for size in (1, 2.5):
        with pytest.raises(SettingError, match="batch_size"):
            tune(model, pictures(), batch_size=size, session=QUIET)  # type: ignore[arg-type]
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        tune(model, tmp_path, session=QUIET)


def test_the_command_saves_what_every_command_opens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=3)
    model = VisionModel("tiny", network, Preprocessing(32, 32), CLASSES, architecture="timm:test_efficientnet")
    file = save_model(model, tmp_path / "source")
    data = paint_folder(tmp_path / "pictures", train=4, test=2)
    command = AdaptTune(str(file), target=str(data), method=Statistics(0.5), batch_size=4)
    result = command.run(Session(quiet=True, out=tmp_path / "tuned", cache=tmp_path / "cache"))
    assert {"accuracy/source-model", "accuracy/tuned", "fell-back"} <= set(result.metrics)
    found = tune(load_model(file), data, method=Statistics(0.5), batch_size=4, session=QUIET)
    opened = load_model(tmp_path / "tuned")
    images = opened.read(sorted(data.rglob("*.png")))
    with torch.no_grad():
        torch.testing.assert_close(opened(images), found.model(images))
    assert opened.fingerprint != model.fingerprint and opened.categories == CLASSES
    assert render.load(found.save(tmp_path / "result")).metrics == result.metrics


def test_the_command_refuses_what_could_not_be_saved_before_it_tunes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepscope.commands.adapt_tune.load_model", lambda name, session: smooth_model(batch_norm=True))
    session = Session(quiet=True, out=tmp_path / "out")
    with pytest.raises(UnsupportedError, match="no architecture by name"):
        AdaptTune("smooth", target=str(tmp_path)).run(session)
    box = ds.wrap(lambda pixels: pixels.mean((2, 3)).detach(), CLASSES, preprocessing=Preprocessing(32, 32))
    monkeypatch.setattr("deepscope.commands.adapt_tune.load_model", lambda name, session: box)
    with pytest.raises(UnsupportedError, match="adapt tune needs gradients and layers"):  # not a matter of saving
        AdaptTune("box", target=str(tmp_path)).run(session)
