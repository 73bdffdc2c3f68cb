"""One epoch of DANN against a plain PyTorch loop of the same networks.

python benchmarks/adaptation.py [--images 25600] [--repeats 3] [--workers 0] [--precision auto] [--json]

The plain loop is the one that tutorials show: two DataLoaders, one transform an image, float32, one forward pass a
domain. "paper" is the network and optimiser of Ganin and Lempitsky; "modern" adds batch normalisation of each domain,
dropout, augmentation and Adam. Both sides run on the same threads, by turns, in one process; ratios are plain /
deepscope of the medians, so above 1 deepscope is faster. The default is long enough for `--precision auto` to measure
and choose.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from deepscope.adaptation import PAPER, Dann, Labelled, Recipe
from deepscope.adaptation.step import AdaptationStep, DomainBatches
from deepscope.data import DigitSplit, first_here, load_dataset
from deepscope.session import Session
from deepscope.training import fit
from environment import environment, ratio


class Reversal(torch.autograd.Function):
    """Gradient reversal, as in the tutorials."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, factor: float) -> Tensor:
        """The inputs."""
        ctx.factor = factor
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradients, reversed."""
        return -ctx.factor * gradients[0], None


class PlainNetwork(nn.Module):
    """The network of Ganin and Lempitsky; with `rich`, batch normalisation and dropout."""

    def __init__(self, rich: bool) -> None:
        super().__init__()

        def extras(*modules: nn.Module) -> Sequence[nn.Module]:
            return modules if rich else ()

        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 5),
            *extras(nn.BatchNorm2d(32)),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 5),
            *extras(nn.BatchNorm2d(48)),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            *extras(nn.Dropout(0.1)),
        )
        layers: list[nn.Module] = []
        for width in (768, 100):
            layers += [nn.Linear(width, 100), *extras(nn.BatchNorm1d(100)), nn.ReLU(), *extras(nn.Dropout(0.1))]
        self.label = nn.Sequential(*layers, nn.Linear(100, 10))
        self.domain = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 1))


class Images(Dataset[tuple[Tensor, int]]):
    """One transform an image."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[[Any], Tensor]) -> None:
        self.images, self.labels, self.transform = images.permute(0, 2, 3, 1).numpy(), labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[index]
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("RGB")
        return self.transform(image), int(self.labels[index])


def distort(pixels: Tensor) -> Tensor:
    """Gain, offset and noise of one image."""
    gain, offset = 1 + 0.4 * (2 * torch.rand(3, 1, 1) - 1), 0.2 * (2 * torch.rand(3, 1, 1) - 1)
    return pixels * gain + offset + 0.1 * torch.rand(1) * torch.randn_like(pixels)


def plain_epoch(rich: bool, source: Labelled, target: Tensor, batch_size: int, workers: int) -> None:
    """An epoch of the plain loop."""
    colour = ([0.3] * 3, [1.0] * 3)
    shift = [transforms.RandomAffine(0, (2 / 28, 2 / 28)), transforms.RandomInvert(0.5)] if rich else []
    jitter = [transforms.Lambda(distort)] if rich else []
    transform = transforms.Compose([*shift, transforms.ToTensor(), *jitter, transforms.Normalize(*colour)])
    loaders = [
        DataLoader(Images(images, labels, transform), batch_size, shuffle=True, drop_last=True, num_workers=workers)
        for images, labels in ((source.inputs, source.labels), (target, torch.zeros(len(target))))
    ]
    network = PlainNetwork(rich)
    parameters = network.parameters()
    optimiser = torch.optim.Adam(parameters, 2e-3) if rich else torch.optim.SGD(parameters, 0.01, momentum=0.9)
    for (pixels, labels), (other, _) in zip(*loaders):
        features = [network.features(pixels), network.features(other)]
        loss = functional.cross_entropy(network.label(features[0]), labels)
        for side, part in enumerate(features):
            logits = network.domain(Reversal.apply(part, 1.0)).squeeze(1)
            loss = loss + functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, side)) / 2
        if rich:
            network.label(features[1])  # the statistics of the target
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def our_epoch(recipe: Recipe, source: Labelled, target: Tensor, session: Session) -> None:
    """An epoch of deepscope's."""
    method = Dann()
    network = recipe.digit_network(method)
    network.calibrate(source.inputs, target)
    batches = DomainBatches(source, target, recipe.batch_size, session, uses_target=True)
    fit(AdaptationStep(network, method, recipe), batches, steps=batches.steps, session=session)


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=25600, help="of each domain")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoaders")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = Session.open(device="cpu", precision=arguments.precision, quiet=True)
    name = first_here(["mnist-m", "mnist-m-extract"], session)
    digits, others = (
        load_dataset(text, session, DigitSplit).train for text in (name.replace("mnist-m", "mnist"), name)
    )
    source = Labelled(
        torch.tensor(digits.images[: arguments.images, None]), torch.tensor(digits.labels[: arguments.images])
    )
    target = torch.tensor(others.images[: arguments.images])
    ratios = {}
    for recipe_name, recipe in (("paper", PAPER), ("modern", Recipe())):
        epochs = {
            "plain": partial(plain_epoch, recipe is not PAPER, source, target, recipe.batch_size, arguments.workers),
            "deepscope": partial(our_epoch, recipe, source, target, session),
        }
        times: dict[str, list[float]] = {side: [] for side in epochs}
        for repeat in range(arguments.repeats + 1):
            for side, epoch in epochs.items():
                start = time.perf_counter()
                epoch()
                if repeat:  # the first of each is a warm-up
                    times[side].append(time.perf_counter() - start)
        plain, ours = (statistics.median(seconds) for seconds in times.values())
        ratios |= ratio(f"ratio/adaptation/{recipe_name}/epoch", times["plain"], times["deepscope"])
        if not arguments.json:
            print(f"{recipe_name}: plain {plain:.2f} s, deepscope {ours:.2f} s, ratio {plain / ours:.2f}")
    if arguments.json:
        print(json.dumps({**ratios, "environment": environment(session)}))


if __name__ == "__main__":
    main()
