"""What a person sees in a notebook: one cell per public call, in a real kernel, and the HTML that it shows."""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest

from html_pages import check

nbclient = pytest.importorskip("nbclient", reason="runs notebooks: pip install 'deepscope[test]'")
nbformat = pytest.importorskip("nbformat", reason="runs notebooks: pip install 'deepscope[test]'")
pytest.importorskip("ipykernel", reason="runs notebooks: pip install 'deepscope[test]'")

SETUP = """
import numpy as np, torch
from torch import nn
import deepscope as ds

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Conv2d(4, 4, 3), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
)
model = ds.wrap(network, ["dark", "bright"], preprocessing=ds.Preprocessing(16, 16), name="tiny")
rng = np.random.default_rng(0)
pairs = [
    (rng.integers(low, low + 100, (16, 16, 3), dtype=np.uint8), name)
    for name, low in (("dark", 0), ("bright", 150)) for _ in range(6)
]
few = [image for image, _ in pairs[:2]]
"""
CALLS = {
    "classify": ("ds.classify(model, pairs)", "tiny"),
    "activations": ("ds.activations(model, few, '0')", "tiny"),
    "explain": ("ds.explain(model, few, method='saliency')", "saliency"),
    "attack": ("ds.attack(model, few, ds.attacks.FGSM())", "fgsm"),
    "visualize": (
        "recipe = ds.visualization.Recipe(iterations=2, view=32)\nds.visualize(model, ['dark'], recipe=recipe)",
        "tiny",
    ),
    "ImageClassifier": (
        "mine = ds.ImageClassifier('efficientnet_lite0@blocks.0', size=32).fit(pairs)\nds.classify(mine.model, pairs)",
        "classifier on efficientnet_lite0",
    ),
    "adapt": (
        "darker = [image // 2 for image, _ in pairs]\n"
        "ds.adapt(pairs, darker, method='coral', recipe=ds.adaptation.Recipe(epochs=1), model=model)",
        "coral",
    ),
    "train_gan": (
        "ds.train_gan(pairs, architecture=ds.gans.Architecture(side=16, latent=4, width=2), "
        "recipe=ds.gans.Recipe(epochs=1, batch_size=6))",
        "generator",
    ),
    "calibrate": ("ds.calibrate(model, pairs * 2)", "temperature"),
    "abstain": ("ds.abstain(model, pairs * 2, 0.5)", "accuracy"),
    "audit": ("ds.audit(model, pairs, checks=['accuracy', 'leaks'])", "tiny on images"),
}
"""Public call -> a cell, and a word of what it shows."""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The outputs of each cell, of one kernel that runs them all: starting it takes most of the time."""
    root = tmp_path_factory.mktemp("notebook")
    folders = ("DEEPSCOPE_CACHE", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")
    cells = [nbformat.v4.new_code_cell(text) for text in (SETUP, *(text for text, _ in CALLS.values()))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        for name in folders:
            patch.setenv(name, str(root / name.casefold()))
        patch.setenv("DEEPSCOPE_HOME", str(root / "nowhere"))
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "2"))
        client = nbclient.NotebookClient(
            notebook, timeout=300, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(root)}}
        )
        client.execute()
    assert not [one for one in notebook.cells[0].outputs if one.output_type == "error"], notebook.cells[0].outputs
    return {name: cell.outputs for name, cell in zip(CALLS, notebook.cells[1:], strict=True)}


@pytest.mark.parametrize("call", CALLS)
def test_a_cell_shows_its_result(call: str, executed: dict[str, list[Any]]) -> None:
    outputs = executed[call]
    assert not [one for one in outputs if one.output_type == "error"], outputs
    (shown,) = [one for one in outputs if one.output_type == "execute_result"]
    html = shown["data"]["text/html"]
    page = check(html)
    text = " ".join(" ".join(page.text).split())
    assert len(page.all("article")) == 1
    assert CALLS[call][1].casefold() in text.casefold()
    for image in page.all("img"):
        header, _, content = (image["src"] or "").partition(",")
        assert header.startswith("data:image/") and base64.b64decode(content, validate=True)
    printed = "".join(one.get("text", "") for one in outputs if one.output_type == "stream")
    assert "Traceback" not in printed and "\x1b" not in printed


def test_every_public_call_has_a_cell() -> None:
    import inspect

    import deepscope

    functions = {name for name in deepscope.__all__ if inspect.isfunction(getattr(deepscope, name))}
    assert set(CALLS) == functions - {"load_model", "save_model", "wrap"} | {"ImageClassifier"}
