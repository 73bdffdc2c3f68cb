"""Adapt a classifier to images without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepscope.adaptation.adaptation import Adaptation
from deepscope.adaptation.domain_norm import SOURCE, TARGET
from deepscope.adaptation.domains import Domains
from deepscope.adaptation.loading import DomainData, called, load_domains
from deepscope.adaptation.recipe import Recipe
from deepscope.adaptation.training import Adapted, Record, adapt_network, correct, run
from deepscope.models import DEFAULT, VisionModel, held_device
from deepscope.models.classifier import View
from deepscope.models.saved import require_architectures
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.training import History


@dataclass(frozen=True, eq=False)
class AdaptedModel(Presented):
    """A classifier for the target's images, and its accuracy where labels are known.

    Attributes:
        source, target: names of the data.
        method: the adaptation method.
        domains: the data.
        adapted: the trained network, at the epoch that was chosen without labels, and its history.
        views: views per image that the model averages over.
        epochs: epochs of the training.
        accuracies: on held-out images, "accuracy/source" and "accuracy/target"; with "/one-view" of the network alone,
            where the model averages over several views.
        saved: the model as it was saved; None before `save_model`.
    """

    source: str
    target: str
    method: Adaptation
    domains: Domains
    adapted: Adapted
    views: tuple[View, ...]
    epochs: int
    accuracies: Mapping[str, Estimate]
    saved: VisionModel | None = None

    @property
    def model(self) -> VisionModel:
        """The adapted network, as it is for target images: the saved one, where there is one."""
        return self.saved or self.domains.model(self.adapted.network, self.views, about=self._about)

    @property
    def history(self) -> History:
        """Losses, and every validator's score, during training."""
        return self.adapted.history

    @property
    def epoch(self) -> float:
        """The epoch that was chosen."""
        return self.adapted.chosen / (self.history.rows[-1]["step"] / self.epochs)

    def save_model(self, folder: str | Path) -> AdaptedModel:
        """Write the model to a folder, which `load_model` opens. Returns the same with `saved`.

        Raises:
            UnsupportedError: the network cannot be rebuilt by name.
            FileError: the folder cannot be written to.
        """
        saved = self.domains.save(Path(folder), self.adapted.network, self.views, about=self._about)
        return replace(self, saved=saved)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per domain that was measured."""
        found = self.accuracies
        return {
            "domain": [name.removeprefix("accuracy/") for name in found],
            "accuracy": [estimate.value for estimate in found.values()],
            "low": [estimate.low for estimate in found.values()],
            "high": [estimate.high for estimate in found.values()],
        }

    @property
    def _about(self) -> str:
        return f"{self.method.name} from {self.source} to {self.target}"


def adapt(  # noqa: PLR0913 - its settings are keywords
    source: DomainData,
    target: DomainData,
    *,
    method: str | Adaptation | None = None,
    recipe: Recipe = Recipe(),
    model: str | VisionModel = DEFAULT,
    validator: str = "info-max",
    views: bool = True,
    folder: Path | None = None,
    tensorboard: bool = False,
    seed: int = 0,
    session: Session | None = None,
) -> AdaptedModel:
    """Adapt a classifier from labelled images (the source) to unlabelled images of another domain (the target).

    Source and target are two datasets of digits, or photographs in class folders or (image, label) pairs; the target
    may also be images without labels. Target labels, if any, are used only to measure the result.

    Args:
        source: labelled images.
        target: images of the target domain.
        method: adaptation method, by name or as an object; by default `adversarial-teacher` for digits, and
            `minimum-class-confusion` for photographs.
        recipe: network and optimiser.
        model: network that extracts features of photographs; digits are learnt from their pixels.
        validator: the label-free score by which the epoch is chosen; "last" uses the last epoch.
        views: whether predictions are averaged over the augmentations of training.
        folder: for checkpoints and history, from which a killed training resumes.
        tensorboard: also write TensorBoard's events.
        seed: of everything random.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        DataError: the data does not exist, is of different kinds, or shares no class.
        ModelError: there is no such model.
        Diverged: a loss is no longer finite.

    Example:
        >>> import numpy as np
        >>> from deepscope.adaptation import Recipe, adapt
        >>> def grey(level): return np.full((32, 32, 3), level, np.uint8)
        >>> source = [(grey(level), "night" if level < 120 else "day") for level in range(0, 240, 20)]
        >>> adapted = adapt(source, [grey(level) for level in range(20, 200, 15)], recipe=Recipe(epochs=1))
        >>> adapted.model.categories
        ('day', 'night')
    """
    recipe.require_trainable()
    chosen = None if method is None else Adaptation.of(method)
    session = Session.of(session, device=held_device(model), seed=seed)
    domains = load_domains(source, target, model, session)
    method = chosen or domains.method
    if folder is not None:
        require_architectures([domains.backbone])  # before anything is trained
    adapted = adapt_network(
        lambda: domains.network(recipe, method),
        domains.source,
        domains.target,
        method=method,
        recipe=recipe,
        session=session,
        validator=validator,
        record=Record(folder, tensorboard=tensorboard),
    )
    seen = domains.views(recipe) if views else (View(),)
    found = accuracies(domains, adapted, session, seen)
    return AdaptedModel(called(source), called(target), method, domains, adapted, tuple(seen), recipe.epochs, found)


def accuracies(domains: Domains, adapted: Adapted, session: Session, views: Sequence[View]) -> dict[str, Estimate]:
    """Accuracy on held-out images of each domain, each with its own statistics; without the target's where unknown.

    "/one-view" is that of the network alone, where the model averages over several.
    """
    ways = {"": views, "/one-view": views[:1]} if len(views) > 1 else {"": views}
    found = {}
    for name, domain, test in (("source", SOURCE, domains.source_test), ("target", TARGET, domains.target_test)):
        if test is None:
            continue
        for key, seen in ways.items():
            _, logits = run(adapted.network, test.inputs, domain, session, seen)
            found[f"accuracy/{name}{key}"] = proportion(correct(logits, test.labels), len(test))
    return found
