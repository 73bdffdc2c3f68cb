"""Attacks on photographs: universal changes and patches on held-out ones, and HopSkipJump beside foolbox's.

    python benchmarks/attacks_photographs.py [--only universal patch brown hop-skip-jump] [--learn 100] [--held-out 100]

The network is SqueezeNet 1.0 with its ImageNet weights. Universal changes and patches are learnt from photographs drawn
from `data/15scene/train` and evaluated on others from `data/15scene/test`, whose predictions count as the truth: as in
Moosavi-Dezfooli et al. 2017, an image is fooled where its prediction changes. Without a change, the 8-bit image keeps
its prediction. Times are processor seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.attacks import HopSkipJump, Patch, Shared, Subjects, Targeted, Universal, Untargeted, distance
from deepscope.attacks.levels import to_pixels
from deepscope.attacks.outcome import run_attack
from deepscope.attacks.subjects import read_subjects
from deepscope.models import VisionModel, load_model
from deepscope.session import Session
from deepscope.statistics import proportion
from environment import environment

QUERIES = 1000
RADII = (4 / 255, 10 / 255)
TARGET = "toaster"
AREAS = (0.02, 0.05, 0.1)


def scenes(model: VisionModel, session: Session, part: str, count: int) -> Subjects:
    """Photographs drawn from one part of 15-Scene."""
    files = sorted((session.home / "data" / "15scene" / part).glob("*/*"))
    return read_subjects(model, random.Random(0).sample(files, count), session)


def shared(attack: Shared, model: VisionModel, session: Session, given: argparse.Namespace) -> dict[str, float]:
    """The share of held-out photographs on which what was learnt from the others succeeds."""
    learn, held = (scenes(model, session, *one) for one in (("train", given.learn), ("test", given.held_out)))
    if isinstance(attack, Patch):
        aim = model.category(TARGET)
        learn, held = (replace(one, criterion=Targeted(torch.full_like(one.labels, aim))) for one in (learn, held))
    start = time.process_time()
    outcome = run_attack(attack, model, replace(held, learn_from=learn), session)
    share = proportion(sum(outcome.successes()), len(held))
    seconds = time.process_time() - start
    found = {**share.metrics("fooled"), "held out": len(held), "seconds": seconds}
    print(json.dumps({str(attack): found}), flush=True)  # a long run that is stopped has said something
    return found


def universal(model: VisionModel, session: Session, given: argparse.Namespace) -> dict[str, Any]:
    """At the default radius of attacks and at the published one."""
    return {f"{radius * 255:g}/255": shared(Universal(radius), model, session, given) for radius in RADII}


def patch(model: VisionModel, session: Session, given: argparse.Namespace) -> dict[str, Any]:
    """A patch of 5 % of the image that says toaster, at random places, sizes and rotations."""
    return shared(Patch(), model, session, given)


def brown(model: VisionModel, session: Session, given: argparse.Namespace) -> dict[str, Any]:
    """Patches over their share of the image, at random places and rotations of up to 22.5 degrees.

    As in the code of Brown et al. 2017 (arXiv:1712.09665), at one size at a time; ours also varies by 10 %.
    """
    return {f"{area:g}": shared(Patch(area=area, rotation=22.5), model, session, given) for area in given.areas}


def decisions(model: VisionModel, session: Session, given: argparse.Namespace) -> dict[str, Any]:
    """The median L2 of HopSkipJump at equal queries, between grey levels as the peer looks for it."""
    from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack
    from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
    from foolbox.models.pytorch import PyTorchModel

    files = sorted(Path(session.home / "data" / "imagenet-sample").glob("*"))
    found = read_subjects(model, files[: 4 * given.images], session)
    pixels, labels = to_pixels(found.levels, model)[: given.images], found.labels[: given.images]
    files_of = [path.name for path in found.paths]
    lengths: dict[str, list[float]] = {"ours": [], "foolbox": []}
    counted = 0

    def count(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal counted
        counted += len(inputs[0])

    settings = model.preprocessing
    normalise = {"mean": settings.mean, "std": settings.std, "axis": -3}
    start = LinearSearchBlendedUniformNoiseAttack(directions=1000, steps=20)
    # the iterations whose queries per image come nearest to ours
    attack = HopSkipJumpAttack(init_attack=start, steps=5, initial_gradient_eval_steps=100)
    peer = PyTorchModel(model.network, bounds=(0, 1), preprocessing=normalise, device="cpu")
    torch.manual_seed(0)
    for row in range(given.first, len(pixels)):
        one, label = pixels[row : row + 1], labels[row : row + 1]
        moved = HopSkipJump(queries=QUERIES, levels=0)(model, one, Untargeted(label))
        with torch.no_grad():
            if model(moved).argmax(1) == label:
                continue  # no noise image misleads: neither side is compared
        lengths["ours"].append(distance(moved, one, "l2").item())
        handle = model.network.register_forward_pre_hook(count)
        _, moved, _ = attack(peer, one.contiguous(), label, epsilons=None)
        handle.remove()
        lengths["foolbox"].append(distance(moved, one, "l2").item())
        print(row, files_of[row], lengths["ours"][-1], lengths["foolbox"][-1], counted, flush=True)
    images = len(lengths["ours"])
    medians = {f"l2/{name}": torch.tensor(values).median().item() for name, values in lengths.items()}
    return {**medians, "images": images, "queries/ours": QUERIES, "queries/foolbox": counted / max(1, images)}


PARTS: dict[str, Callable[[VisionModel, Session, argparse.Namespace], dict[str, Any]]] = {
    "universal": universal,
    "patch": patch,
    "brown": brown,
    "hop-skip-jump": decisions,
}


def main() -> None:
    """Run the parts asked for and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--learn", type=int, default=100)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--images", type=int, default=16, help="for HopSkipJump")
    parser.add_argument("--first", type=int, default=0, help="photographs that HopSkipJump leaves out at the beginning")
    parser.add_argument("--areas", type=float, nargs="+", default=AREAS, help="shares of the image, for `brown`")
    given = parser.parse_args()
    torch.set_num_threads(1)
    session = Session.open(device="cpu", quiet=True)
    model = load_model("squeezenet1_0", session)
    print(json.dumps({"environment": environment()}))
    for name in given.only:
        print(json.dumps({name: PARTS[name](model, session, given)}), flush=True)


if __name__ == "__main__":
    main()
