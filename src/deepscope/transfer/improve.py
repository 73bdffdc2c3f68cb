"""Improve transferred features, one idea at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepscope.errors import DeepscopeError
from deepscope.inputs.examples import Data, Examples
from deepscope.models import DEFAULT, VisionModel, held_device, load_model
from deepscope.session import Session
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.heads import Head
from deepscope.transfer.improvements import Improvement, improvements
from deepscope.transfer.measuring import Measurable, Row, chosen, measure, measure_tuned, p_values
from deepscope.transfer.on_splits import OnSplits
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True, eq=False)
class Improvements(OnSplits):
    """Ideas that could improve transferred features, each measured on the same images; the first is the baseline.

    Attributes:
        model: the name of the model whose features are improved.
        ideas: the baseline, then each idea.
        p_values: of each against the baseline on the same test images, adjusted for all of them together (Holm);
            1 for the baseline itself.
        absent: why other models were left out.
    """

    model: str
    ideas: tuple[Improvement, ...]
    p_values: tuple[float, ...]
    absent: tuple[str, ...]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per idea."""
        return {
            "idea": [idea.name for idea in self.ideas],
            "reasoning": [idea.reasoning for idea in self.ideas],
            "features": [str(row.recipe) for row in self.rows],
            **self.accuracies(),
            "p": list(self.p_values),
            "seconds": [row.seconds for row in self.rows],
        }


def improve(
    data: Data,
    model: str | VisionModel = DEFAULT,
    *,
    others: Sequence[str | VisionModel] = (),
    fine_tuning: FineTuning | None = None,
    holdout: Holdout = Holdout(),
    folder: Path | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> Improvements:
    """Measure ideas that could improve the features of a model, each with its rationale and its effect.

    The baseline is a linear SVM on the L2-normalised features of the model's last layer. Each idea changes one thing;
    then those that can be combined are measured together.

    Args:
        data: labelled images, see `Data`.
        model: whose features are improved.
        others: models whose features are concatenated to it; those whose weights are missing are left out.
        fine_tuning: how the network is fine-tuned, measured on the first split; None skips that idea.
        holdout: how test images are set aside.
        folder: for checkpoints of fine-tuning.
        seed: of splits, folds and training.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        ModelError: there is no such model.
        DataError: the data does not exist, or has too few classes or images.

    Example:
        >>> import numpy as np, torch, deepscope as ds
        >>> from deepscope.transfer import improve
        >>> layers = torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        >>> network = torch.nn.Sequential(*layers, torch.nn.Linear(8, 2))
        >>> model = ds.VisionModel("small", network, ds.Preprocessing(resize=32, crop=32), ("a", "b"))
        >>> grey = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 240, 20)]
        >>> found = improve([(image, "night" if row < 6 else "day") for row, image in enumerate(grey)], model)
        >>> [idea.name for idea in found.ideas][:3]
        ['baseline', 'raw', 'power normalisation']
    """
    session = Session.of(session, device=held_device(model, *others), seed=seed)
    examples = Examples.of(data, session)
    models, absent = _open(model, others, session)
    ideas = [replace(idea, recipe=idea.recipe.named(models)) for idea in improvements(models, fine_tuning)]
    on = Measurable.extracted(examples, [idea.recipe for idea in ideas], models, holdout, session)
    rows = [_measured(idea, on, session, folder) for idea in session.track(ideas, "fitting")]
    return Improvements(
        examples,
        models,
        tuple(rows),
        chosen(rows),
        on.splits,
        on.features.digests,
        (*examples.skipped, *on.features.skipped),
        next(iter(models)),
        tuple(ideas),
        tuple(1.0 if p is None else p for p in p_values(rows, 0)),
        tuple(absent),
    )


def _measured(idea: Improvement, on: Measurable, session: Session, folder: Path | None) -> Row:
    head = Head.named(idea.head)
    if idea.fine_tuning is None:
        return measure(idea.recipe, head, on, session)
    return measure_tuned(idea.recipe, head, idea.fine_tuning, on, session, folder=folder)


def _open(
    model: str | VisionModel, others: Sequence[str | VisionModel], session: Session
) -> tuple[dict[str, VisionModel], list[str]]:
    first, *rest = ((each.name, each) if isinstance(each, VisionModel) else (each, None) for each in (model, *others))
    models, absent = {first[0]: first[1] or load_model(first[0], session)}, []
    for name, given in rest:
        try:
            models[name] = given or load_model(name, session)
        except DeepscopeError as error:
            absent.append(str(error))
    return models, absent
