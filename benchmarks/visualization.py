"""Class images: deepscope's batched ascent against one image at a time, at equal iterations.

The common loop is what tutorials write: one image, float32, `backward()` through a network whose parameters ask for
gradients too; it makes images by the source's preset. torch-lucent, where it is installed, is called as its own
examples call it: one image of 224 pixels, its standard transforms, Adam. It asks for a kornia of 2020, so it installs
with `pip install --no-deps torch-lucent==0.1.8 kornia==0.4.1 decorator` beside IPython, not with its own requirements.

Prints processor seconds a class, which a busy machine disturbs little, and what another network recognises; `--json`
prints ratios, larger is better for deepscope.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from deepscope.ascent import Streams
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.session import Session
from deepscope.visualization import ClassObjective, Recipe, climb, final, preset
from deepscope.visualization.quality import recognise, translate
from deepscope.visualization.regularisers import gaussian_blur
from environment import environment, ratio

_CLASSES = ("wombat", "bee eater", "snail", "hay", "gondola", "pug", "daisy", "castle")


def common_loop(model: VisionModel, network: nn.Module, target: int, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """(1, 3, H, W) pixels, made as most implementations do."""
    height, width = model.preprocessing.size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (Preprocessing.mean, Preprocessing.std))
    black, white = -mean / std, (1 - mean) / std
    image = torch.randn(1, 3, height, width, generator=rng).requires_grad_()
    for step in range(recipe.iterations or 0):
        down, right = torch.randint((recipe.jitter or 0) + 1, (2,), generator=rng).tolist()
        image.data = image.data.roll((down, right), (2, 3))
        score = network(model.normalise(image * std + mean))[0, target] - (recipe.l2 or 0) * image.norm() ** 2
        score.backward()
        assert image.grad is not None
        image.data += (recipe.learning_rate or 0) * image.grad / image.grad.norm()
        image.grad.zero_()
        image.data = image.data.roll((-down, -right), (2, 3)).clamp(black, white)
        if recipe.blur_every and step % recipe.blur_every == 0:
            image.data = gaussian_blur(image.data, recipe.blur_sigma or 0)
    return image.detach() * std + mean


def lucent(model: VisionModel, network: nn.Module, target: int, iterations: int) -> Tensor | None:
    """(1, 3, 224, 224) pixels by torch-lucent; None where it is not installed."""
    try:
        from lucent.optvis import param, render  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None

    class Normalised(nn.Module):
        """torch-lucent normalises as torchvision does."""

        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network)  # its hooks are never taken off

        def forward(self, images: Tensor) -> Tensor:
            mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (Preprocessing.mean, Preprocessing.std))
            return self.network(model.normalise(images * std + mean))

    images = render.render_vis(
        Normalised().eval(),
        lambda layer: -layer("labels")[:, target].mean(),
        lambda: param.image(224),
        thresholds=(iterations,),
        progress=False,
        show_image=False,
    )
    return torch.from_numpy(images[-1]).permute(0, 3, 1, 2).float()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="squeezenet1_0")
    parser.add_argument("--evaluator", default="efficientnet_lite0")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = Session.open(quiet=True)
    model, evaluator = load_model(arguments.model, session), load_model(arguments.evaluator, session)
    network = copy.deepcopy(model.network).requires_grad_()
    targets = torch.tensor([model.category(name) for name in _CLASSES])
    wanted = torch.tensor([translate(int(target), model, evaluator) for target in targets])
    recipe, views = (replace(preset(name), iterations=arguments.iterations) for name in ("report", "default"))

    def common() -> Tensor:
        rngs = [session.rng("common", name) for name in _CLASSES]
        images = [common_loop(model, network, int(target), recipe, rng) for target, rng in zip(targets, rngs)]
        return torch.cat(images)

    def batched(recipe: Recipe, *, bfloat16: bool) -> Tensor:
        streams = Streams(tuple(session.rng("batched", name) for name in _CLASSES))
        return final(climb(ClassObjective.of(model, targets, recipe), recipe, streams, bfloat16=bfloat16)).pixels

    def by_lucent() -> Tensor:
        images = [lucent(model, network, int(target), arguments.iterations) for target in targets]
        return torch.cat([image for image in images if image is not None])

    contestants: dict[str, Callable[[], Tensor]] = {
        "common loop": common,
        "batch of 8, float32": lambda: batched(recipe, bfloat16=False),
        "batch of 8, bfloat16": lambda: batched(recipe, bfloat16=True),
        "default preset, bfloat16": lambda: batched(views, bfloat16=True),
    }
    if importlib.util.find_spec("lucent"):
        contestants["torch-lucent"] = by_lucent
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    pixels: dict[str, Tensor] = {}
    for turn in range(arguments.rounds + 1):
        for name, make in contestants.items():
            began = time.process_time()
            pixels[name] = make()
            if turn:  # the first round warms up
                seconds[name].append((time.process_time() - began) / len(_CLASSES))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    default, common_seconds = seconds["default preset, bfloat16"], seconds["common loop"]
    ratios = {
        **ratio("ratio/class-images/common-loop/float32", common_seconds, seconds["batch of 8, float32"]),
        **ratio("ratio/class-images/common-loop/bfloat16", common_seconds, seconds["batch of 8, bfloat16"]),
        **ratio("ratio/class-images/common-loop/default", common_seconds, default),
    }
    if "torch-lucent" in seconds:
        ratios |= ratio("ratio/torch-lucent/default", seconds["torch-lucent"], default)
    whole = medians["default preset, bfloat16"] / arguments.iterations * preset("default").iterations
    if arguments.json:
        print(json.dumps({**ratios, "seconds-per-class/default": whole, "environment": environment(session)}))
        return
    for name, median in medians.items():
        own, other = recognise(model, pixels[name], targets), recognise(evaluator, pixels[name], wanted)
        seen = [f"{int((one.ranks < 1).sum())} of {len(_CLASSES)} by {one.evaluator}" for one in (own, other)]
        print(f"{name:26} {median:7.2f} processor seconds a class   recognised: {', '.join(seen)}")
    print(f"{arguments.iterations} iterations; all those of the default preset: {whole:.2f} s a class; {ratios}")


if __name__ == "__main__":
    main()
