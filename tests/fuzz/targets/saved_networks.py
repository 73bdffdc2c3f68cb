"""Networks in files: saved classifiers, weights files with metadata, generators and evaluators of images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deepscope.files import sha256
from deepscope.gans import saved as gans
from deepscope.gans.architecture import Architecture
from deepscope.gans.networks import Generator
from deepscope.gans.quality.evaluator import Evaluator, load_evaluator, save_evaluator
from deepscope.models import Preprocessing, VisionModel, saved, weights_file
from deepscope.models.classifier import Backbone, Classifier, Normalisation, View
from deepscope.session import Session
from fuzz.mutations import json_text, lied
from fuzz.target import Mutation, Target, damage, lie
from painted import paint

_ARCHITECTURE = "torchvision:squeezenet1_1"
_PICTURE = np.asarray(paint("dots", np.random.default_rng(0)))


def _squeezenet(classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.squeezenet1_1(weights=None, num_classes=classes).eval()


def _build_classifier(folder: Path) -> None:
    views = (View(), View(mirrored=True), View(down=2, right=-1))
    layers = [("features.3", "mean"), ("features", "pyramid")]
    backbone = Backbone(_squeezenet(2), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), layers, views)  # pyright: ignore[reportArgumentType]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        vectors = backbone(torch.rand(6, 3, 48, 48))
        kinds = ("standard", "whiten")
        normalisations = [Normalisation.fit(kind, vector) for kind, vector in zip(kinds, vectors, strict=True)]
        width = sum(normalise(vector).shape[1] for normalise, vector in zip(normalisations, vectors, strict=True))
        classifier = Classifier([backbone], normalisations, nn.Linear(width, 3)).eval()
    origin = saved.BackboneOrigin("squeezenet1_1", _ARCHITECTURE, 2)
    saved.save(folder / "model", classifier, [origin], Preprocessing(52, 48), ["cat", "dog", "eel"], source="pictures")


def _said(model: VisionModel) -> dict[str, Any]:
    """What a person sees of a model."""
    found: dict[str, Any] = {"categories": model.categories, "source": model.origin.source}
    if model.categories:
        with torch.no_grad():
            found["probabilities"] = model(model.read([_PICTURE])).softmax(1)
    return found


def _read_classifier(folder: Path) -> dict[str, Any]:
    return _said(saved.load(folder / "model"))


def _sane(said: dict[str, Any]) -> str:
    categories, probabilities = said["categories"], said.get("probabilities")
    if not all(isinstance(name, str) for name in categories):
        return f"categories that are no names: {str(categories)[:100]!r}"
    if probabilities is None:
        return ""
    if probabilities.shape != (1, len(categories)):
        return f"{tuple(probabilities.shape)} probabilities for {len(categories)} categories"
    if not probabilities.isfinite().all():
        return "probabilities that are no numbers"
    if len(categories) == 1:
        return "one class, which has probability 1 for every image"
    return ""


def _signed(name: str, weights: str) -> Callable[[Path], None]:
    """Makes the digest in a JSON file that of the weights beside it."""

    def sign(folder: Path) -> None:
        for path in folder.rglob(name):
            digest = f'"weights_sha256": "{sha256(path.with_name(weights))}"'
            text = re.sub('"weights_sha256": "[0-9a-f]{64}"', digest, path.read_text(encoding="utf-8"))
            path.write_text(text, encoding="utf-8")

    return sign


def _other_weights(rng: Random, path: Path) -> None:
    """A tensor holds other numbers, or has another shape, type or name."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    weights = load_file(path)
    key = rng.choice(sorted(weights))
    value = weights[key]
    change = rng.randrange(9)
    numbers = (float("nan"), float("inf"), 1e30, 0.0, -1.0)
    if change == 0:
        del weights[key]
    elif change == 1:
        weights[f"{key}.x"] = value.clone()
    elif change == 2:
        weights[key] = torch.zeros(rng.choice(((0,), (), (1,), (3, 3), (1, 1, 1, 1, 1))))
    elif change == 3:
        half = rng.choice((torch.float16, torch.bfloat16))
        weights = {name: tensor.to(half) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    elif change == 4:
        weights[key] = value.to(rng.choice((torch.int64, torch.float64, torch.uint8, torch.bool)))
    elif value.is_floating_point() and value.numel():
        spoilt = value.clone().view(-1)
        spoilt[0 if change == 5 else rng.randrange(spoilt.numel()) :] = rng.choice(numbers)
        weights[key] = spoilt.view(value.shape)
    save_file(weights, path, metadata=about)


def _weights_lie(glob: str, sign: Callable[[Path], None] = lambda folder: None) -> Mutation:
    def apply(rng: Random, folder: Path) -> None:
        _other_weights(rng, rng.choice(sorted(folder.rglob(glob))))
        sign(folder)

    return Mutation(f"other numbers in {glob}", apply, same=False)


def _header_lies(rng: Random, folder: Path) -> None:
    """The header of a safetensors file says something else: shapes, offsets, types, metadata."""
    path = rng.choice(sorted(folder.rglob("*.safetensors")))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if rng.random() < 0.5 and "__metadata__" in header:
        header["__metadata__"] = lied(rng, header["__metadata__"])
    else:
        header = lied(rng, header)
    text = json_text(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def _metadata_lies(rng: Random, folder: Path) -> None:
    """The JSON inside the metadata of a safetensors file says something else."""
    path = rng.choice(sorted(folder.rglob("*.safetensors")))
    with safe_open(path, framework="pt") as file:
        about = dict(file.metadata())
    key = rng.choice([key for key in ("preprocessing", "categories") if key in about])
    about[key] = json_text(lied(rng, json.loads(about[key])))
    save_file(load_file(path), path, metadata=about)


def _build_weights_file(folder: Path) -> None:
    about = {
        "architecture": _ARCHITECTURE,
        "preprocessing": Preprocessing(52, 48).to_json(),
        "categories": json.dumps(["cat", "dog", "eel"]),
        "source": "random",
        "license": "none",
    }
    (folder / "weights").mkdir()
    save_file(dict(_squeezenet(3).state_dict()), folder / "weights" / "squeeze.safetensors", metadata=about)


def _read_weights_file(folder: Path) -> dict[str, Any]:
    """The model; and the list of models, which no file may spoil."""
    session = Session(home=folder, cache=folder / "cache", quiet=True)
    listed = list(weights_file.WeightsFile().entries(session))
    if len(listed) > 1:
        raise AssertionError(f"one file is listed as {listed}")
    path = next(iter(folder.rglob("*.safetensors")), folder / "weights" / "squeeze.safetensors")
    return _said(weights_file.read(path)) if path.is_file() else {"categories": ()}


def _build_generator(folder: Path) -> None:
    architecture = Architecture(side=16, latent=8, width=4, label_in_discriminator="absent")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(architecture, 1, 3).eval()
    gans.save(
        folder / "gan", gans.GAN(generator, architecture, channels=1, classes=("bee", "cat", "dog"), data="pictures")
    )


def _read_generator(folder: Path) -> dict[str, Any]:
    gan = gans.load(folder / "gan")
    count = max(len(gan.classes), 1)
    with torch.inference_mode():
        z = torch.linspace(-1, 1, count * gan.architecture.latent).view(count, -1)
        images = gan.generator(z, torch.arange(count))
    return {"images": images, "classes": gan.classes, "data": gan.data, "side": gan.architecture.side}


def _sane_images(said: dict[str, Any]) -> str:
    images: Tensor = said["images"]
    if images.shape[0] != max(len(said["classes"]), 1) or images.shape[2:] != (said["side"], said["side"]):
        return f"images of shape {tuple(images.shape)}"
    return "" if images.isfinite().all() else "images that are no numbers"


def _build_evaluator(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        evaluator = Evaluator(1, ("bee", "cat", "dog")).eval()
    save_evaluator(folder / "evaluator", evaluator, {"measure": 0.5, "verdict": 0.5})


def _read_evaluator(folder: Path) -> dict[str, Any]:
    evaluator = load_evaluator(folder / "evaluator")
    shape = (2, evaluator.channels, 28, 28)
    images = torch.arange(int(np.prod(shape))).remainder(256).byte().view(shape)
    return {
        "classes": evaluator.classes,
        "features": evaluator.features(images),
        "numbers": evaluator.recognise(images),
    }


def _sane_evaluator(said: dict[str, Any]) -> str:
    if said["numbers"].max() >= len(said["classes"]):
        return "a class without a name"
    return "" if said["features"].isfinite().all() else "features that are no numbers"


_MODEL, _GAN, _EVALUATOR = (
    _signed("model.json", "weights.safetensors"),
    _signed("generator.json", "generator.safetensors"),
    _signed("evaluator.json", "evaluator.safetensors"),
)

TARGETS = [
    Target(
        "classifier-folder",
        _build_classifier,
        _read_classifier,
        (
            damage("model.json"),
            damage("weights.safetensors"),
            lie("model.json", sign=_MODEL),
            lie("model.json", sign=_MODEL),
            _weights_lie("weights.safetensors", _MODEL),
        ),
        _sane,
        inputs=300,
    ),
    Target(
        "weights-file",
        _build_weights_file,
        _read_weights_file,
        (
            damage("*.safetensors", same=False),
            _weights_lie("*.safetensors"),
            Mutation("lies in the header", _header_lies, same=False),
            Mutation("lies in the metadata", _metadata_lies, same=False),
        ),
        _sane,
        inputs=200,
    ),
    Target(
        "generator",
        _build_generator,
        _read_generator,
        (
            damage("generator.json"),
            damage("generator.safetensors"),
            lie("generator.json", sign=_GAN),
            _weights_lie("generator.safetensors", _GAN),
        ),
        _sane_images,
    ),
    Target(
        "image-evaluator",
        _build_evaluator,
        _read_evaluator,
        (
            damage("evaluator.json"),
            damage("evaluator.safetensors"),
            lie("evaluator.json", sign=_EVALUATOR),
            _weights_lie("evaluator.safetensors", _EVALUATOR),
        ),
        _sane_evaluator,
        inputs=100,
    ),
]
