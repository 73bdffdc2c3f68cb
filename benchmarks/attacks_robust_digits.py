"""Worst case over attacks of a digit classifier that was trained against an attack.

    deepscope transfer fit mnist --robust 0.3 --out robust-digits
    python benchmarks/attacks_robust_digits.py robust-digits [--radius 0.3] [--images 1000] [--first 0] [--seconds 850]

`attack auto` with its defaults (AutoPGD, targeted AutoPGD, targeted FAB, Square with 5,000 queries) attacks test digits
of MNIST, the first ones first, in parts of 100. After each part the figures of all digits so far are printed; no part
begins after the given seconds. An example counts where the saved 8-bit image misleads the network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import torch

import deepscope as ds
from deepscope.attacks import worst_case
from deepscope.data.mnist import Mnist
from deepscope.session import Session
from deepscope.statistics import proportion
from environment import environment

_PART = 100


def main() -> None:
    """Attack part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the classifier")
    parser.add_argument("--radius", type=float, default=0.3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="digits to leave out at the beginning")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no part begins")
    given = parser.parse_args()
    torch.set_num_threads(1)
    session = Session.open(device="cpu", quiet=True)
    model, test = ds.load_model(given.model, session), Mnist.load(session.home).test
    print(json.dumps({"environment": environment()}), flush=True)
    began, clean, withstood, total = time.monotonic(), 0, 0, 0
    by = Counter[str]()
    for start in range(given.first, given.first + given.images, _PART):
        if time.monotonic() - began > given.seconds:
            break
        rows = slice(start, min(start + _PART, given.first + given.images))
        digits = list(zip(test.images[rows], test.labels[rows].tolist()))
        found = worst_case(model, digits, radius=given.radius, batch_size=_PART, session=session)
        total += len(digits)
        clean += len(found)
        withstood += len(found) - int(found.success.sum())
        by.update(name for name in found.by if name)
        figures = {
            "images": total,
            "accuracy/clean": str(proportion(clean, total)),
            "accuracy/worst": str(proportion(withstood, total)),
            "misled by": dict(by),
            "wall": round(time.monotonic() - began),
            "processor": round(time.process_time()),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
