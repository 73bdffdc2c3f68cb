"""A tuned model keeps its source for images that do not look like the target's: choice, results, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from deepscope.adaptation import SelfTraining, Statistics, tune
from deepscope.adaptation.collapse import Signs
from deepscope.adaptation.tuning import copied
from deepscope.errors import DeepscopeError, ModelError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel, load_model, save_model
from deepscope.models.switched import Likeness, Switched, attach, describe, plain
from deepscope.session import Session
from networks import smooth_model, tiny_transformer

QUIET = Session(quiet=True)


@pytest.fixture(autouse=True)
def no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks give most images one class, which the alarm takes for a collapse; it is tested elsewhere."""
    monkeypatch.setattr(Signs, "alarm", "")


def pictures(count: int, *, contrast: float, seed: int = 0) -> list[np.ndarray]:
    drawn = torch.rand(count, 12, 12, 3, generator=torch.Generator().manual_seed(seed))
    return list((255 * (0.5 + contrast * (drawn - 0.5))).byte().numpy())


def batch(model: VisionModel, given: list[np.ndarray]) -> Tensor:
    return model.read(given).to(next(model.network.parameters()).dtype)


def test_the_distance_is_that_of_mahalanobis() -> None:
    rng = torch.Generator().manual_seed(0)
    described = torch.randn(200, 3, generator=rng, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    found = Likeness.fit(described)
    covariance = torch.tensor(np.cov(described.T.numpy(), bias=True)) + 0.01 * torch.eye(3)
    away = described - described.mean(0)
    wanted = (away * torch.linalg.solve(covariance, away.T).T).sum(1)
    torch.testing.assert_close(found.distance(described).double(), wanted, rtol=1e-4, atol=1e-4)
    assert 0.94 <= found(described).float().mean() <= 1 and not found(described + 100).any()


def test_images_are_described_by_means_and_mean_squares_in_the_norms_units() -> None:
    norm = nn.BatchNorm2d(2, eps=0).double()
    norm.running_mean, norm.running_var = torch.tensor([1.0, -1.0]).double(), torch.tensor([4.0, 0.25]).double()
    inputs = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    standard = nn.functional.batch_norm(inputs, norm.running_mean, norm.running_var, eps=0)
    wanted = torch.cat([standard.mean((2, 3)), standard.square().mean((2, 3)).log()], 1)
    torch.testing.assert_close(describe(inputs, norm), wanted)


@pytest.mark.parametrize("levels", [[0], [40, 200]])
def test_equal_images_of_the_target_pass(levels: list[int]) -> None:
    """Frames of a still camera: their distances differ by rounding alone, and lie at the limit."""
    model = efficientnet()
    given = [np.full((32, 32, 3), level, np.uint8) for level in levels] * (24 // len(levels))
    both = tune(model, given, method=Statistics(0.2), batch_size=8, session=QUIET)
    alone = tune(model, given, method=Statistics(0.2), batch_size=8, keep_source=False, session=QUIET)
    assert both.keeps_source
    for count in (1, 5, 24):
        pixels = batch(model, given[-count:])
        with torch.no_grad():
            torch.testing.assert_close(both.model(pixels), alone.model(pixels))
            assert not torch.allclose(both.model(pixels), model(pixels))


def test_each_image_gets_the_logits_of_one_model() -> None:
    """Pale images are the target; images of full contrast get the source model's logits, also in a mixed batch."""
    model = smooth_model(batch_norm=True)
    pale, clean = pictures(40, contrast=0.1), pictures(8, contrast=1.0, seed=1)
    both = tune(model, pale, method=Statistics(0.2), batch_size=8, session=QUIET)
    alone = tune(model, pale, method=Statistics(0.2), batch_size=8, keep_source=False, session=QUIET)
    assert both.keeps_source and not alone.keeps_source
    with torch.no_grad():
        torch.testing.assert_close(both.model(batch(model, clean)), model(batch(model, clean)), rtol=0, atol=0)
        found = both.model(batch(model, [*pale[:8], *clean]))
        near = (found[:8] - alone.model(batch(model, pale[:8]))).abs().amax(1) < 1e-9
        assert near.float().mean() >= 0.75
        torch.testing.assert_close(found[8:], model(batch(model, clean)))
    assert not torch.allclose(alone.model(batch(model, clean)), model(batch(model, clean)))


def test_gradients_are_those_of_the_model_that_is_chosen() -> None:
    model, clean = smooth_model(batch_norm=True), pictures(3, contrast=1.0, seed=1)
    both = tune(model, pictures(40, contrast=0.1), method="tent", batch_size=8, session=QUIET).model
    found = []
    for each in (both, model):
        pixels = batch(model, clean).requires_grad_()
        each(pixels)[:, 0].sum().backward()
        found.append(pixels.grad)
    torch.testing.assert_close(*found)


def test_self_training_leaves_all_but_the_norms_alone() -> None:
    model, pale = smooth_model(batch_norm=True), pictures(24, contrast=0.1)
    found = {
        every: tune(model, pale, method=SelfTraining(1, every_layer=every), batch_size=8, session=QUIET)
        for every in (False, True)
    }
    assert found[False].keeps_source and not found[True].keeps_source
    assert "for the target alone" in " ".join(found[True].remarks)
    before = {name: value for name, value in model.network.state_dict().items() if not name.startswith(("1.", "4."))}
    after = found[False].model.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not torch.equal(after["1.for_target.weight"], after["1.for_source.weight"])


def efficientnet(seed: int = 0) -> VisionModel:
    torch.manual_seed(seed)
    network = timm.create_model("test_efficientnet", num_classes=3)
    return VisionModel("tiny", network, Preprocessing(32, 32), ("a", "b", "c"), architecture="timm:test_efficientnet")


def test_it_is_saved_and_opened_with_both_and_not_tuned_again(tmp_path: Path) -> None:
    model, pale = efficientnet(), pictures(24, contrast=0.1)
    tuned = tune(model, pale, method=Statistics(0.2), batch_size=8, session=QUIET)
    assert tuned.keeps_source
    saved = tuned.save_model(tmp_path / "tuned").model
    given = batch(model, [*pale[:4], *pictures(4, contrast=1.0)])
    with torch.no_grad():
        before = tuned.model(given)
        torch.testing.assert_close(saved(given), before)
    opened = load_model(str(tmp_path / "tuned"))
    assert opened.identity == saved.identity
    with pytest.raises(UnsupportedError, match="tuned before"):
        tune(opened, pale, session=QUIET)


def test_damaged_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    tuned = tune(efficientnet(), pictures(24, contrast=0.1), method=Statistics(0.2), batch_size=8, session=QUIET).model
    weights = tuned.network.state_dict()
    own, second = plain(weights)
    assert own.keys() == efficientnet().network.state_dict().keys() and len(own) + len(second) == len(weights)
    key = next(key for key in second if key.endswith("likeness.limit"))
    for wrong in (
        {key: torch.zeros(2)},
        {key: torch.tensor(torch.nan)},
        {key: torch.tensor(1)},
        {"nowhere.for_target.weight": torch.zeros(3)},
    ):
        with pytest.raises(ModelError):
            attach(efficientnet().network, {**second, **wrong})
    save_model(tuned, tmp_path)
    file = tmp_path / "model.safetensors"
    with safetensors.safe_open(file, "pt") as opened:
        about = opened.metadata()
    safetensors.torch.save_file({**weights, key: torch.zeros(2)}, file, metadata=about)
    with pytest.raises(DeepscopeError):
        load_model(str(tmp_path))


def test_a_layer_cannot_run_without_the_one_that_chooses() -> None:
    layer = Switched(nn.BatchNorm2d(2), nn.BatchNorm2d(2)).eval()
    with pytest.raises(ModelError, match="cannot run alone"):
        layer(torch.rand(77, 2, 3, 3))


def test_a_transformer_is_tuned_for_the_target_alone() -> None:
    given = [np.repeat(np.repeat(image, 2, 0), 2, 1) for image in pictures(16, contrast=0.5)]
    found = tune(tiny_transformer(), given, method="tent", batch_size=8, session=QUIET)
    assert not found.keeps_source and "for the target alone" in " ".join(found.remarks)


def test_copies_share_nothing() -> None:
    tuned = tune(smooth_model(batch_norm=True), pictures(24, contrast=0.1), method="tent", batch_size=8, session=QUIET)
    other = copied(tuned.model)
    pointers = {value.data_ptr() for value in tuned.model.network.state_dict().values()}
    assert not pointers & {value.data_ptr() for value in other.network.state_dict().values()}
