"""What computes on a GPU, on a second device that needs no hardware: nothing mixes tensors of two devices."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepscope import adaptation
from deepscope.attacks.counting import around, counted
from deepscope.attributions import Saliency, engine
from deepscope.features import extract
from deepscope.models import VisionModel, batching, fast_backward, load_model, save_model
from deepscope.session import Session
from deepscope.transfer import fit
from deepscope.transfer.classifier import ImageClassifier
from deepscope.transfer.fine_tuning import FineTuning
from networks import tiny_model
from other_device import DEVICE, other_device

FAMILIES = ("attribution", "attack", "measure", "head", "objective", "adaptation", "gan-step")


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("gpu_parts.cases")


def test_the_second_device_refuses_what_a_gpu_refuses() -> None:
    with other_device() as device:
        there = torch.arange(3.0).to(device)
        assert torch.equal((there + there).cpu(), torch.tensor([0.0, 2.0, 4.0]))
        with pytest.raises(RuntimeError, match="same device"):
            torch.add(there, torch.ones(3))
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device=device, generator=torch.Generator())
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_gives_there_what_it_gives_here(family: str, cases: Any) -> None:
    chosen = [case for case in cases.cases(small=True) if case.name.startswith(f"{family}/")]
    assert chosen
    for case in chosen:
        with other_device():
            found = case.run(DEVICE, torch.float64).cpu()
        torch.testing.assert_close(found, case.run(cases.CPU, torch.float64), rtol=1e-6, atol=1e-6, equal_nan=True)


def test_an_adapted_network_becomes_a_classifier_on_its_own_device() -> None:
    recipe, method = adaptation.Recipe(dropout=0.0), adaptation.Dann()
    pixels = torch.randint(256, (6, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = recipe.digit_network(method).eval()
    _, wanted = adaptation.run(network, pixels, adaptation.TARGET, Session(quiet=True))
    features = recipe.feature_network(5, 3, method)
    with other_device() as device:
        classifier = network.to(device).classifier(adaptation.TARGET)
        found = classifier((pixels.float() / 255).to(device)).cpu()
        normalisation, linear = features.to(device).head(adaptation.TARGET)
        assert linear(normalisation(torch.zeros(2, 5).to(device))).shape == (2, 3)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_classifier_fine_tuned_there_predicts_from_features_kept_here(tmp_path: Path) -> None:
    pictures = list(np.random.default_rng(0).integers(256, size=(20, 32, 32, 3), dtype=np.uint8))
    labels = [0, 1] * 10
    with other_device() as device:
        session = Session(device=device, cache=tmp_path, quiet=True)
        settings = FineTuning(epochs=1, batch_size=8)
        classifier = ImageClassifier("efficientnet_lite0", size=32, fine_tuning=settings, session=session)
        classifier.fit(pictures, labels)
        assert classifier.predict(pictures[:3]).shape == (3,)
        assert all(model.device == device for model in classifier.models_.values())


def test_features_are_computed_where_a_held_network_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    pictures = list(np.random.default_rng(0).integers(256, size=(20, 32, 32, 3), dtype=np.uint8))
    pairs = [(picture, "ab"[row % 2]) for row, picture in enumerate(pictures)]
    wanted = extract(tiny_model(), [("2", "mean")], pictures, Session(cache=tmp_path / "here", quiet=True)).vectors[0]
    with other_device() as device:
        held = tiny_model().to(device)
        session = Session(cache=tmp_path / "there", quiet=True)  # of the CPU
        found = extract(held, [("2", "mean")], pictures, session).vectors[0]
        fitted = fit(pairs, held, seed=1)
        assert held.device == fitted.model.device == device
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_what_was_saved_is_compared_on_the_device_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call, devices = VisionModel.__call__, set[torch.device]()

    def watched(self: VisionModel, pixels: Tensor) -> Tensor:
        devices.add(self.device)
        return call(self, pixels)

    monkeypatch.setattr(VisionModel, "__call__", watched)
    model = load_model("efficientnet_lite0", Session(quiet=True))
    with other_device() as device:
        save_model(model.to(device), tmp_path)
    assert devices == {DEVICE}  # the digits of two devices differ


def test_what_is_made_for_cpus_is_off_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_backward, "_Faster", None)  # fails where it is used
    small = tiny_model()
    wanted, pixels = small(torch.zeros(2, 3, 32, 32)), torch.rand(20, 3, 32, 32)
    with other_device() as device:
        model = small.to(device)
        there = pixels.to(device)
        Saliency()(model, there, torch.zeros(20, dtype=torch.long).to(device), rng=torch.Generator())
        watched, _ = counted(model, there)
        watched(there)
        assert around(model, there[:2]) is model
        assert model._mean.device == device  # no pass waits for them
        torch.testing.assert_close(model(torch.zeros(2, 3, 32, 32).to(device)).cpu(), wanted)


def test_batches_there_are_larger_and_powers_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "memory_budget", lambda device: 100 * 4)

    def run(rows: slice) -> int:
        torch.zeros(rows.stop - rows.start)
        return rows.stop - rows.start

    sizes = {kind: [n for _, n in engine.batches(200, torch.device(kind), run)] for kind in ("cpu", "cuda")}
    assert sizes == {"cpu": [8, 100, 92], "cuda": [64, 64, 64, 8]}


def test_a_gpu_lends_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**30)
    assert batching.memory_budget(torch.device("cuda")) == (2**30 + 2 * 2**30) // 2
    free = 2**38
    assert batching.memory_budget(torch.device("cuda")) == batching.GPU_BUDGET


@pytest.mark.parametrize("method", adaptation.Adaptation.members())
def test_losses_of_adaptation_have_the_digits_of_their_inputs(
    method: str, cases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[torch.dtype] = set()
    step = cases.AdaptationStep

    class Watched(step):
        def __call__(self, *given: Any) -> Any:
            figures = super().__call__(*given)
            found.update(value.dtype for name, value in figures.items() if not name.endswith(("accuracy", "coverage")))
            return figures

    monkeypatch.setattr(cases, "AdaptationStep", Watched)
    cases._adaptation(adaptation.Adaptation.members()[method]).run(cases.CPU, torch.float64)
    assert found == {torch.float64}
