"""Class images: deepscope's batched ascent against the common loop over one image at a time, at equal iterations.

The common loop is what tutorials write: one image, float32, `backward()` through a network whose parameters ask for
gradients too. Both make images by the source's preset. Prints processor seconds a class, which a busy machine disturbs
little, and what another network recognises; `--json` prints ratios, larger is better for deepscope.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepscope.ascent import Streams
from deepscope.models import VisionModel, load_model
from deepscope.session import Session
from deepscope.visualization import ClassObjective, Recipe, climb, final, preset
from deepscope.visualization.quality import assess, translate
from deepscope.visualization.regularisers import gaussian_blur

_CLASSES = ("wombat", "bee eater", "snail", "hay", "gondola", "pug", "daisy", "castle")


def common_loop(model: VisionModel, network: nn.Module, target: int, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """(1, 3, H, W) pixels, made as most implementations do."""
    height, width = model.preprocessing.size
    black, white = (model.normalise(torch.full((1, 3, 1, 1), value)) for value in (0.0, 1.0))
    image = torch.randn(1, 3, height, width, generator=rng).requires_grad_()
    for step in range(recipe.iterations or 0):
        down, right = torch.randint((recipe.jitter or 0) + 1, (2,), generator=rng).tolist()
        image.data = image.data.roll((down, right), (2, 3))
        score = network(image)[0, target] - (recipe.l2 or 0) * image.norm() ** 2
        score.backward()
        assert image.grad is not None
        image.data += (recipe.learning_rate or 0) * image.grad / image.grad.norm()
        image.grad.zero_()
        image.data = image.data.roll((-down, -right), (2, 3)).clamp(black, white)
        if recipe.blur_every and step % recipe.blur_every == 0:
            image.data = gaussian_blur(image.data, recipe.blur_sigma or 0)
    return (image.detach() - black) / (white - black)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="squeezenet1_0")
    parser.add_argument("--judge", default="efficientnet_lite0")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = Session.open(quiet=True)
    model, judge = load_model(arguments.model, session), load_model(arguments.judge, session)
    network = copy.deepcopy(model.network).requires_grad_()
    targets = torch.tensor([model.category(name) for name in _CLASSES])
    wanted = torch.tensor([translate(int(target), model, judge) for target in targets])
    recipe, views = (Recipe(iterations=arguments.iterations).over(preset(name)) for name in ("source", "default"))

    def common() -> Tensor:
        rngs = [session.rng("common", name) for name in _CLASSES]
        images = [common_loop(model, network, int(target), recipe, rng) for target, rng in zip(targets, rngs)]
        return torch.cat(images)

    def batched(recipe: Recipe, *, bfloat16: bool) -> Tensor:
        streams = Streams(tuple(session.rng("batched", name) for name in _CLASSES))
        return final(climb(ClassObjective(model, targets), recipe, streams, bfloat16=bfloat16)).pixels

    contestants: dict[str, Callable[[], Tensor]] = {
        "common loop": common,
        "batch of 8, float32": lambda: batched(recipe, bfloat16=False),
        "batch of 8, bfloat16": lambda: batched(recipe, bfloat16=True),
        "default preset, bfloat16": lambda: batched(views, bfloat16=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    pixels: dict[str, Tensor] = {}
    for turn in range(arguments.rounds + 1):
        for name, make in contestants.items():
            began = time.process_time()
            pixels[name] = make()
            if turn:  # the first round warms up
                seconds[name].append((time.process_time() - began) / len(_CLASSES))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        "ratio/common-loop/float32": medians["common loop"] / medians["batch of 8, float32"],
        "ratio/common-loop/bfloat16": medians["common loop"] / medians["batch of 8, bfloat16"],
        "ratio/common-loop/default": medians["common loop"] / medians["default preset, bfloat16"],
    }
    whole = medians["default preset, bfloat16"] / arguments.iterations * (preset("default").iterations or 0)
    if arguments.json:
        print(json.dumps({**ratios, "seconds-per-class/default": whole}))
        return
    for name, median in medians.items():
        own, other = assess(model, pixels[name], targets), assess(judge, pixels[name], wanted)
        seen = [f"{int((verdict.ranks < 1).sum())} of {len(_CLASSES)} by {verdict.judge}" for verdict in (own, other)]
        print(f"{name:26} {median:7.2f} processor seconds a class   recognised: {', '.join(seen)}")
    print(f"{arguments.iterations} iterations; all those of the default preset: {whole:.2f} s a class; {ratios}")


if __name__ == "__main__":
    main()
