"""Classifiers that evaluate generators: the features of one, and the classes that one from another seed recognises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from deepscope.errors import DataError
from deepscope.gans.pictures import DIGITS, Labelled, Pictures
from deepscope.gans.saved import filled, required_channels, required_classes
from deepscope.gans.step import as_input
from deepscope.models.stored import Format
from deepscope.session import Session
from deepscope.training import Log, Moment, Shuffled, Update, cosine_decay, fit

EVALUATOR = Format(
    "evaluator",
    "evaluator.json",
    "evaluator.safetensors",
    made_by="gan evaluator",
    formerly=Format("judge", "judge.json", "judge.safetensors", made_by="gan evaluator"),  # in version 0.1
)
_SHIPPED, _SHIPPED_SIDE = "digit_evaluator", 32
_AT_ONCE = 500
_SHIFT = 2
_BATCH, _RATE = 128, 2e-3


class Classifier(nn.Module):
    """Two 5 x 5 convolutions, 128 features, one class layer; for images of at least 28 x 28 pixels."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 32, 5, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d(4),
        )
        self.hidden = nn.Sequential(nn.Linear(1024, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(inplace=True))
        self.output = nn.Linear(128, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> (N, 128)."""
        found = self.convolutions(images.contiguous(memory_format=torch.channels_last))
        return self.hidden(functional.dropout(found.flatten(1), 0.3, self.training))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> (N, classes) logits."""
        return self.output(self.features(images)).float()


class Evaluator(nn.Module):
    """Two classifiers of the same images, trained from different seeds, so that the flaws of one do not count twice.

    Args:
        channels: of the images.
        classes: their names.
    """

    def __init__(self, channels: int, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.measure, self.verdict = Classifier(channels, len(classes)), Classifier(channels, len(classes))

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (N, 128) on the CPU, by the first network."""
        return run(self.measure, images, features=True)

    def recognise(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (N,) int64 classes on the CPU, by the second network."""
        return run(self.verdict, images).argmax(1)


@torch.inference_mode()
def run(network: Classifier, images: Tensor, *, features: bool = False) -> Tensor:
    """Logits, or features, of (N, C, H, W) uint8, float32 on the CPU. The network is left in eval mode."""
    device = next(network.parameters()).device
    function = network.eval().features if features else network.eval().forward
    return torch.cat([function(as_input(part.to(device))).float().cpu() for part in images.split(_AT_ONCE)])


class ClassifierStep:
    """Cross-entropy by Adam, on images shifted by up to two pixels; the rate falls along a cosine."""

    def __init__(self, network: Classifier) -> None:
        self._network, self._adam = network, Adam(network.parameters(), _RATE, fused=True)

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """The network and its optimiser."""
        return {"network": self._network, "optimiser": self._adam}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """One step on (N, C, H, W) uint8 and (N,) labels."""
        images, labels = batch
        for group in self._adam.param_groups:
            group["lr"] = _RATE * cosine_decay(moment.progress)
        shift = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=moment.rng("shift")).tolist()
        loss = functional.cross_entropy(self._network(as_input(images.roll(shift, (2, 3)))), labels)
        update(loss, self._adam)
        return {"loss": loss}


def train_classifier(data: Labelled, classes: int, *, epochs: int, session: Session, folder: Path | None) -> Classifier:
    """A classifier trained on labelled images, in eval mode.

    Args:
        data: at least two images.
        classes: outputs.
        epochs: passes over the data.
        session: its seed decides weights and order.
        folder: for the checkpoint; a killed training resumes from it.
    """
    rows = Shuffled(len(data), _BATCH, session, "classifier")

    def batch(moment: Moment) -> tuple[Tensor, Tensor]:
        chosen = moment.share(rows(moment.step))
        return data.images[chosen], data.labels[chosen]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.rng("classifier").initial_seed())
        network = Classifier(data.images.shape[1], classes)
    settings = {"classifier": len(data), "classes": classes, "epochs": epochs}
    steps = epochs * rows.steps
    fit(
        ClassifierStep(network),
        batch,
        steps=steps,
        session=replace(session, may_halve=False),  # generators are measured by it
        log=Log(folder=folder, settings=settings, every=rows.steps),
    )
    return network.eval().requires_grad_(False)


def fit_evaluator(
    data: Labelled, classes: tuple[str, ...], *, epochs: int, session: Session, folder: Path | None
) -> Evaluator:
    """Both classifiers, one after the other, from the session's seed and the next one."""
    weights: dict[str, Tensor] = {}
    for number, name in enumerate(("measure", "verdict")):
        own = replace(session, seed=session.seed + number)
        network = train_classifier(
            data, len(classes), epochs=epochs, session=own, folder=folder / name if folder else None
        )
        weights |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    return filled(lambda: Evaluator(data.images.shape[1], classes), weights)


def save_evaluator(folder: Path, evaluator: Evaluator, accuracy: Mapping[str, float]) -> None:
    """Write an evaluator with its measured accuracies, which are for readers only.

    Raises:
        OSError: the disk is full, say; an older evaluator is left as it was.
    """
    about = {"channels": evaluator.channels, "classes": list(evaluator.classes), "accuracy": dict(accuracy)}
    EVALUATOR.write(folder, evaluator.state_dict(), about)


def load_evaluator(folder: Path) -> Evaluator:
    """The evaluator that `gan evaluator` wrote.

    Raises:
        FileError: there is none, or it is damaged.
    """
    about, weights = EVALUATOR.read(folder)
    with EVALUATOR.building(folder):
        channels, classes = required_channels(about), required_classes(about)
        if len(classes) < 2:
            raise ValueError(f"{len(classes)} classes")
        return filled(lambda: Evaluator(channels, classes), weights)


def shipped_evaluator() -> Evaluator | None:
    """The evaluator of grey digits inside the package; None where the package was built without one."""
    with as_file(files("deepscope.gans.quality") / _SHIPPED) as folder:
        return load_evaluator(folder) if folder.is_dir() else None


def fitting_evaluator(given: Evaluator | str | Path | None, pictures: Pictures) -> Evaluator | None:
    """The given evaluator, or else the shipped one where it knows these images; None where it does not.

    Args:
        given: an evaluator, or the folder of one.
        pictures: to recognise; of stacked ones, the digits in their colours.

    Raises:
        DataError: the given one recognises other images.
    """
    folder = given if isinstance(given, (str, Path)) else None
    if given is None and pictures.side != _SHIPPED_SIDE:
        return None  # it knows strokes by their width in pixels
    evaluator = load_evaluator(Path(folder)) if folder else shipped_evaluator() if given is None else given
    assert not isinstance(evaluator, (str, Path))
    channels, classes = (1, DIGITS) if pictures.stacked else (pictures.channels, pictures.classes)
    if evaluator is None or (evaluator.channels == channels and evaluator.classes == classes):
        return evaluator
    if given is None:
        return None
    raise DataError(
        f"{folder or 'the evaluator'} recognises other images than {pictures.name}: {evaluator.channels} channels, "
        f"classes {', '.join(evaluator.classes[:10])}",
        data=pictures.name,
    )
