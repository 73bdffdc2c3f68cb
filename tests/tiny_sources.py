"""A tiny random model for every source of models, and the logits that the library itself computes of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deepscope.models import ModelOptions, Preprocessing, architectures, saved
from deepscope.models.classifier import Backbone, Classifier, Normalisation

SIZE = 32
"""Of the images, where a source leaves it open."""
CLASSES = ("bright", "dark", "grey")


@dataclass(frozen=True)
class Tiny:
    """A model as a source opens it.

    Attributes:
        name: that `load_model` and `--model` take.
        logits: the library's own forward pass of what the network is given; None where a source has no other library.
        options: what is said of the model.
        tolerance: of the logits.
    """

    name: str
    logits: Callable[[Tensor], Tensor] | None = None
    options: ModelOptions = field(default_factory=ModelOptions)
    tolerance: float = 1e-5


def seeded(build: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def network(outputs: int = 3, channels: int = 3) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, outputs),
        )
    )


def onnx(folder: Path) -> Tiny:
    """Written node by node: what the runtime computes is compared with PyTorch, not with an exporter."""
    onnx = pytest.importorskip("onnx", reason="pip install 'deepscope[onnx]'")
    pytest.importorskip("onnxruntime", reason="pip install 'deepscope[onnx]'")
    helper, tiny = onnx.helper, network()
    weights = {key.replace(".", "_"): value.numpy() for key, value in tiny.state_dict().items()}
    nodes = [
        helper.make_node("Conv", ["x", "0_weight", "0_bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "2_weight", "2_bias"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "5_weight", "5_bias"], ["logits"], transB=1),
    ]
    path = folder / "tiny.onnx"
    onnx.save(onnx_model(nodes, weights), path)
    return Tiny(str(path), tiny, ModelOptions(classes=",".join(CLASSES)), tolerance=1e-4)


def onnx_model(
    nodes: list[Any],
    weights: dict[str, Any],
    shape: tuple[Any, ...] = ("N", 3, SIZE, SIZE),
    *,
    output: str = "logits",
    dtype: int = 1,
    metadata: dict[str, str] | None = None,
) -> Any:
    """An ONNX model with the input "x" and one output."""
    import onnx
    from onnx import helper, numpy_helper

    given = helper.make_tensor_value_info("x", dtype, shape)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [given],
        [helper.make_tensor_value_info(output, 1, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.helper.set_model_props(made, metadata or {})
    return made


def transformers(folder: Path, kind: str = "vit") -> Tiny:
    library = pytest.importorskip("transformers", reason="pip install 'deepscope[hf]'")
    labels = {"num_labels": 3, "id2label": dict(enumerate(CLASSES))}
    size: dict[str, Any] = {"size": {"height": SIZE, "width": SIZE}}
    processor = library.ViTImageProcessor(**size)
    if kind == "vit":
        config = library.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=SIZE,
            patch_size=8, **labels,
        )  # fmt: skip
        build = library.ViTForImageClassification
    elif kind == "swin":
        config = library.SwinConfig(
            image_size=SIZE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, **labels
        )
        build = library.SwinForImageClassification
    else:
        config = library.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, **labels)
        build = library.ConvNextForImageClassification
        processor = library.ConvNextImageProcessor(size={"shortest_edge": SIZE})
    model = seeded(lambda: build(config))
    with _silent(library):
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return Tiny(str(folder), lambda inputs: model(pixel_values=inputs).logits)


def _silent(library: Any) -> Any:
    import contextlib

    @contextlib.contextmanager
    def quiet() -> Any:
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
        yield

    return quiet()


def clip(folder: Path) -> Tiny:
    library = pytest.importorskip("open_clip", reason="pip install 'deepscope[clip]'")
    described = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    name = "deepscope-tiny"
    (folder / f"{name}.json").write_text(json.dumps(described))
    library.add_model_config(folder / f"{name}.json")
    model = seeded(lambda: library.create_model(name, load_weights=False))
    save_file(model.state_dict(), folder / "clip.safetensors")
    texts = library.get_tokenizer(name)([f"a drawing of a {label}" for label in CLASSES])
    options = ModelOptions(classes=f"a drawing of a {{}}: {', '.join(CLASSES)}")
    return Tiny(f"clip:{name}/{folder}/clip.safetensors", lambda inputs: model.get_logits(inputs, texts)[0], options)


def timm_folder(folder: Path) -> Tiny:
    import timm
    from timm.models import save_for_hf

    model = seeded(lambda: timm.create_model("resnet10t", num_classes=3))
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, SIZE, SIZE), "crop_pct": 1.0}
    save_for_hf(model, str(folder), model_config={"label_names": list(CLASSES)}, safe_serialization=True)
    return Tiny(str(folder), model)


def weights_file(folder: Path) -> Tiny:
    model = seeded(lambda: architectures._build("torchvision:squeezenet1_1", 3))
    about = {
        "architecture": "torchvision:squeezenet1_1",
        "categories": json.dumps(CLASSES),
        "preprocessing": Preprocessing(SIZE, SIZE).to_json(),
    }
    save_file(model.state_dict(), folder / "mine.safetensors", metadata=about)
    return Tiny(str(folder / "mine.safetensors"), model)


def saved_folder(folder: Path) -> Tiny:
    spec = "torchvision:squeezenet1_1"
    backbone = Backbone(seeded(lambda: architectures._build(spec, None)), [0.5] * 3, [0.25] * 3, [("features", "mean")])
    vectors = backbone(torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))
    head = seeded(lambda: nn.Linear(512, 3))
    classifier = Classifier([backbone], [Normalisation.fit("standard", vectors[0])], head).eval()
    origins = [saved.BackboneOrigin("squeezenet", spec, None)]
    saved.save(folder, classifier, origins, Preprocessing(SIZE, SIZE), CLASSES)
    return Tiny(str(folder), classifier)


def factory(folder: Path) -> Tiny:
    code = (
        "import deepscope, tiny_sources\n"
        "def tiny():\n"
        f"    preprocessing = deepscope.Preprocessing({SIZE}, {SIZE})\n"
        "    return deepscope.wrap(tiny_sources.network(), tiny_sources.CLASSES, preprocessing=preprocessing)\n"
    )
    (folder / "own.py").write_text(code)
    return Tiny(f"{folder / 'own.py'}:tiny", network())


def checkpoint(folder: Path) -> Tiny:
    model = seeded(lambda: architectures._build("torchvision:squeezenet1_1", 3))
    torch.save(model.state_dict(), folder / "mine.pth")
    options = ModelOptions(architecture="torchvision:squeezenet1_1", classes=",".join(CLASSES))
    return Tiny(str(folder / "mine.pth"), model, options)


def exported(folder: Path) -> Tiny:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(network(), torch.rand(2, 3, SIZE, SIZE)), folder / "mine.ts")
    return Tiny(str(folder / "mine.ts"), network(), ModelOptions(classes=",".join(CLASSES)))


MAKERS: dict[str, Callable[[Path], Tiny]] = {
    "onnx": onnx,
    "transformers": transformers,
    "clip": clip,
    "timm-folder": timm_folder,
    "weights-file": weights_file,
    "saved-folder": saved_folder,
    "checkpoint": checkpoint,
    "exported": exported,
    "factory": factory,
}
"""By the name of the source."""

PUBLISHED = {"bundled", "torchvision", "timm"}
"""Sources of published weights of the usual size: other tests run the commands on the bundled ones."""
