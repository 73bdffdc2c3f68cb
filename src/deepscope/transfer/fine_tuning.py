"""Fine-tuning: all weights of a fitted classifier, including the networks, trained on the images."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from deepscope import images
from deepscope.errors import SettingError
from deepscope.inputs.examples import Source
from deepscope.models import Preprocessing
from deepscope.models.classifier import Classifier
from deepscope.models.identity import weights_sha256
from deepscope.session import Session
from deepscope.training import History, Log, Moment, Shuffled, Update, cosine_decay, fit
from deepscope.transfer.heads import folds_of


@dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning.

    Training starts from a head that was fitted on the networks as they are: gradients of a random one would
    distort the pretrained features (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
    Underperform Out-of-Distribution", ICLR 2022). Batch norms keep their statistics, which a small set of images
    would make noisier.

    Attributes:
        epochs: passes over the training images.
        rate: AdamW's learning rate of the networks; it falls to 0 along half a cosine. The head's is ten times that.
        batch_size: images per step.
        smallest: the smallest share of the image that a training crop covers.
        smoothing: of the labels (Szegedy et al. 2016).
    """

    epochs: int = 3
    rate: float = 1e-4
    batch_size: int = 32
    smallest: float = 0.35
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SettingError("fine_tune", "must be at least 1 epoch", got=self.epochs)
        if not self.rate > 0:
            raise SettingError("learning_rate", "must be above 0, such as 1e-4", got=self.rate)


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Training images, and (N,) int64 labels."""

    pictures: Sequence[images.Source]
    labels: Tensor


def fine_tune(
    classifier: Classifier,
    preprocessing: Preprocessing,
    sources: Sequence[Source],
    labels: Tensor,
    settings: FineTuning,
    session: Session,
    *,
    folder: Path | None = None,
) -> tuple[Classifier, History]:
    """Train a copy of the classifier on random crops and mirror images.

    Args:
        classifier: fitted; is left as it is.
        preprocessing: says how large its input is.
        sources: training images, all readable.
        labels: (N,) int64.
        settings: of fine-tuning.
        session: device, precision and seed.
        folder: for the history and the checkpoint, from which a killed training resumes.

    Returns:
        the trained classifier in eval mode, and its losses.

    Raises:
        Diverged: a loss is no longer finite.
        FileError: the folder holds the checkpoint of another training.
    """
    data = _Labelled([_readable(source) for source in sources], labels)
    step = _Step(copy.deepcopy(classifier), settings)
    with ThreadPoolExecutor(images.decoding_threads(), thread_name_prefix="deepscope-crops") as threads:
        crops = _Crops(data, preprocessing, settings, session, threads)
        history = fit(
            step,
            crops,
            steps=settings.epochs * crops.rows.steps,
            session=session,
            clip=1.0,
            log=Log(
                folder=folder,
                settings=_identity(classifier, preprocessing, data, settings) if folder else {},
                every=crops.rows.steps,
                record=10,
            ),
        )
    return step.classifier.eval().requires_grad_(False), history


def held_out(labels: Tensor, *, seed: int) -> Tensor:
    """(N,) bool: a tenth of the images of every class, which are not trained on; none where a class has one image."""
    folds = folds_of(labels, seed=seed, most=10)
    return torch.zeros(len(labels), dtype=torch.bool) if folds is None else folds == 0


def _identity(
    classifier: Classifier,
    preprocessing: Preprocessing,
    data: _Labelled,
    settings: FineTuning,
) -> dict[str, Any]:
    """What a checkpoint must match to be resumed. The head follows from the rest, up to rounding."""
    return {
        **asdict(settings),
        "networks": weights_sha256(classifier.backbones),
        "preprocessing": preprocessing.to_json(),
        "images": hashlib.sha256(b"".join(map(images.digest, data.pictures))).hexdigest(),
        "labels": hashlib.sha256(data.labels.numpy().tobytes()).hexdigest(),
    }


def _readable(source: Source) -> images.Source:
    """An image that can be decoded: pixels become 8-bit ones."""
    if isinstance(source, Tensor):
        return (source * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return source


class _Step:
    """The step of fine-tuning, for `training.fit`."""

    def __init__(self, classifier: Classifier, settings: FineTuning) -> None:
        self.classifier, self._settings = classifier.requires_grad_(True), settings
        self.classifier.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._optimiser = AdamW(
            [
                {"params": list(classifier.backbones.parameters()), "full": settings.rate},
                {"params": list(classifier.head.parameters()), "full": 10 * settings.rate},
            ]
        )

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        return {"classifier": self.classifier, "optimiser": self._optimiser}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        pixels, labels = batch
        self.classifier.eval()  # batch norms keep their statistics
        for group in self._optimiser.param_groups:
            group["lr"] = group["full"] * cosine_decay(moment.progress)
        logits = self.classifier(pixels.contiguous(memory_format=torch.channels_last)).float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=self._settings.smoothing)
        update(loss, self._optimiser)
        return {"loss": loss, "accuracy/training": (logits.argmax(1) == labels).float().mean()}


class _Crops:
    """Batches of random crops (Szegedy et al., "Going deeper with convolutions", 2015), mirrored half of the time."""

    def __init__(
        self,
        data: _Labelled,
        preprocessing: Preprocessing,
        settings: FineTuning,
        session: Session,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.rows = Shuffled(len(data.labels), settings.batch_size, session)
        self._data = data
        self._preprocessing, self._smallest = preprocessing, settings.smallest
        self._threads = threads

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        rows = moment.share(self.rows(moment.step))
        chances = torch.rand(len(rows), 5, generator=moment.rng("crops")).tolist()
        pixels = self._threads.map(self._crop, rows.tolist(), chances)
        return torch.stack(list(pixels)), self._data.labels[rows]

    def _crop(self, row: int, chances: Sequence[float]) -> Tensor:
        """(3, H, W) of one image; five numbers in [0, 1) decide which part of it."""
        area, aspect, left, top, mirrored = chances
        height, width = self._preprocessing.size
        image = images.decode(self._data.pictures[row], at_least=2 * max(height, width))
        share = self._smallest + area * (1 - self._smallest)
        stretch = (3 / 4) ** (1 - 2 * aspect)
        wide = min(image.width, math.sqrt(share * image.width * image.height * stretch))
        high = min(image.height, math.sqrt(share * image.width * image.height / stretch))
        x, y = left * (image.width - wide), top * (image.height - high)
        filtered = getattr(Image.Resampling, self._preprocessing.interpolation.upper())
        part = image.resize((width, height), filtered, box=(x, y, x + wide, y + high))
        if mirrored < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.asarray(part).copy()).permute(2, 0, 1).float().div_(255)
