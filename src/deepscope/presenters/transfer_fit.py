"""How the result of `deepscope transfer fit` is shown."""

from __future__ import annotations

import numpy as np

from deepscope.presenters.shown import origin, saved_note, skipped_blocks
from deepscope.presenters.transfer_figures import copies_note, evaluation_blocks, map_of_features, shots_curve
from deepscope.render import presents
from deepscope.results import Curves, Note, Result, Series
from deepscope.statistics import proportion
from deepscope.training import History
from deepscope.transfer.fit import FittedClassifier


@presents(FittedClassifier)
def present(fitted: FittedClassifier) -> Result:
    """Accuracy, calibration and figures of a fitted classifier."""
    answers, calibration, split = fitted.answers, fitted.calibration, fitted.split
    correct, saved = fitted.correct, [fitted.saved] if fitted.saved else []
    clean = correct[~split.copied]
    accuracy = proportion(int(correct.sum()), len(correct))
    return Result(
        title=f"{fitted.data.name} in {len(answers.classes)} classes, on {fitted.classifier.recipe_}",
        metrics={
            **accuracy.metrics("accuracy"),
            **proportion(int(clean.sum()), len(clean)).metrics("accuracy-without-copies"),
            "validation": fitted.classifier.fitted_.validation,
            "expected-calibration-error": calibration.error,
            "temperature": fitted.classifier.fitted_.temperature,
            "copies-across-splits": int(split.copied.sum()),
            **{f"accuracy/shots/{shot}": float(np.mean(values)) for shot, values in fitted.shots.items()},
        },
        blocks=(
            Note(
                f"{100 * accuracy.value:.1f} % of {len(correct)} test images are classified correctly; "
                f"95 % Wilson interval {100 * accuracy.low:.1f} % to {100 * accuracy.high:.1f} %.",
                "Accuracy",
            ),
            *map(saved_note, saved),
            *_without_folds(fitted),
            *copies_note([split]),
            *evaluation_blocks(answers, calibration),
            shots_curve(fitted),
            *([] if fitted.history is None else [_losses(fitted.history)]),
            map_of_features(fitted),
            *skipped_blocks(fitted.skipped),
        ),
        arrays={"probabilities": answers.probabilities.numpy(), "labels": answers.labels.numpy()},
        provenance=origin([*fitted.backbones.values(), *saved], fitted.data.paths, fitted.digests),
    )


def _without_folds(fitted: FittedClassifier) -> list[Note]:
    if not np.isnan(fitted.classifier.fitted_.validation):
        return []
    return [
        Note(
            "A class has a single training image, so there was no cross-validation: the head has its default "
            "regularisation, and its confidences are not calibrated. Give every class at least two.",
            "Not cross-validated",
        )
    ]


def _losses(history: History) -> Curves:
    """The loss during fine-tuning."""
    steps, values = history.column("loss")
    return Curves((Series("training loss", steps, values),), "training step", "training loss", title="Fine-tuning")
