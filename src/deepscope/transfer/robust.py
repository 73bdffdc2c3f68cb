"""Adversarial training of a digit classifier, from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.data import Digits, DigitSplit, load_dataset
from deepscope.errors import DataError
from deepscope.models import Preprocessing, VisionModel, digits, saved
from deepscope.models.classifier import Classifier
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.training import History, Log, Moment, Shuffled, fit
from deepscope.transfer.adversarial_training import (
    CLASSES,
    ORIGIN,
    PART,
    WARM,
    AdversarialStep,
    GreyNetwork,
    RobustTraining,
    measure,
)

_PIXELS = Preprocessing(digits.SIDE, digits.SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
_HELD, _MEASURED = 500, 1000
_COLLAPSE = 0.2
"""Fall of the accuracy under attack on held-out digits that is catastrophic overfitting (Wong et al. 2020)."""


@dataclass(frozen=True, eq=False)
class RobustClassifier(Presented):
    """A digit classifier trained against an attack, and its accuracy on test digits.

    Attributes:
        model: the classifier; the saved one where it was saved.
        settings: of the training.
        data: name of the dataset.
        correct: (N,) bool, which test digits are classified correctly.
        withstood: (M,) bool, which of the first M test digits are still classified correctly after PGD of 40 steps.
        history: losses, and accuracies on held-out digits per epoch.
        stopped: whether the training ended early because of catastrophic overfitting.
    """

    model: VisionModel
    settings: RobustTraining
    data: str
    correct: Tensor
    withstood: Tensor
    history: History
    stopped: bool

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def accuracy(self) -> Estimate:
        """On the test digits."""
        return proportion(int(self.correct.sum()), len(self.correct))

    @property
    def robust(self) -> Estimate:
        """On the attacked test digits: an upper bound of the worst case, which stronger attacks lower."""
        return proportion(int(self.withstood.sum()), len(self.withstood))

    def save_model(self, folder: str | Path) -> RobustClassifier:
        """Write the model to a folder, which `load_model` opens. Returns the same with that model.

        Raises:
            FileError: the folder cannot be written to.
        """
        network = self.model.network
        assert isinstance(network, Classifier)
        source = f"adversarial training on {self.data}, Linf radius {self.settings.radius:g}"
        made = saved.save(Path(folder), network, [ORIGIN], _PIXELS, CLASSES, source=source)
        return replace(self, model=made)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per test digit that was attacked."""
        count = len(self.withstood)
        return {"correct": self.correct[:count].tolist(), "withstood": self.withstood.tolist()}


def fit_robust(
    data: str = "mnist",
    settings: RobustTraining = RobustTraining(),
    *,
    folder: Path | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> RobustClassifier:
    """Train a digit classifier that withstands changes of every pixel up to a radius.

    Args:
        data: a dataset of grey digits: "mnist" or "mnist-extract".
        settings: of the training.
        folder: for the checkpoint, from which a killed training resumes.
        seed: of weights, order and attacks.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        DataError: there is no such dataset, or it does not hold grey digits.
        Diverged: a loss is no longer finite.

    Example:
        >>> from deepscope.transfer.robust import RobustTraining, fit_robust
        >>> found = fit_robust("mnist-extract", RobustTraining(0.1, epochs=1, steps=1, step_size=1.25))
        >>> len(found), found.model.categories[:3]
        (1000, ('0', '1', '2'))
    """
    session = Session.of(session, seed=seed)
    split = load_dataset(data, session, DigitSplit)
    if split.train.images.ndim != 3:
        raise DataError(f"{data} holds colour digits: adversarial training is for grey ones, such as mnist")
    pixels, labels = _tensors(split.train)
    order = torch.randperm(len(labels), generator=session.rng("robust"))
    count = min(_HELD, len(labels) // 5)
    held, train = order[:count], order[count:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.rng("robust-network").initial_seed())
        step = AdversarialStep(GreyNetwork(), settings)
    rows = Shuffled(len(train), settings.batch_size, session, "robust")

    def batch(moment: Moment) -> tuple[Tensor, Tensor]:
        chosen = train[moment.share(rows(moment.step))]
        return pixels[chosen], labels[chosen]

    def observe(done: int) -> Mapping[str, float]:
        network = step.network.eval()
        rng = session.rng("robust-held", done)
        device = next(network.parameters()).device
        clean, robust = (
            float(one.float().mean())
            for one in measure(network, pixels[held].to(device), labels[held].to(device), settings.radius, rng)
        )
        step.best.consider(robust, network)
        if robust < float(step.best.accuracy) - _COLLAPSE and done > WARM * settings.epochs * rows.steps:
            raise _Collapsed
        return {"accuracy/held-out": clean, "accuracy/held-out/attacked": robust}

    about = {"robust": asdict(settings), "data": data, "images": len(train)}
    log = Log(folder=folder, settings=about, every=rows.steps)
    history, stopped = History(), False
    try:
        steps = settings.epochs * rows.steps
        history = fit(step, batch, steps=steps, session=session, log=log, observe=observe)
    except _Collapsed:
        stopped = True
        session.note("accuracy under attack collapsed on held-out digits: the best epoch is kept, training has ended")
    network = step.best.network.eval().cpu()
    test, truth = _tensors(split.test)
    with torch.no_grad():
        correct = torch.cat([network(part).argmax(1) for part in test.split(PART)]) == truth
    chosen = torch.arange(min(_MEASURED, len(truth)))
    _, withstood = measure(network, test[chosen], truth[chosen], settings.radius, session.rng("robust-test"))
    model = VisionModel(f"robust-{data}", network.classifier(), _PIXELS, CLASSES)
    return RobustClassifier(model, settings, data, correct, withstood, history, stopped)


class _Collapsed(Exception):
    """Catastrophic overfitting: the network learnt to resist the training's attack alone."""


def _tensors(part: Digits) -> tuple[Tensor, Tensor]:
    """(N, 1, 28, 28) pixels in [0, 1], and (N,) labels."""
    return torch.tensor(part.images)[:, None].float() / 255, torch.tensor(part.labels)
