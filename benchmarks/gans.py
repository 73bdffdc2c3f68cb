"""One epoch of DCGAN training against the loop of PyTorch's example, and against the floor of its own arithmetic.

python benchmarks/gans.py [--images 25600] [--width 64] [--repeats 3] [--workers 0] [--precision auto] [--json]

The plain loop is the example's: a DataLoader with a transform an image, float32, three backward passes that all
leave gradients in both networks. Both sides train the same networks on the same digits with the same threads, by turns,
in one process; ratios are plain / deepscope of the medians, so above 1 deepscope is faster. The floor is the counted
operations of deepscope's step at the speed of one large matrix product in the same precision; its figure is
deepscope / floor, and 1 could not be beaten. The default is long enough for `--precision auto` to measure and choose.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from deepscope.data import DigitSplit, first_here, load_dataset
from deepscope.gans import Architecture, Discriminator, GANBatches, GANStep, Generator, Labelled, Recipe, load_pictures
from deepscope.session import Session
from deepscope.training import fit
from environment import environment, ratio

BATCH, LATENT = 128, 100


def plain_generator(width: int) -> nn.Sequential:
    """The example's generator, one stage less for 32 x 32."""
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, width * 4, 4, 1, 0, bias=False),
        nn.BatchNorm2d(width * 4),
        nn.ReLU(True),
        nn.ConvTranspose2d(width * 4, width * 2, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 2),
        nn.ReLU(True),
        nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
        nn.ConvTranspose2d(width, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def plain_discriminator(width: int) -> nn.Sequential:
    """The example's discriminator, one stage less for 32 x 32."""
    return nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, width * 2, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width * 2, width * 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 4),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width * 4, 1, 4, 1, 0, bias=False),
        nn.Sigmoid(),
        nn.Flatten(0),
    )


class PlainDigits(Dataset[Tensor]):
    """Digits as the example's transforms make them."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self._transform = transforms.Compose(
            [transforms.Resize(32), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        )

    def __len__(self) -> int:
        """Digits."""
        return len(self._images)

    def __getitem__(self, row: int) -> Tensor:
        """(1, 32, 32) in [-1, 1]."""
        pixels = self._transform(Image.fromarray(self._images[row].numpy()))
        assert isinstance(pixels, Tensor)
        return pixels


def plain_epoch(images: Tensor, width: int, workers: int) -> Callable[[], None]:
    """The example's loop over (N, 28, 28) digits."""
    generator, discriminator = plain_generator(width), plain_discriminator(width)
    adam_g, adam_d = (torch.optim.Adam(n.parameters(), 5e-4, betas=(0.5, 0.999)) for n in (generator, discriminator))
    loader = DataLoader(PlainDigits(images), BATCH, shuffle=True, drop_last=True, num_workers=workers)
    loss = nn.BCELoss()

    def run() -> None:
        for real in loader:
            discriminator.zero_grad()
            loss(discriminator(real), torch.ones(BATCH)).backward()
            fake = generator(torch.randn(BATCH, LATENT, 1, 1))
            loss(discriminator(fake.detach()), torch.zeros(BATCH)).backward()
            adam_d.step()
            generator.zero_grad()
            loss(discriminator(fake), torch.ones(BATCH)).backward()
            adam_g.step()

    return run


def our_step(width: int) -> GANStep:
    """The same networks and optimiser settings."""
    architecture = Architecture(latent=LATENT, width=width)
    return GANStep(Generator(architecture, 1, 0), Discriminator(architecture, 1, 0), Recipe(batch_size=BATCH))


def our_epoch(data: Labelled, width: int, session: Session) -> Callable[[], None]:
    """deepscope's loop over the same digits."""
    step, batches = our_step(width), GANBatches(data, BATCH, 1, session)

    def run() -> None:
        fit(step, batches, steps=batches.steps, session=session)

    return run


def operations(width: int, data: Labelled) -> int:
    """Floating-point operations of one of deepscope's steps."""
    step, session = our_step(width), Session(quiet=True)
    with FlopCounterMode(display=False) as counter:
        fit(step, GANBatches(data, BATCH, 1, session), steps=1, session=session)
    return counter.get_total_flops()


def operations_a_second(precision: str, size: int = 2048) -> float:
    """Of a large matrix product, the best of five."""
    matrix = torch.randn(size, size, dtype=getattr(torch, precision))
    return 2 * size**3 / min(seconds(lambda: matrix @ matrix) for _ in range(5))


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(images: int, width: int, repeats: int, workers: int, session: Session) -> dict[str, float]:
    """Images a second, and ratios."""
    name = first_here(["mnist", "mnist-extract"], session)
    digits = torch.from_numpy(load_dataset(name, session, DigitSplit).train.images[:images].copy())
    whole = load_pictures(name, 32, session).train
    data = Labelled(whole.images[:images], whole.labels[:images])
    ours, plain = our_epoch(data, width, session), plain_epoch(digits, width, workers)
    warm = Labelled(data.images[: 2 * BATCH], data.labels[: 2 * BATCH])
    for warming in (our_epoch(warm, width, session), plain_epoch(digits[: 2 * BATCH], width, workers)):
        warming()
    times = [(seconds(ours), seconds(plain)) for _ in range(repeats)]
    mine, theirs = (statistics.median(column) for column in zip(*times))
    steps = len(data) // BATCH
    halved = session.precision == "bfloat16" or "torch-bfloat16" in session.engines
    floor = steps * operations(width, data) / operations_a_second("bfloat16" if halved else "float32")
    return {
        "images-per-second/deepscope": steps * BATCH / mine,
        "images-per-second/plain": steps * BATCH / theirs,
        **ratio("ratio/gan/epoch", *([pair[side] for pair in times] for side in (1, 0))),
        "times-of-floor/gan/epoch": mine / floor,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=25600)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = replace(Session.open(device="cpu", precision=arguments.precision), quiet=True)
    found = measure(arguments.images, arguments.width, arguments.repeats, arguments.workers, session)
    if arguments.json:
        print(json.dumps({**found, "environment": environment(session)}))
        return
    for name, value in found.items():
        print(f"{name:30} {value:10.2f}")


if __name__ == "__main__":
    main()
