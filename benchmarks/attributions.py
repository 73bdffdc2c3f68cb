"""Attributions against captum, pytorch-grad-cam and torchcam: time, floating-point operations, memory.

python benchmarks/attributions.py [--images 32] [--repeats 3] [--networks ...] [--parts ...] [--cases ...] [--json]
python benchmarks/attributions.py --networks vit_tiny swin_tiny --parts cost attention --cases saliency grad-cam

Both sides explain the same images on the same threads, by turns, in one process; ratios are peer / deepscope of the
medians, so above 1 deepscope is faster or smaller. Peers get the batch that they are given in their examples: all
images at once for a single pass, one noisy copy of every image at once for SmoothGrad.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import timm
import torch
import torchvision
from captum import attr as captum
from pytorch_grad_cam import GradCAM as PytorchGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torchcam.methods import GradCAM as TorchCAM

from deepscope.attributions import Attribution, GradCAM, IntegratedGradients, Saliency, SmoothGrad
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import UnsupportedError
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.feature_map import feature_layer
from deepscope.models.layouts import layout
from deepscope.session import Session
from environment import environment

SAMPLES = 4
GRADIENTS = "gradients"
Reported = Iterator[dict[str, float]]


class FromPixels(nn.Module):
    """A model as the peers want it; its parameters ask for gradients, as those of a freshly loaded network do."""

    def __init__(self, model: VisionModel, *, trainable: bool) -> None:
        super().__init__()
        self.model, self.network = model, model.network
        self.network.requires_grad_(trainable)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C) logits."""
        return self.model(pixels)


@dataclass(frozen=True)
class Case:
    """One method of ours and a peer's, as functions without arguments."""

    name: str
    ours: Callable[[], object]
    peer: Callable[[], object]


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "resnet18": torchvision.models.resnet18,
    "vit_tiny": partial(timm.create_model, "vit_tiny_patch16_224"),
    "swin_tiny": partial(timm.create_model, "swin_tiny_patch4_window7_224"),
}
"""Networks whose weights nobody bundles; random ones take the same time."""


def network(name: str, session: Session) -> VisionModel:
    """A model with its weights, or with random ones."""
    if name in RANDOM:
        torch.manual_seed(0)
        return VisionModel(name, RANDOM[name](), Preprocessing(), tuple(map(str, range(1000))))
    return load_model(name, session)


def cases(model: VisionModel, pixels: Tensor, target: Tensor) -> list[Case]:
    """What is compared. Parameters are frozen before ours and thawed before the peers'."""
    labels = target.tolist()
    name = feature_layer(model, pixels)
    layer, places = model.network.get_submodule(name), layout(model, name, pixels)
    assert places is not None
    channels_first = places.grid is not None and places.channels == 1

    def ours(method: Attribution) -> Callable[[], object]:
        def run() -> object:
            model.network.requires_grad_(False)
            return method(model, pixels, target, rng=torch.Generator().manual_seed(0))

        return run

    def captum_saliency() -> object:
        return captum.Saliency(FromPixels(model, trainable=True)).attribute(
            pixels.clone().requires_grad_(), target=target
        )

    def captum_smoothgrad() -> object:
        tunnel = captum.NoiseTunnel(captum.Saliency(FromPixels(model, trainable=True)))
        return tunnel.attribute(
            pixels.clone().requires_grad_(), target=target, nt_samples=SAMPLES, nt_samples_batch_size=1, stdevs=0.15
        )

    def pytorch_grad_cam() -> object:
        wanted: list[Any] = [ClassifierOutputTarget(label) for label in labels]
        reshape = None if channels_first else places.maps  # it does not know where a transformer has its channels
        with PytorchGradCAM(FromPixels(model, trainable=True), [layer], reshape_transform=reshape) as cam:
            return cam(pixels, wanted)

    def torchcam() -> object:
        seen = FromPixels(model, trainable=True)
        with TorchCAM(seen, layer) as cam:
            return cam(labels, seen(pixels))

    found = [
        Case("saliency/captum", ours(Saliency()), captum_saliency),
        Case("smoothgrad/captum", ours(SmoothGrad(samples=SAMPLES)), captum_smoothgrad),
        Case("grad-cam/pytorch-grad-cam", ours(GradCAM()), pytorch_grad_cam),
    ]
    if channels_first:  # torchcam takes no other layout
        found.append(Case("grad-cam/torchcam", ours(GradCAM()), torchcam))
    return found


def clock(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, which other programs on the machine take little of, and of wall time of one call."""
    processor, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - processor, time.perf_counter() - wall


def peak(run: Callable[[], object]) -> float:
    """MiB by which resident memory grows at most during one call, as Linux keeps count."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left behind goes back
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark falls to what is resident now
    before = psutil.Process().memory_info().rss / 2**20
    run()
    status = Path("/proc/self/status").read_text()
    return max(0.0, int(status.partition("VmHWM:")[2].split()[0]) / 2**10 - before)


def _product(x: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Of a linear layer on a weight that is laid out for it, which PyTorch's registry does not know."""
    return 2 * out_val.numel() * x.shape[-1]


COUNTED = {**flop_registry, torch.ops.mkldnn._linear_pointwise: _product}


class Operations(TorchDispatchMode):
    """Counts floating-point operations of whatever runs inside it."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in COUNTED:
            self.total += COUNTED[func.overloadpacket](*args, **(kwargs or {}), out_val=output)
        return output


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    with Operations() as counter:
        run()
    return counter.total


def compare(model: VisionModel, pixels: Tensor, target: Tensor, chosen: Sequence[str], repeats: int) -> Reported:
    """The ratios of each case; the first call of each side warms it up and shows its memory.

    Operations grow with the number of images alone, and are counted on two of them.
    """
    few = {case.name: case for case in cases(model, pixels[:2], target[:2])}
    for case in cases(model, pixels, target):
        if not case.name.startswith(tuple(chosen)):
            continue
        memory = peak(case.ours), peak(case.peer)
        times = np.array([(*clock(case.ours), *clock(case.peer)) for _ in range(repeats)])
        name, counted = f"{case.name}/{model.name}", few[case.name]
        mine_cpu, mine_wall, their_cpu, their_wall = np.median(times, axis=0)
        yield {
            f"seconds/{name}": mine_cpu,
            f"ratio/time/{name}": their_cpu / mine_cpu,
            f"ratio/wall/{name}": their_wall / mine_wall,
            f"ratio/operations/{name}": operations(counted.peer) / operations(counted.ours),
            f"MiB/{name}": memory[0],
            f"ratio/memory/{name}": memory[1] / max(1.0, memory[0]),
        }


def attention(model: VisionModel, pixels: Tensor, target: Tensor, repeats: int) -> Reported:
    """Processor time of each method for transformers, in saliency passes (medians, by turns)."""
    model.network.requires_grad_(False)
    methods = [method for method in map(Attribution.named, Attribution.members()) if method.of_transformers]
    usable: list[Attribution] = [Saliency()]
    for method in methods:
        with suppress(UnsupportedError):
            method(model, pixels, target)  # which also warms it up
            usable.append(method)
    usable[0](model, pixels, target)
    times = [[clock(partial(method, model, pixels, target))[0] for method in usable] for _ in range(repeats)]
    passes = np.median(np.array(times), axis=0)
    for method, seconds in zip(usable[1:], passes[1:]):
        yield {f"passes/{method.name}/{model.name}": float(seconds / passes[0])}


def gradients_needed(model: VisionModel, pixels: Tensor, target: Tensor, error: float = 0.05) -> dict[str, float]:
    """Gradient evaluations per image until the map is within `error` of the integral, ours and captum's.

    The integral is captum's with 512 steps. Captum takes one number of Gauss-Legendre steps for all images; it is
    given, image by image, the first of a growing row of numbers that is good enough, and none of what it spent on
    smaller numbers is counted.
    """
    model.network.requires_grad_(False)
    peer = captum.IntegratedGradients(FromPixels(model, trainable=False))
    mine, theirs, reached = [], [], []
    for index in range(len(pixels)):
        image, label = pixels[index : index + 1], target[index : index + 1]

        def shares(steps: int, image: Tensor = image, label: Tensor = label) -> Tensor:
            return peer.attribute(image, target=label, n_steps=steps, internal_batch_size=8)

        integral = shares(512)
        found, count = _counted(model, image, label, error)
        mine.append(count)
        reached.append(float((found - integral).norm() / integral.norm()))
        for steps in (8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256):
            if (shares(steps) - integral).norm() <= error * integral.norm():
                break
        theirs.append(steps)
    ratio = sum(theirs) / sum(mine)
    return {
        f"{GRADIENTS}/deepscope/{model.name}": float(np.mean(mine)),
        f"{GRADIENTS}/captum/{model.name}": float(np.mean(theirs)),
        f"ratio/{GRADIENTS}/integrated-gradients/captum/{model.name}": ratio,
        f"distance/integrated-gradients/largest/{model.name}": max(reached),
    }


def _counted(model: VisionModel, image: Tensor, label: Tensor, error: float) -> tuple[Tensor, int]:
    """Our map, and the images that pass forwards meanwhile."""
    seen = [0]
    first = next(module for module in model.network.modules() if isinstance(module, nn.Conv2d))
    handle = first.register_forward_hook(lambda *run: seen.append(len(run[2])))
    found = IntegratedGradients(error=error)(model, image, label, rng=torch.Generator())
    handle.remove()
    return found, sum(seen)


def growth(model: VisionModel, pixels: Tensor, target: Tensor, calls: int) -> float:
    """MiB by which resident memory grows from the first tenth of the calls to the last."""
    model.network.requires_grad_(False)
    process, method = psutil.Process(), GradCAM()
    sizes = []
    for _ in range(calls):
        method(model, pixels[:1], target[:1], rng=torch.Generator())
        sizes.append(process.memory_info().rss / 2**20)
    return statistics.median(sizes[-calls // 10 :]) - statistics.median(sizes[calls // 20 : calls // 10])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_0", "resnet18", "efficientnet_lite0"])
    parser.add_argument("--cases", nargs="+", default=["saliency", "smoothgrad", "grad-cam"], help="how names begin")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("cost", "gradients", "growth", "attention"),
        default=["cost", "gradients", "growth"],
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.disable()
    session = Session.open(quiet=True)
    folder = session.home / "data" / "imagenet-sample"
    files: list[Path] = sorted(folder.iterdir()) if folder.is_dir() else list(bundled_photographs().paths)
    files = [files[index % len(files)] for index in range(arguments.images)]
    found: dict[str, float] = {}

    def report(new: dict[str, float]) -> None:
        found.update(new)
        if not arguments.json:  # as they come: a long run that is stopped has said something
            print("\n".join(f"{key:64} {value:10.3f}" for key, value in new.items()), flush=True)

    report({"threads": torch.get_num_threads(), "images": arguments.images})
    for name in arguments.networks:
        model = network(name, session)
        pixels = model.read(files)
        with torch.no_grad():
            target = torch.cat([model(part).argmax(1) for part in pixels.split(8)])
        if "cost" in arguments.parts:
            for found_now in compare(model, pixels, target, arguments.cases, arguments.repeats):
                report(found_now)
        if "attention" in arguments.parts:
            for found_now in attention(model, pixels, target, arguments.repeats):
                report(found_now)
        if "gradients" in arguments.parts and name not in RANDOM:  # what a random network needs says nothing
            report(gradients_needed(model, pixels, target))
        if "growth" in arguments.parts:
            report({f"growth/MiB/{name}": growth(model, pixels, target, arguments.calls)})
    report({"peak/MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    if arguments.json:
        print(json.dumps({**found, "environment": environment(session)}, indent=2))


if __name__ == "__main__":
    main()
