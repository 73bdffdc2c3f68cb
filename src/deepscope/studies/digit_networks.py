"""A small vision transformer and a convolutional network, trained on the same handwritten digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from deepscope.data import Digits, DigitSplit, first_here, load_dataset
from deepscope.models import Preprocessing, VisionModel, digits
from deepscope.session import Session
from deepscope.training import Log, Moment, Shuffled, Update, cosine_decay, fit

PATCH = 4
"""Side of the transformer's patches, in pixels."""
_MEAN, _DEVIATION = 0.1307, 0.3081
"""Of the pixels of MNIST's training digits."""
_BATCH, _RATE, _DECAY, _WARM_UP = 128, 2e-3, 0.05, 0.05
"""The rate is fixed by held-out training digits: with 1e-3, the transformer reads 96.5 % of them, with 2e-3 97.0 %."""
_CLASSES = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True, eq=False)
class Data:
    """Digits in three parts.

    Attributes:
        train: trained on.
        held_out: training digits that no network is trained on, to choose by.
        test: to measure on.
        name: of the dataset.
    """

    train: Digits
    held_out: Digits
    test: Digits
    name: str


def read(session: Session, *, images: int | None) -> Data:
    """MNIST, or the extract in the package; every twelfth training digit, drawn at random, is held out.

    Args:
        images: training digits to use, held-out ones included; None takes all.
    """
    name = first_here(["mnist", "mnist-extract"], session)
    split = load_dataset(name, session, DigitSplit)
    order = torch.randperm(len(split.train), generator=session.rng("digits")).numpy()[:images]
    held_out, train = order[: len(order) // 12], order[len(order) // 12 :]
    training, held = (Digits(split.train.images[rows], split.train.labels[rows]) for rows in (train, held_out))
    return Data(training, held, split.test, name)


def transformer() -> nn.Module:
    """Patches of 4 x 4 pixels, a class token, 4 blocks of 64 channels and 4 heads: 141,000 parameters."""
    from timm.models import VisionTransformer

    return VisionTransformer(
        digits.SIDE, PATCH, num_classes=len(_CLASSES), embed_dim=64, depth=4, num_heads=4, mlp_ratio=2
    )


def convolutional() -> nn.Module:
    """The digit network of Ganin and Lempitsky (2015): 125,000 parameters."""
    return nn.Sequential(digits.network(), nn.Linear(100, len(_CLASSES)))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {"vit": transformer, "cnn": convolutional}


def trained(name: str, data: Data, *, epochs: int, session: Session, folder: Path) -> VisionModel:
    """The network of that name, trained; a killed training resumes, and a finished one is read.

    AdamW with a cosine schedule, on batches of 128 digits; none is augmented.

    Args:
        folder: for the checkpoint.
    """
    pixels, labels = torch.tensor(data.train.images)[:, None], torch.tensor(data.train.labels)
    rows = Shuffled(len(labels), _BATCH, session, name)

    def batch(moment: Moment) -> tuple[Tensor, Tensor]:
        chosen = moment.share(rows(moment.step))
        return pixels[chosen], labels[chosen]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.rng(name).initial_seed())
        network = NETWORKS[name]()
    settings = {"network": name, "images": len(labels), "epochs": epochs}
    log = Log(folder=folder, settings=settings, every=rows.steps)
    exact = replace(session, may_halve=False)  # attributions of its gradients are measured
    fit(_Step(network), batch, steps=epochs * rows.steps, session=exact, log=log)
    side = digits.SIDE
    preprocessing = Preprocessing(side, side, mean=(_MEAN,) * 3, std=(_DEVIATION,) * 3)
    return VisionModel(name, network, preprocessing, _CLASSES)


def pixels_of(part: Digits) -> Tensor:
    """(N, 3, 28, 28) in [0, 1]."""
    return _grey(torch.tensor(part.images)[:, None])


def _grey(images: Tensor) -> Tensor:
    return (images.float() / 255).expand(-1, 3, -1, -1)


class _Step:
    """Cross-entropy, with a warm-up of the learning rate, which transformers need."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._adam = AdamW(network.parameters(), _RATE, weight_decay=_DECAY, fused=True)

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """The network and its optimiser."""
        return {"network": self._network, "optimiser": self._adam}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """One step on (N, 1, 28, 28) uint8 and (N,) labels."""
        images, labels = batch
        for group in self._adam.param_groups:
            group["lr"] = _RATE * min(1.0, (moment.progress + 1e-3) / _WARM_UP) * cosine_decay(moment.progress)
        inputs = (_grey(images) - _MEAN) / _DEVIATION
        loss = functional.cross_entropy(self._network(inputs).float(), labels)
        update(loss, self._adam)
        return {"loss": loss}
