"""The worst case over attacks beside torchattacks' AutoAttack, and HopSkipJump beside foolbox's, on handwritten digits.

    python benchmarks/worst_case.py [--norms linf l2 l1] [--images 200] [--steps 100] [--targets 9] [--json]

A small network is trained on the bundled MNIST extract. Both sides attack the same test digits, which it gets right, at
the same radius, with rounding off; a verdict is whether any attack of the sequence succeeded. In L1 the peer is adv-lib
(`pip install --no-deps adv-lib`), which has no Square: its sequence is AutoPGD, targeted AutoPGD and FAB.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.attacks import HopSkipJump, Strength, Untargeted, distance
from deepscope.attacks.auto import BallNorm, standard
from deepscope.data.mnist import MnistExtract
from deepscope.models import Preprocessing, VisionModel
from environment import environment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchattacks  # pyright: ignore[reportMissingImports]
    from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack
    from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
    from foolbox.models.pytorch import PyTorchModel

RADII: dict[BallNorm, float] = {"linf": 0.06, "l2": 1.0, "l1": 12.0}
QUERIES = 1000


def digits(part: Any) -> tuple[Tensor, Tensor]:
    """(N, 1, 28, 28) pixels in [0, 1], on the grid of 8-bit images, and labels."""
    return torch.from_numpy(part.images).float().div(255).view(-1, 1, 28, 28), torch.from_numpy(part.labels).long()


class Grey(nn.Module):
    """A network for grey images, on RGB pixels: it sees the red channel alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits of (N, 3, 28, 28)."""
        return self.layers(images.mean(1, keepdim=True))


def trained(epochs: int = 8) -> tuple[VisionModel, Tensor, Tensor]:
    """The network, and the test digits."""
    torch.manual_seed(0)
    data, network = MnistExtract.load(Path()), Grey()
    images, labels = digits(data.train)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = functional.cross_entropy(network(images[rows].expand(-1, 3, -1, -1)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    bare = Preprocessing(resize=28, crop=28, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = VisionModel("digits", network, bare, tuple(map(str, range(10))))
    model.outputs.kind = "logits"
    images, labels = digits(data.test)
    return model, images.expand(-1, 3, -1, -1).contiguous(), labels


def ours(model: VisionModel, pixels: Tensor, labels: Tensor, norm: BallNorm, strength: Strength) -> dict[str, Any]:
    """Which digits are misled, by stage, with rounding off."""
    left, stages, radius = torch.ones(len(pixels), dtype=torch.bool), {}, RADII[norm]
    for name, attack in standard(norm, radius, strength).items():
        rows = left.nonzero()[:, 0]
        moved = replace(attack, levels=0)(model, pixels[rows], Untargeted(labels[rows]))  # type: ignore[type-var]
        far = distance(moved, pixels[rows], norm)
        with torch.no_grad():
            won = (model(moved).argmax(1) != labels[rows]) & (far <= radius * (1 + 1e-4))
        left[rows[won]] = False
        stages[name] = int(won.sum())
    return {"misled": ~left, "stages": stages}


def theirs(model: VisionModel, pixels: Tensor, labels: Tensor, norm: BallNorm, strength: Strength) -> dict[str, Any]:
    """The same with the peer."""
    left, stages, radius = torch.ones(len(pixels), dtype=torch.bool), {}, RADII[norm]
    for stage, attack in peers(model, norm, strength).items():
        rows = left.nonzero()[:, 0]
        moved = attack(pixels[rows], labels[rows]).detach()
        far = distance(moved, pixels[rows], norm)
        with torch.no_grad():
            won = (model(moved).argmax(1) != labels[rows]) & (far <= radius * (1 + 1e-4))
        left[rows[won]] = False
        stages[stage] = int(won.sum())
    return {"misled": ~left, "stages": stages}


def peers(model: VisionModel, norm: BallNorm, strength: Strength) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The peer's attacks, in order: in L1, where torchattacks' FAB stops with an UnboundLocalError, adv-lib's."""
    network, steps, radius, name = model.network.eval(), strength.steps, RADII[norm], norm.capitalize()
    if norm == "l1":
        sys.modules.setdefault("visdom", ModuleType("visdom"))  # adv-lib imports a logger that draws with it
        from adv_lib.attacks import apgd, apgd_targeted, fab  # pyright: ignore[reportMissingImports]

        return {
            "auto-pgd": lambda x, y: apgd(network, x, y, radius, 1, loss_function="ce", n_iter=steps),
            "auto-pgd-targeted": lambda x, y: apgd_targeted(
                network, x, y, radius, 1, n_iter=steps, num_targets=strength.targets, use_large_reps=True
            ),
            "fab": lambda x, y: fab(network, x, y, 1, n_iter=steps, restarts=strength.targets, targeted_restarts=True),
        }
    return {
        "auto-pgd": torchattacks.APGD(network, norm=name, eps=radius, steps=steps),
        "auto-pgd-targeted": torchattacks.APGDT(network, norm=name, eps=radius, steps=steps, n_classes=10),
        "fab": torchattacks.FAB(network, norm=name, eps=radius, steps=steps, multi_targeted=True, n_classes=10),
        "square": torchattacks.Square(network, norm=name, eps=radius, n_queries=strength.queries),
    }


def agreement(norm: BallNorm, images: int, strength: Strength) -> dict[str, Any]:
    """On how many digits both sides give the same verdict."""
    model, pixels, labels = trained()
    with torch.no_grad():
        right = (model(pixels).argmax(1) == labels).nonzero()[:images, 0]
    pixels, labels = pixels[right], labels[right]
    found: dict[str, Any] = {"norm": norm, "radius": RADII[norm], "images": len(right)}
    for name, side in (("ours", ours), ("peer", theirs)):
        start = time.process_time()
        found[name] = side(model, pixels, labels, norm, strength)
        found[name]["seconds"] = time.process_time() - start
    mine, peer = (found[name].pop("misled") for name in ("ours", "peer"))
    same, alone, missed = (int(x.sum()) for x in (mine == peer, mine & ~peer, peer & ~mine))
    return {**found, "same": same, "ours alone": alone, "peer alone": missed, "misled": int(mine.sum())}


def decisions(images: int) -> dict[str, float]:
    """The median L2 of HopSkipJump at equal queries."""
    model, pixels, labels = trained()
    with torch.no_grad():
        right = (model(pixels).argmax(1) == labels).nonzero()[:images, 0]
    pixels, labels = pixels[right], labels[right]
    moved = HopSkipJump(queries=QUERIES, levels=0)(model, pixels, Untargeted(labels))
    with torch.no_grad():
        reached = model(moved).argmax(1) != labels  # where no noise image of ours succeeds, neither side is compared
    mine = distance(moved, pixels, "l2")[reached].median().item()
    torch.manual_seed(0)
    counted = 0

    def count(_: nn.Module, given: tuple[Tensor]) -> None:
        nonlocal counted
        counted += len(given[0])

    handle = model.network.register_forward_pre_hook(count)
    # the iterations whose queries per image come nearest to ours
    start = LinearSearchBlendedUniformNoiseAttack(directions=1000, steps=20)
    attack = HopSkipJumpAttack(init_attack=start, steps=5, initial_gradient_eval_steps=100)
    peer = PyTorchModel(model.network, bounds=(0, 1), device="cpu")
    _, moved, _ = attack(peer, pixels[reached], labels[reached], epsilons=None)
    handle.remove()
    median = distance(moved, pixels[reached], "l2").median().item()
    images = int(reached.sum())
    return {
        "images": images,
        "l2/ours": mine,
        "l2/foolbox": median,
        "queries/ours": QUERIES,
        "queries/foolbox": counted / images,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--norms", nargs="*", default=["linf", "l2"], choices=list(RADII))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=Strength.steps)
    parser.add_argument("--targets", type=int, default=Strength.targets)
    parser.add_argument("--queries", type=int, default=Strength.queries)
    parser.add_argument("--no-decisions", action="store_true", help="leave out HopSkipJump")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    strength = Strength(given.steps, given.targets, given.queries)
    found: dict[str, Any] = {"environment": environment(), "strength": vars(strength)}
    for norm in given.norms:
        found[norm] = agreement(norm, given.images, strength)
        print(json.dumps(found[norm]), flush=True)
    if not given.no_decisions:
        found["hop-skip-jump"] = decisions(min(given.images, 50))
        print(json.dumps(found["hop-skip-jump"]))
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
