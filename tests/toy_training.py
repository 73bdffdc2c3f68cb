"""A small training with two optimisers and dropout; also a script, to be killed or launched on several processes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepscope.session import Session
from deepscope.training import History, Log, Moment, Shuffled, Update, fit


class Toy:
    """One network fits noisy labels by Adam, another one the first one's outputs by SGD."""

    def __init__(self, session: Session, *, dropout: float = 0.5, rate: float = 1e-2) -> None:
        torch.manual_seed(session.seed)
        self.noisy = dropout > 0
        self.one = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16) if dropout else nn.Identity())
        self.one.extend([nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4)])
        self.two = nn.Linear(8, 4)
        self.adam = torch.optim.Adam(self.one.parameters(), lr=rate)
        self.sgd = torch.optim.SGD(self.two.parameters(), lr=rate, momentum=0.9)

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        return {"one": self.one, "two": self.two, "adam": self.adam, "sgd": self.sgd}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        inputs, labels = batch
        if self.noisy:
            inputs = inputs + 0.1 * torch.randn(inputs.shape, generator=moment.rng("noise"))
        outputs = self.one(inputs)
        first = nn.functional.cross_entropy(outputs, labels)
        update(first, self.adam)
        second = (self.two(inputs) - outputs.detach()).square().mean()
        update(second, self.sgd)
        return {"loss/one": first, "loss/two": second}


class Data:
    def __init__(self, session: Session, *, batch_size: int = 16) -> None:
        rng = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(100, 8, generator=rng)
        self.labels = (self.inputs @ torch.randn(8, 4, generator=rng)).argmax(1)
        self.rows = Shuffled(100, batch_size, session)

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        rows = moment.share(self.rows(moment.step))
        return self.inputs[rows], self.labels[rows]


def train(folder: Path | None, *, dropout: float = 0.5, steps: int = 60, every: int = 7) -> tuple[Toy, History]:
    session = Session(seed=3, quiet=True)
    toy = Toy(session, dropout=dropout)
    return toy, fit(toy, Data(session), steps=steps, session=session, log=Log(folder=folder, every=every, record=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=7)
    parser.add_argument("--dropout", type=float, default=0.5)
    arguments = parser.parse_args()
    train(arguments.folder, steps=arguments.steps, dropout=arguments.dropout, every=arguments.every)
