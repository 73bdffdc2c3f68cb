"""What a user's type checker says of the public functions, on a script like those in the documentation."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import deepscope

SCRIPT = """
from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import deepscope as ds


def examine(module: nn.Module, photos: Path) -> None:
    model = ds.wrap(module, ["cat", "dog"], preprocessing=ds.Preprocessing(256, 224))
    assert_type(model, ds.VisionModel)
    assert_type(ds.load_model("efficientnet_lite0"), ds.VisionModel)
    assert_type(ds.classify(model, photos).probabilities, Tensor)
    assert_type(ds.explain(model, photos, method="grad-cam", target="cat").maps, Tensor)
    assert_type(ds.explain(model, torch.rand(2, 3, 8, 8), method=ds.attributions.GradCAM()).maps, Tensor)

    attack = ds.attacks.PGD(radius=4 / 255)
    assert_type(attack, ds.attacks.PGD)
    assert_type(attack.radius, float)
    assert_type(ds.attack(model, photos, attack), ds.attacks.AdversarialExamples)

    certain = ds.attacks.certify(model, photos, ds.attacks.Smoothing(sigma=0.1))
    assert_type(certain, ds.attacks.Certificates)
    assert_type(certain.radii, Tensor)
    assert_type(ds.calibrate(model, photos).calibrated, ds.VisionModel)
    assert_type(ds.abstain(model, photos, 0.9).abstaining, ds.VisionModel)
    assert_type(ds.classify(model, photos, abstain_below=0.8).labels, list[str | None])

    found = ds.audit(model, photos, checks=["accuracy"], budget="quick")
    assert_type(found.metrics, dict[str, float])
    assert_type(found.save("audit.html"), Path)

    assert_type(ds.ImageClassifier("efficientnet_lite0").fit(photos).model, ds.VisionModel)
    assert_type(ds.save_model(model, "saved", architecture="torchvision:resnet18"), Path)
    assert_type(ds.__version__, str)
    try:
        ds.visualize(model, ["cat"])
    except ds.SettingError as error:
        assert_type(error.setting, str)


def mistakes(model: ds.VisionModel) -> None:
    ds.attacks.PGD(radius="4/255")  # pyright: ignore[reportArgumentType]
    ds.attacks.PGD(radios=0.1)  # pyright: ignore[reportCallIssue]
    ds.audit(model, "photos/", budget="slow")  # pyright: ignore[reportArgumentType]
    ds.explain(model)  # pyright: ignore[reportCallIssue]
"""


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_a_typed_script_is_checked_in_strict_mode(tmp_path: Path) -> None:
    """Right uses pass with exact types, and each mistake is reported: an ignore that is not needed is an error too."""
    (tmp_path / "script.py").write_text(SCRIPT)
    package = Path(deepscope.__file__).parents[1]
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(package)], "reportUnnecessaryTypeIgnoreComment": True}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "--project", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    said = [f"{one['range']['start']['line']}: {one['message']}" for one in found["generalDiagnostics"]]
    assert not said, "\n".join(said)
