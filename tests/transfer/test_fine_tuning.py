"""Fine-tuning: the step against plain PyTorch, what is held out, and a model that opens like any other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope import images
from deepscope.commands.transfer_fit import TransferFit
from deepscope.data import ClassFolders
from deepscope.errors import DeepscopeError
from deepscope.features.extraction import backbone_of
from deepscope.inputs import read_photos
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.classifier import Classifier, Normalisation
from deepscope.results import Note
from deepscope.session import Session
from deepscope.transfer import improve
from deepscope.transfer.classifier import ImageClassifier
from deepscope.transfer.fine_tuning import FineTuning, fine_tune
from painted import paint_folder


@pytest.fixture
def data(tmp_path: Path) -> ClassFolders:
    return ClassFolders.read(paint_folder(tmp_path / "data", train=10, test=4))


def classifier_on(model: VisionModel, classes: int) -> Classifier:
    torch.manual_seed(3)
    normalisation = Normalisation.fit("l2", torch.randn(4, 12))
    return Classifier([backbone_of(model, [("5", "mean")])], [normalisation], nn.Linear(12, classes))


def trained(classifier: Classifier, pictures: Sequence[images.Source], labels: Tensor, session: Session) -> Classifier:
    settings = FineTuning(epochs=2, rate=1e-3, batch_size=8)
    return fine_tune(classifier, Preprocessing(resize=20, crop=16), pictures, labels, settings, session)[0]


def test_one_step_is_adamw_on_the_smoothed_cross_entropy(tiny: VisionModel, session: Session) -> None:
    """A plain image that fills every crop, so that crops and mirror images are all the same picture."""
    grey = np.full((16, 16, 3), 90, np.uint8)
    labels = torch.tensor([0, 1, 2, 1])
    before = classifier_on(tiny, 3)
    settings = FineTuning(epochs=1, rate=1e-3, batch_size=4, smoothing=0.2)
    after, _ = fine_tune(before, Preprocessing(resize=16, crop=16), [grey] * 4, labels, settings, session)

    plain = copy.deepcopy(before).requires_grad_(True).eval()
    optimiser = torch.optim.AdamW(
        [{"params": plain.backbones.parameters(), "lr": 1e-3}, {"params": plain.head.parameters(), "lr": 1e-2}]
    )
    rows = torch.randperm(4, generator=session.rng("order", "", 0))
    logits = plain(torch.full((4, 3, 16, 16), 90 / 255))
    smooth = functional.one_hot(labels[rows], 3) * 0.8 + 0.2 / 3
    loss = -(smooth * logits.log_softmax(1)).sum(1).mean()
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in plain.backbones.parameters() if p.grad is not None], 1.0)
    nn.utils.clip_grad_norm_(plain.head.parameters(), 1.0)
    optimiser.step()
    # Adam's first step is the gradient's sign: where a gradient is all but zero, rounding decides it.
    for name, parameter in after.named_parameters():
        assert torch.allclose(parameter, plain.get_parameter(name), atol=2e-5), name


def test_training_changes_weights_but_no_statistics_and_not_the_original(
    tiny: VisionModel, pictures: list[Path], session: Session
) -> None:
    labels = torch.arange(40) % 3
    before = classifier_on(tiny, 3)
    kept = copy.deepcopy(before.state_dict())
    after = trained(before, pictures, labels, session)
    assert all(torch.equal(value, kept[name]) for name, value in before.state_dict().items())
    moved = {name for name, value in after.state_dict().items() if not torch.equal(value, kept[name])}
    assert "head.weight" in moved
    assert "backbones.0.network.0.weight" in moved
    assert not any("running" in name or "num_batches" in name for name in moved)
    assert not any(parameter.requires_grad for parameter in after.parameters())


def test_same_seed_same_bits(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    labels = torch.arange(40) % 3
    one, again, other = (
        trained(classifier_on(tiny, 3), pictures, labels, replace(session, seed=seed)).head.weight for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_held_out_tenth_is_not_trained_on(
    data: ClassFolders, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[images.Source] = []

    def watched(classifier: Classifier, pixels: Preprocessing, sources: list[Path], *rest: object, **more: object):
        trained_on.extend(sources)
        return fine_tune(classifier, pixels, sources, *rest, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("deepscope.transfer.fitted_model.fine_tune", watched)
    settings = FineTuning(epochs=1, rate=1e-4, batch_size=27)
    classifier = ImageClassifier("efficientnet_lite0", size=32, fine_tuning=settings, session=session)
    classifier.fit(data.train.paths, data.train.labels)
    held = [path for path in data.train.paths if path not in trained_on]
    assert len(trained_on) == 27
    assert sorted(path.parent.name for path in held) == list(data.classes)
    labels = data.train.labels[[data.train.paths.index(path) for path in held]]
    assert classifier.fitted_.validation == pytest.approx((classifier.predict(held) == labels).mean())


def test_a_fine_tuned_classifier_is_a_model_and_goes_on_from_its_checkpoint(
    data: ClassFolders, session: Session, tmp_path: Path
) -> None:
    fit = TransferFit(str(data.root), size=64, fine_tune=2, learning_rate=1e-4)
    out = tmp_path / "model"
    result = fit.run(replace(session, out=out))
    assert result.metrics["accuracy"] > 0.5
    assert data.test is not None
    said = read_photos(load_model(out, session), data.test.paths, session).probabilities
    assert torch.allclose(said, torch.from_numpy(result.arrays["probabilities"]), atol=1e-4)
    weights = (out / "weights.safetensors").read_bytes()
    assert fit.run(replace(session, out=out)).metrics == result.metrics
    assert (out / "weights.safetensors").read_bytes() == weights
    with pytest.raises(DeepscopeError, match="checkpoint"):
        replace(fit, learning_rate=1e-3).run(replace(session, out=out))


@pytest.mark.parametrize("changed", ["labels", "images", "networks", "size"])
def test_a_checkpoint_of_another_training_is_refused(
    tiny: VisionModel, pictures: list[Path], session: Session, tmp_path: Path, changed: str
) -> None:
    labels, settings = torch.arange(40) % 3, FineTuning(epochs=1, batch_size=20)

    def train(model: VisionModel, pictures: list[Path], labels: Tensor, crop: int = 16) -> None:
        pixels = Preprocessing(resize=20, crop=crop)
        fine_tune(classifier_on(model, 3), pixels, pictures, labels, settings, session, folder=tmp_path / "training")

    train(tiny, pictures, labels)
    train(tiny, pictures, labels)  # the same one is gone on from
    other = replace(tiny, network=copy.deepcopy(tiny.network))
    with torch.no_grad():
        next(other.network.parameters())[0, 0, 0, 0] += 1
    with pytest.raises(DeepscopeError, match="checkpoint"):
        match changed:
            case "labels":
                train(tiny, pictures, labels.flip(0))
            case "images":
                train(tiny, pictures[::-1], labels)
            case "networks":
                train(other, pictures, labels)
            case _:
                train(tiny, pictures, labels, crop=20)


def test_improve_measures_fine_tuning_beside_the_other_ideas(
    tiny: VisionModel, data: ClassFolders, session: Session
) -> None:
    one, two = (replace(copy.deepcopy(tiny), name=name) for name in ("one", "two"))
    settings = FineTuning(epochs=1)
    result = improve(data.root, one, others=[two, "no-such-model"], fine_tuning=settings, session=session).result()
    assert any("no-such-model" in block.text for block in result.blocks if isinstance(block, Note))
    ideas = {key.removeprefix("validation/") for key in result.metrics if key.startswith("validation/")}
    together = {"one network, together", "several networks", "everything"}
    assert {"baseline", "fine-tuning", "several layers", "larger input", *together} <= ideas
    assert result.metrics["p/baseline"] == 1
    assert 0 <= result.metrics["p/fine-tuning"] <= 1


@pytest.mark.parametrize(
    ("settings", "message"), [((0, 1e-4), "fine_tune must be at least 1"), ((2, 0.0), "learning_rate must be above 0")]
)
def test_settings_that_cannot_train(settings: tuple[int, float], message: str) -> None:
    with pytest.raises(DeepscopeError, match=message):
        FineTuning(*settings)
