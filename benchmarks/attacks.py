"""Attacks beside foolbox and torchattacks: the same network, images, radii, steps and stopping, in one process.

    python benchmarks/attacks.py [--model squeezenet1_0] [--images 8] [--repeats 3] [--only pgd smallest] [--json]

Times are processor seconds, which a busy machine disturbs little; runs alternate, and a ratio is theirs by ours of the
medians. Images are drawn from `data/imagenet-sample`, those that the network gets right. `--model resnet18` has random
weights: its predictions count as the truth, and only its times mean anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from deepscope.attacks import DDN, PGD, Attack, CarliniWagner, DeepFool, OnePixel, Subjects, Untargeted, distance
from deepscope.attacks.counting import Cost, counted
from deepscope.attacks.levels import to_levels, to_pixels
from deepscope.attacks.outcome import run_attack
from deepscope.attacks.subjects import read_subjects
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.fast_backward import FastBackward
from deepscope.session import Session
from environment import environment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import foolbox
    import torchattacks  # pyright: ignore[reportMissingImports]
    from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
    from foolbox.attacks.ddn import DDNAttack
    from foolbox.attacks.deepfool import L2DeepFoolAttack
    from foolbox.models.pytorch import PyTorchModel

RADII = tuple(level / 255 for level in range(1, 9))
STEPS = 20


@dataclass(frozen=True)
class Case:
    """A network and images that it gets right, as deepscope and the peers take them."""

    model: VisionModel
    levels: Tensor
    labels: Tensor

    @property
    def pixels(self) -> Tensor:
        """(N, 3, H, W) in [0, 1]."""
        return to_pixels(self.levels, self.model).contiguous()

    def ours(self, *, quick: bool = False) -> tuple[VisionModel, Cost]:
        """The network as `run_attack` gives it to an attack, and a count of its queries from now on."""
        return counted(self.model, self.pixels, quick=quick, fast=FastBackward.of(self.model, self.pixels))

    def foolbox(self) -> PyTorchModel:
        """The network as foolbox wants it."""
        settings = self.model.preprocessing
        return PyTorchModel(
            self.model.network, bounds=(0, 1), preprocessing={"mean": settings.mean, "std": settings.std, "axis": -3}
        )

    def torchattacks(self) -> nn.Module:
        """The network as torchattacks wants it: it takes pixels, as ours does.

        In eval mode as a whole: torchattacks puts it back into the mode that it finds, with everything inside.
        """
        return Pixels(self.model).eval()


class Pixels(nn.Module):
    """A model as a module."""

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.network, self.model = model.network, model

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C) logits of (N, 3, H, W) in [0, 1]."""
        return self.model(pixels)


def pgd(case: Case, repeats: int) -> dict[str, float]:
    """Accuracy over eight radii. Ours includes encoding, decoding and evaluating every example."""
    curve: dict[str, list[float]] = {}

    def ours() -> None:
        found = run_attack(
            PGD(steps=STEPS),
            case.model,
            Subjects(case.levels, case.labels, Untargeted(case.labels)),
            Session(quiet=True),
            radii=RADII,
            batch_size=8,
            rng=torch.Generator().manual_seed(0),
        )
        curve["ours"] = [1 - sum(v.success for v in row) / len(row) for row in found.verdicts]

    def theirs() -> None:
        attack = foolbox.attacks.LinfPGD(steps=STEPS, rel_stepsize=0.25, random_start=True)
        _, _, won = attack(case.foolbox(), case.pixels, case.labels, epsilons=list(RADII))
        curve["foolbox"] = (1 - won.float().mean(1)).tolist()

    ours_s, theirs_s = alternate(repeats, ours, theirs)
    return {
        "ratio/pgd-curve/foolbox": theirs_s / ours_s,
        "seconds/pgd-curve/ours": ours_s,
        "seconds/pgd-curve/foolbox": theirs_s,
        "pgd-curve/largest-excess-accuracy": max(a - b for a, b in zip(curve["ours"], curve["foolbox"])),
    }


def deepfool(case: Case, repeats: int) -> dict[str, float]:
    """Ten candidates, fifty steps. torchattacks takes the gradient of every class: one image and one step of it do."""
    criterion, reached = Untargeted(case.labels), {}
    found: dict[str, Tensor] = {}
    first = Case(case.model, case.levels[:1], case.labels[:1])

    def ours() -> None:
        pixels = to_pixels(case.levels, case.model)
        parts = zip(pixels.split(8), torch.arange(len(pixels)).split(8))
        attack, (model, _) = DeepFool(levels=0), case.ours()
        found["ours"] = torch.cat([attack(model, x, criterion[rows], rng=torch.Generator()) for x, rows in parts])

    def theirs() -> None:
        attack = L2DeepFoolAttack(steps=50, candidates=10, overshoot=0.02)
        found["foolbox"] = attack(case.foolbox(), case.pixels, case.labels, epsilons=None)[1]

    def one_step() -> None:
        DeepFool(steps=1, levels=0)(
            case.model, to_pixels(first.levels, case.model), Untargeted(first.labels), rng=torch.Generator()
        )

    def all_classes() -> None:
        torchattacks.DeepFool(first.torchattacks(), steps=1)(first.pixels, first.labels)

    ours_s, theirs_s = alternate(repeats, ours, theirs)
    step_s, classes_s = alternate(1, one_step, all_classes)
    for name, moved in found.items():
        with torch.no_grad():
            won = criterion.met(torch.cat([case.model(part) for part in moved.split(8)]))
        reached[name] = distance(moved, case.pixels, "l2")[won].median().item()
    return {
        "ratio/deepfool/foolbox": theirs_s / ours_s,
        "ratio/deepfool/torchattacks": classes_s / step_s,
        "seconds/deepfool/ours": ours_s,
        "seconds/deepfool/foolbox": theirs_s,
        "deepfool/median-l2-ratio": reached["ours"] / reached["foolbox"],
    }


def one_pixel(case: Case, repeats: int) -> dict[str, float]:
    """Seconds for each query of the same search: a population of 50, ten generations. Ours also in bfloat16."""
    first = Case(case.model, case.levels[:2], case.labels[:2])
    queries = {}

    def ours(*, quick: bool = False) -> None:
        watched, cost = first.ours(quick=quick)
        attack = OnePixel(queries=500, population=50)
        attack(watched, to_pixels(first.levels, case.model), Untargeted(first.labels), rng=torch.Generator())
        queries["quick" if quick else "ours"] = cost.queries

    def theirs() -> None:
        watched, cost = counted(case.model, first.pixels)
        peer = Case(watched, first.levels, first.labels).torchattacks()
        torchattacks.OnePixel(peer, steps=9, popsize=50)(first.pixels, first.labels)
        queries["theirs"] = cost.queries

    ours_s, quick_s, theirs_s = alternate(repeats, ours, lambda: ours(quick=True), theirs)
    return {
        "ratio/one-pixel/torchattacks": (theirs_s / queries["theirs"]) / (ours_s / queries["ours"]),
        "ratio/one-pixel-bfloat16/torchattacks": (theirs_s / queries["theirs"]) / (quick_s / queries["quick"]),
        "seconds-a-query/one-pixel/ours": ours_s / queries["ours"],
        "seconds-a-query/one-pixel/torchattacks": theirs_s / queries["theirs"],
    }


def smallest(case: Case, _: int) -> dict[str, float]:
    """Length of the smallest change found with 100 gradients an image, between grey levels as the peers look for it.

    An image that an attack does not mislead counts as infinitely far. Carlini and Wagner's 100 gradients are five
    searches of 20 steps on both sides.
    """
    criterion, steps, searches = Untargeted(case.labels), 100, 5
    lengths: dict[str, Tensor] = {}
    mine: dict[str, Attack] = {
        "ours/ddn": DDN(steps=steps, levels=0),
        "ours/carlini-wagner": CarliniWagner(steps=steps // searches, searches=searches, levels=0),
    }
    theirs = {
        "foolbox/ddn": DDNAttack(steps=steps),
        "foolbox/carlini-wagner": L2CarliniWagnerAttack(binary_search_steps=searches, steps=steps // searches),
    }
    rows = torch.arange(len(case.labels)).split(8)
    for name, attack in mine.items():
        found = [attack(case.model, case.pixels[part], criterion[part], rng=torch.Generator()) for part in rows]
        lengths[name] = _lengths(case, torch.cat(found))
    for name, peer in theirs.items():
        found = [peer(case.foolbox(), case.pixels[part], case.labels[part], epsilons=None)[0] for part in rows]
        lengths[name] = _lengths(case, torch.cat(found))
    median = {f"median-l2/{name}": values.median().item() for name, values in lengths.items()}
    ours, best = (
        min(median[f"median-l2/{who}/{name}"] for name in ("ddn", "carlini-wagner")) for who in ("ours", "foolbox")
    )
    return {**median, "median-l2/best-of-ours-by-best-of-foolbox": ours / best}


def _lengths(case: Case, moved: Tensor) -> Tensor:
    with torch.no_grad():
        right = torch.cat([case.model(part).argmax(1) for part in moved.split(8)]) == case.labels
    return distance(moved, case.pixels, "l2").where(~right, torch.tensor(torch.inf))


PARTS: dict[str, Callable[[Case, int], dict[str, float]]] = {
    "pgd": pgd,
    "deepfool": deepfool,
    "one-pixel": one_pixel,
    "smallest": smallest,
}


def alternate(repeats: int, *runs: Callable[[], None]) -> list[float]:
    """The median processor seconds of each run, taken in turns."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for times, run in zip(taken, runs):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
    return [statistics.median(times) for times in taken]


def main() -> None:
    """Run the parts asked for and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="squeezenet1_0")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    session = Session.open(device="cpu", quiet=True)
    torch.manual_seed(0)
    if chosen.model == "resnet18":
        network = torchvision.models.resnet18()
        model = VisionModel("resnet18", network, Preprocessing(), tuple(map(str, range(1000))))
    else:
        model = load_model(chosen.model, session)
    found = read_subjects(
        model, [session.home / "data" / "imagenet-sample"], session, batch_size=8, limit=2 * chosen.images
    )
    case = Case(model, found.levels[: chosen.images], found.labels[: chosen.images])
    assert torch.equal(to_levels(case.pixels), case.levels)
    figures: dict[str, float] = {}

    def report(found: dict[str, float]) -> None:
        figures.update(found)
        if not chosen.json:  # as they come: a long run that is stopped has said something
            print("\n".join(f"{name:45} {value:.3g}" for name, value in found.items()), flush=True)

    report({"threads": torch.get_num_threads(), "images": len(case.labels)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in chosen.only:
            report(PARTS[name](case, chosen.repeats))
    if chosen.json:
        print(json.dumps({**figures, "environment": environment(session)}))


if __name__ == "__main__":
    main()
