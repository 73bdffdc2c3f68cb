"""Attacks on networks that detach their output: refused in one line, or made by scores alone, never called vanished."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deepscope import attack, attributions, explain, visualize, wrap
from deepscope.attacks import PGD, Smoothing, Square, Strength, certify, evaluate_attacks, worst_case
from deepscope.attacks.job import AttackJob
from deepscope.cli.program import run
from deepscope.errors import UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from deepscope.presenters.attack_auto import present
from deepscope.results import Note, Table
from deepscope.session import Session
from deepscope.visualization import Recipe
from networks import tiny_model

SAID = r"needs gradients, which Detached does not give \(its output does not depend differentiably on the pixels: "
IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_model().network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs).detach()


class OutsidePyTorch(Detached):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(self.network(torch.from_numpy(inputs.numpy())).numpy())


@pytest.fixture(params=[Detached, OutsidePyTorch])
def model(request: pytest.FixtureRequest) -> VisionModel:
    classes = tiny_model().categories
    return wrap(request.param(), classes, preprocessing=Preprocessing(16, 16), name="Detached")


@pytest.fixture
def session() -> Session:
    return Session(quiet=True)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "auto-pgd", "ddn", "deepfool", "carlini-wagner", "fab", "universal"])
def test_what_follows_gradients_is_refused(method: str, model: VisionModel, session: Session) -> None:
    with pytest.raises(UnsupportedError, match=f"{method} {SAID}.*: use hop-skip-jump or square"):
        attack(model, IMAGES, method, session=session)


def test_so_are_evaluations_and_jobs(model: VisionModel, session: Session) -> None:
    with pytest.raises(UnsupportedError, match=f"pgd {SAID}"):
        evaluate_attacks(model, IMAGES, ["square", "pgd"], session=session)
    with pytest.raises(UnsupportedError, match=f"pgd {SAID}"):
        AttackJob("detached", method=PGD()).open(model, session)


def test_attacks_that_compare_scores_run(model: VisionModel, session: Session) -> None:
    found = attack(model, IMAGES, Square(1.0, queries=200), session=session)
    assert found.success.any() and not found.outcome.gradients.any()


def test_the_sequence_is_square_alone_and_the_page_says_why(model: VisionModel, session: Session) -> None:
    found = worst_case(model, IMAGES, strength=Strength(steps=2, queries=20), session=session)
    assert [stage.name for stage in found.stages] == ["square"]
    shown = present(found)
    notes = {block.title: block.text for block in shown.blocks if isinstance(block, Note)}
    assert "does not depend differentiably" in notes["No gradients"] and "square" in notes["No gradients"]
    assert notes["Worst case"].endswith("in the worst case over 1 attack.")
    (table,) = [block for block in shown.blocks if isinstance(block, Table)]
    assert not any("vanish" in column.name for column in table.columns)


def test_certificates_need_no_attack(model: VisionModel, session: Session) -> None:
    found = certify(model, IMAGES, Smoothing(0.1, samples=16, first=4), radii=(0.5,), session=session)
    assert len(found) and not found.attacked


def test_neither_maps_nor_class_images_stop_with_a_traceback(model: VisionModel, session: Session) -> None:
    with pytest.raises(UnsupportedError, match=f"saliency {SAID}"):
        explain(model, IMAGES, "saliency", session=session)
    compared = attributions.compare(
        model, IMAGES, ["saliency", attributions.Occlusion(window=8, stride=4)], session=session
    )
    assert list(compared.maps) == ["occlusion"] and "differentiably" in compared.refused["saliency"]
    with pytest.raises(UnsupportedError, match=f"visualize {SAID}"):
        visualize(model, [0], recipe=Recipe(iterations=1, view=32), session=session)


def test_the_command_line_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Cut(), nn.Linear(3, 2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch call TorchScript deprecated
        torch.jit.save(torch.jit.trace(network, torch.rand(1, 3, 224, 224)), str(tmp_path / "cut.pt"))
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "black.png")
    words = ["attack", "pgd", str(tmp_path / "black.png"), "--model", str(tmp_path / "cut.pt"), "--quiet"]
    assert run(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "pgd needs gradients" in line
        and "does not depend differentiably on the pixels): use hop-skip-jump or square" in line
    )


class Cut(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach()
