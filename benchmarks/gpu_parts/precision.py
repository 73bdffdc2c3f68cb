"""bfloat16 and channels-last: the same answers, closely enough; and paths that are made for CPUs: off, or right."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from deepscope import images as image_files
from deepscope.attacks.counting import around, ask
from deepscope.attributions.engine import gradient
from deepscope.data.photographs import bundled_photographs
from deepscope.features.inference import accelerated
from deepscope.models import VisionModel, load_model
from deepscope.models.classifier import Backbone
from deepscope.models.fast_backward import FastBackward
from deepscope.models.feature_map import feature_layer
from deepscope.models.prediction import forward
from deepscope.session import Session

from .check import Check, NotMeasured, Outcome, Record, exact, relative, rng, verdict
from .networks import images, large


def precision(check: Check) -> Iterator[Record]:
    """Answers in bfloat16 and in channels-last against float32, on photographs with real weights."""
    yield check.attempt("bfloat16/answers", lambda: _answers(check))
    for name in ("vgg16", "resnet50"):
        for bfloat16 in (False, True):
            label = f"features/{name}/{'bfloat16' if bfloat16 else 'float32'}"
            yield check.attempt(label, lambda n=name, b=bfloat16: _features(check, n, b))
    for name in ("resnet50", "vit_tiny"):
        yield check.attempt(f"channels-last/{name}", lambda name=name: _channels_last(check, name))


def _photographs(check: Check) -> tuple[VisionModel, Tensor]:
    session = Session.open(device=str(check.device), quiet=True)
    try:
        model = load_model("efficientnet_lite0", session)
    except Exception as error:
        raise NotMeasured(f"no real weights: {error}") from None
    folder = session.home / "data" / "imagenet-sample"
    paths = sorted(folder.iterdir()) if folder.is_dir() else list(bundled_photographs().paths)
    whole = model.read([path for path in paths if image_files.find([path]).paths][: 4 if check.small else 64])
    if len(whole) < 32 and not check.small:  # few photographs: their parts are more of them
        height, width = (3 * side // 4 for side in whole.shape[2:])
        corners = [(down, right) for down in (0, whole.shape[2] - height) for right in (0, whole.shape[3] - width)]
        parts = torch.cat([whole[..., down : down + height, right : right + width] for down, right in corners])
        whole = torch.cat([whole, functional.interpolate(parts, whole.shape[2:], mode="bilinear")])
    return model, whole


def _answers(check: Check) -> Outcome:
    model, pixels = _photographs(check)
    session = Session(device=check.device, quiet=True)
    full, half = (forward(model, pixels, replace(session, precision=name)) for name in ("float32", "bfloat16"))
    agree = float((full.argmax(1) == half.argmax(1)).double().mean())
    apart = float((full.softmax(1) - half.softmax(1)).abs().max())
    layer = feature_layer(model, pixels[:1])
    backbone = Backbone(model.network, model.preprocessing.mean, model.preprocessing.std, [(layer, "mean")])
    backbone = backbone.to(check.device).eval()
    with torch.inference_mode():
        wanted = backbone(pixels)[0]
        found = accelerated(backbone, pixels[:1], bfloat16=True)(pixels)[0]
    similar = float(functional.cosine_similarity(found.double(), wanted.double()).min())
    figures = {"images": len(pixels), "top-1-agreement": agree, "probabilities-apart": apart}
    figures["features-smallest-cosine"] = similar
    figures["stands-in-for-float32"] = agree == 1 and apart <= 1e-3 and similar >= 0.9995
    note = "EfficientNet-Lite0; stands in for float32: the same top class, probabilities within 1e-3, cosine 0.9995"
    return verdict(agree >= 0.95 or check.small), figures, note


def _features(check: Check, name: str, bfloat16: bool) -> Outcome:
    model = large(name, check.device, small=check.small)
    pixels = images(4, model)
    layer = "features" if name == "vgg16" else "layer4"
    backbone = Backbone(model.network, model.preprocessing.mean, model.preprocessing.std, [(layer, "mean")])
    backbone = backbone.to(check.device).eval()
    with torch.inference_mode(), exact():
        wanted = backbone(pixels)[0]
        found = accelerated(backbone, pixels[:1], bfloat16=bfloat16)(pixels.to(memory_format=torch.channels_last))[0]
    similar = float(functional.cosine_similarity(found.double(), wanted.double()).min())
    figures = {"smallest-cosine": similar, "relative": relative(found, wanted)}
    return verdict(similar >= (0.999 if bfloat16 else 1 - 1e-6)), figures, ""


def _channels_last(check: Check, name: str) -> Outcome:
    model = large(name, check.device, small=check.small)
    pixels = images(4, model)
    with torch.inference_mode(), exact():
        plain = model(pixels)
        network = copy.deepcopy(model.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        turned = replace(model, network=network)(pixels.contiguous(memory_format=torch.channels_last))
    return verdict(relative(turned, plain) <= 1e-3), {"relative": relative(turned, plain)}, ""


def rules(check: Check) -> Iterator[Record]:
    """`fast_backward` and `nearby`, which are made for CPUs: off elsewhere, at no cost."""
    for name in ("resnet50", "vgg16"):
        yield check.attempt(f"fast-backward/{name}", lambda name=name: _fast_backward(check, name))
        yield check.attempt(f"nearby/{name}", lambda name=name: _nearby(check, name))


def _fast_backward(check: Check, name: str) -> Outcome:
    model = large(name, check.device, small=check.small)
    pixels = images(2 if check.small else 16, model)
    target = torch.arange(len(pixels), device=check.device) % 10
    fast, plain = FastBackward.of(model, pixels), FastBackward(enabled=False)
    with exact():
        found, wanted = (gradient(model, pixels, target, fast=way)[0] for way in (fast, plain))
    ways = {"fast": fast, "plain": plain}
    seconds = check.medians(
        {name: lambda way=way: gradient(model, pixels, target, fast=way) for name, way in ways.items()}
    )
    prepared = len(fast._convolutions)
    figures = {
        "relative": relative(found, wanted),
        "prepared-convolutions": prepared,
        "plain/fast": seconds["plain"] / seconds["fast"],
        "milliseconds": 1e3 * seconds["fast"],
    }
    return verdict(figures["relative"] <= 2e-2), figures, "on" if prepared else "off on this device"


def _nearby(check: Check, name: str) -> Outcome:
    model = large(name, check.device, small=check.small)
    base = images(1, model)
    with exact():
        near = around(model, base)
        probes = base.repeat(8 if check.small else 64, 1, 1, 1)
        places = torch.randint(base.shape[2], (2, len(probes)), generator=rng(2)).to(check.device)
        rows = torch.arange(len(probes), device=check.device)
        probes[rows, :, places[0], places[1]] = 1
        of = torch.zeros_like(rows)
        with torch.no_grad():
            found, wanted = ask(near, probes, of), model(probes)

    def run(asked: VisionModel) -> None:
        with torch.no_grad():
            ask(asked, probes, of)

    seconds = check.medians({"near": lambda: run(near), "plain": lambda: run(model)})
    on = near is not model
    figures = {
        "relative": relative(found, wanted),
        "plain/near": seconds["plain"] / seconds["near"],
        "milliseconds": 1e3 * seconds["near"],
    }
    return verdict(figures["relative"] <= 1e-3), figures, "on" if on else "off"
