"""All metrics of a trained generator, each with the value of real images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deepscope.gans.pictures import Labelled, Pictures
from deepscope.gans.quality.backbones import Features
from deepscope.gans.quality.evaluator import Evaluator, run, train_classifier
from deepscope.gans.quality.frechet import frechet_distance
from deepscope.gans.quality.manifold import precision_recall
from deepscope.gans.quality.memorisation import Nearest, memorised, nearest
from deepscope.gans.quality.modes import Modes
from deepscope.gans.sampling import drawn, latents
from deepscope.gans.saved import GAN
from deepscope.session import Session

FEWEST = 4
"""Images on each side of precision and recall, whose manifolds reach to a third neighbour."""
MANIFOLD, NEAREST = 5000, 500
"""Images at most for precision and recall, and for memorisation."""


def draw(gan: GAN, pictures: Pictures, count: int, session: Session, *, stream: str = "evaluation") -> Labelled:
    """Samples with the labels they were asked for, which are as frequent as among the training images."""
    rng = session.rng("samples", stream)
    z = latents(count, gan.generator, rng)
    labels = torch.zeros(count, dtype=torch.int64)
    if gan.classes and not gan.labelled:
        labels = drawn(count, gan.shares, rng)
    elif gan.classes:
        labels = pictures.train.labels[torch.randint(len(pictures.train), (count,), generator=rng)]
    return Labelled(gan.images(z, labels, rng), labels)


def compared(samples: int, pictures: Pictures) -> int:
    """Images on each side of a distance: of samples, of held-out images, and of training images for its floor."""
    return min(samples, len(pictures.test), len(pictures))


def likeness(name: str, features: Features, samples: Tensor, pictures: Pictures, session: Session) -> dict[str, float]:
    """Frechet distance to held-out images ("NAME-fid"), precision and recall.

    "NAME-fid-floor", "precision/real" and "recall/real" are what training images in the samples' place get.
    """
    count = compared(len(samples), pictures)
    held_out = pictures.test
    if count < len(held_out):
        held_out = held_out.some(count, session.rng("held out", "part"))
    real, fake = features(held_out.images), features(samples[:count])
    other = features(pictures.train.some(count, session.rng("floor")).images)
    precision, recall = precision_recall(real[:MANIFOLD], fake[:MANIFOLD])
    best = precision_recall(real[:MANIFOLD], other[:MANIFOLD])
    return {
        f"{name}-fid": frechet_distance(real, fake),
        f"{name}-fid-floor": frechet_distance(real, other),
        "precision": precision,
        "precision/real": best[0],
        "recall": recall,
        "recall/real": best[1],
    }


def recognised(evaluator: Evaluator, images: Tensor) -> Tensor:
    """(N,) classes; of stacked images, the three digits in the colours are the digits of the class's number."""
    if images.shape[1] == evaluator.channels:
        return evaluator.recognise(images)
    digits = [evaluator.recognise(images[:, channel : channel + 1]) for channel in range(images.shape[1])]
    return 100 * digits[0] + 10 * digits[1] + digits[2]


def variety(evaluator: Evaluator, samples: Labelled, pictures: Pictures, *, conditional: bool) -> dict[str, float]:
    """Modes, their divergence and balance; where classes were requested, the share of samples that show them.

    "modes/real" and "kl/real" are what as many held-out images get by the same evaluator, or all where there are fewer.
    """
    classes = len(pictures.classes)
    found = recognised(evaluator, samples.images)
    modes = Modes.of(found, pictures.train.labels, classes)
    real = Modes.of(recognised(evaluator, pictures.test.images[: len(found)]), pictures.train.labels, classes)
    figures = {
        "modes": modes.covered,
        "modes/real": real.covered,
        "kl": modes.kl,
        "kl/real": real.kl,
        "balance": modes.balance,
    }
    if conditional:
        figures["fidelity"] = float((found == samples.labels).float().mean())
        known = recognised(evaluator, pictures.test.images) == pictures.test.labels
        figures["fidelity/real"] = float(known.float().mean())
    return figures


def classification_accuracy_score(
    gan: GAN, pictures: Pictures, *, epochs: int, session: Session, folder: Path | None = None
) -> Mapping[str, float]:
    """Accuracy on held-out real images of a classifier trained on generated ones alone (Ravuri and Vinyals 2019).

    Beside it, what the same training on as many real images gives.

    Args:
        gan: conditional.
        pictures: whose number of training images is generated.
        epochs: of the classifier.
        session: its seed.
        folder: for checkpoints, so that a killed run resumes.
    """
    samples = draw(gan, pictures, len(pictures.train), session, stream="classifier")
    accuracies = {}
    for name, data in (("", samples), ("/real", pictures.train)):
        own = folder / f"classifier{name}" if folder else None
        network = train_classifier(data, len(pictures.classes), epochs=epochs, session=session, folder=own)
        right = run(network, pictures.test.images).argmax(1) == pictures.test.labels
        accuracies[f"classification-accuracy-score{name}"] = float(right.float().mean())
    return accuracies


def novelty(samples: Labelled, pictures: Pictures) -> tuple[float, Nearest]:
    """The share of samples that are suspiciously near to a training image, and the nearest ones."""
    train = pictures.train.images
    near = nearest(samples.images[:NEAREST], train)
    return memorised(near, nearest(pictures.test.images[:NEAREST], train)), near
