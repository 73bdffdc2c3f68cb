"""Throughput beside captum, pytorch-grad-cam, foolbox, torchattacks and the plain loop: same images, same batch."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.attacks import FGSM, PGD, Attack, DeepFool, Untargeted, distance
from deepscope.attributions import Attribution, GradCAM, IntegratedGradients, Saliency, SmoothGrad
from deepscope.features.inference import accelerated
from deepscope.models import VisionModel
from deepscope.models.classifier import Backbone
from deepscope.models.feature_map import feature_layer

from .check import Check, NotMeasured, Outcome, Record, rng
from .networks import images, large

Run = Callable[[], object]
RADIUS, STEPS = 4 / 255, 20


def peers(check: Check) -> Iterator[Record]:
    """Ratios are peer / deepscope of the medians: above 1 deepscope is faster."""
    count = 2 if check.small else 32
    for name in ("vgg16", "vit_tiny", "resnet50"):
        model = large(name, check.device, small=check.small)
        pixels = images(count, model)
        with torch.no_grad():
            labels = model(pixels).argmax(1)
        pairs = _attributions(check, model, pixels, labels)
        if name != "vit_tiny":
            pairs |= _features(model, pixels)
        if name == "resnet50":  # last: the slowest of them take what time is left
            pairs |= _attacks(model, pixels, labels)
        for pair, make in pairs.items():
            yield check.attempt(f"{pair}/{name}", lambda make=make: _compare(check, make, count))


def _compare(check: Check, make: Callable[[], tuple[Run, Run]], count: int) -> Outcome:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = make()
        seconds = check.medians({"ours": ours, "peer": theirs}, 5)
    figures = {
        "peer/deepscope": seconds["peer"] / seconds["ours"],
        "images/s": count / seconds["ours"],
        "peer-images/s": count / seconds["peer"],
    }
    return "pass", figures, ""


def _peer(name: str) -> Any:
    """The peer's module; not measured where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise NotMeasured(f"{name} cannot be imported: {type(error).__name__}: {error}") from None


class _FromPixels(nn.Module):
    """A model as the peers want it, from pixels; its parameters ask for gradients, as a freshly loaded network's do."""

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.model, self.network = model, model.network
        self.network.requires_grad_(True)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C) logits."""
        return self.model(pixels)


def _attributions(
    check: Check, model: VisionModel, pixels: Tensor, labels: Tensor
) -> dict[str, Callable[[], tuple[Run, Run]]]:
    samples, steps = (2, 4) if check.small else (16, 32)

    def ours(method: Attribution) -> Run:
        def run() -> None:
            model.network.requires_grad_(False)
            method(model, pixels, labels, rng=rng())

        return run

    def thawed(run: Callable[[nn.Module], object]) -> Run:
        return lambda: run(_FromPixels(model))

    def saliency() -> tuple[Run, Run]:
        attr = _peer("captum.attr")
        return ours(Saliency()), thawed(
            lambda seen: attr.Saliency(seen).attribute(pixels.clone().requires_grad_(), target=labels)
        )

    def smoothgrad() -> tuple[Run, Run]:
        attr = _peer("captum.attr")

        def run(seen: nn.Module) -> object:
            tunnel = attr.NoiseTunnel(attr.Saliency(seen))
            leaf = pixels.clone().requires_grad_()
            return tunnel.attribute(leaf, target=labels, nt_samples=samples, nt_samples_batch_size=4, stdevs=0.15)

        return ours(SmoothGrad(samples=samples)), thawed(run)

    def integrated() -> tuple[Run, Run]:
        attr = _peer("captum.attr")

        def run(seen: nn.Module) -> object:
            return attr.IntegratedGradients(seen).attribute(
                pixels, target=labels, n_steps=steps, internal_batch_size=128
            )

        return ours(IntegratedGradients(steps=steps)), thawed(run)

    def grad_cam() -> tuple[Run, Run]:
        cam = _peer("pytorch_grad_cam")
        wanted = [
            _peer("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget(label) for label in labels.tolist()
        ]
        layer = model.network.get_submodule(feature_layer(model, pixels))

        def run(seen: nn.Module) -> object:
            with cam.GradCAM(seen, [layer]) as method:
                return method(pixels, wanted)

        return ours(GradCAM()), thawed(run)

    found = {"saliency/captum": saliency, "smoothgrad/captum": smoothgrad, "integrated-gradients/captum": integrated}
    return found if model.name == "vit_tiny" else {**found, "grad-cam/pytorch-grad-cam": grad_cam}


def _attacks(model: VisionModel, pixels: Tensor, labels: Tensor) -> dict[str, Callable[[], tuple[Run, Run]]]:
    goal = Untargeted(labels)

    def ours(attack: Attack) -> Run:
        def run() -> None:
            model.network.requires_grad_(False)
            moved = attack(model, pixels, goal, rng=rng())
            assert float(distance(moved, pixels, attack.norm).max()) > 0

        return run

    def foolbox(make: Callable[[Any], Any], attack: Attack, epsilons: float | None) -> Callable[[], tuple[Run, Run]]:
        def pair() -> tuple[Run, Run]:
            library = _peer("foolbox")
            settings = model.preprocessing
            means = {"mean": settings.mean, "std": settings.std, "axis": -3}
            wrapped = library.PyTorchModel(model.network, bounds=(0, 1), preprocessing=means, device=pixels.device)
            return ours(attack), lambda: make(library)(wrapped, pixels, labels, epsilons=epsilons)

        return pair

    def torchattacks(make: Callable[[Any, nn.Module], Any], attack: Attack) -> Callable[[], tuple[Run, Run]]:
        def pair() -> tuple[Run, Run]:
            library = _peer("torchattacks")
            return ours(attack), lambda: make(library, _FromPixels(model).eval())(pixels, labels)

        return pair

    pgd = PGD(radius=RADIUS, steps=STEPS, stop_early=False)
    return {
        "fgsm/foolbox": foolbox(lambda f: f.attacks.LinfFastGradientAttack(), FGSM(radius=RADIUS), RADIUS),
        "fgsm/torchattacks": torchattacks(lambda t, seen: t.FGSM(seen, eps=RADIUS), FGSM(radius=RADIUS)),
        "pgd/foolbox": foolbox(lambda f: f.attacks.LinfPGD(steps=STEPS, rel_stepsize=0.25), pgd, RADIUS),
        "pgd/torchattacks": torchattacks(lambda t, seen: t.PGD(seen, eps=RADIUS, alpha=RADIUS / 4, steps=STEPS), pgd),
        "deepfool/foolbox": foolbox(
            lambda f: f.attacks.L2DeepFoolAttack(steps=20, candidates=10), DeepFool(steps=20), None
        ),
    }


def _features(model: VisionModel, pixels: Tensor) -> dict[str, Callable[[], tuple[Run, Run]]]:
    layer = "features" if model.name == "vgg16" else "layer4"

    def make(bfloat16: bool) -> tuple[Run, Run]:
        model.network.requires_grad_(False)
        backbone = Backbone(model.network, model.preprocessing.mean, model.preprocessing.std, [(layer, "mean")])
        quick = accelerated(backbone.to(pixels.device).eval(), pixels[:1], bfloat16=bfloat16)
        found: list[Tensor] = []

        def ours() -> None:
            with torch.inference_mode():
                found[:] = quick(pixels.to(memory_format=torch.channels_last))

        def plain() -> None:
            """A forward hook and the whole network, as people write it."""
            seen: list[Tensor] = []
            handle = model.network.get_submodule(layer).register_forward_hook(lambda *run: seen.append(run[2]))
            with torch.inference_mode(), torch.autocast(pixels.device.type, torch.bfloat16, enabled=bfloat16):
                model.network(model.normalise(pixels))
            handle.remove()
            seen[0].float().mean((2, 3))

        return ours, plain

    return {
        "features-float32/plain-loop": lambda: make(False),
        "features-bfloat16/plain-loop-autocast": lambda: make(True),
    }
