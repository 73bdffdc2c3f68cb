from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from deepscope.adaptation import (
    PAPER,
    SOURCE,
    TARGET,
    Adaptation,
    Adapted,
    AdversarialTeacher,
    Augmentation,
    Dann,
    DomainNetwork,
    Labelled,
    Outputs,
    Recipe,
    Record,
    SourceOnly,
    Validator,
    adapt_network,
    proxy_a_distance,
    run,
)
from deepscope.errors import DeepscopeError
from deepscope.models.classifier import View
from deepscope.session import Session

QUIET = Session(quiet=True)
SHORT = Recipe(epochs=2, batch_size=16)


def digits(count: int = 80, seed: int = 0) -> tuple[Labelled, Tensor]:
    """Bright squares at ten places; the target's are dim, on noise, in colour."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=rng)
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 + 10 * (label // 5) :, 2 + 5 * (label % 5) :][:8, :5] = 255
    noise = torch.randint(100, (count, 3, 28, 28), generator=rng, dtype=torch.uint8)
    return Labelled(images, labels), (images // 2 + noise).expand(-1, 3, -1, -1).contiguous()


def fitted(
    method: Adaptation,
    *,
    recipe: Recipe = SHORT,
    session: Session = QUIET,
    folder: Path | None = None,
    validator: str = "info-max",
    watch: Callable[[DomainNetwork], Mapping[str, float]] | None = None,
) -> Adapted:
    source, target = digits()
    return adapt_network(
        lambda: recipe.digit_network(method),
        source,
        target,
        method=method,
        recipe=recipe,
        session=session,
        validator=validator,
        record=Record(folder, watch),
    )


def same_bits(first: Adapted, second: Adapted) -> bool:
    states = [adapted.network.state_dict() for adapted in (first, second)]
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", Adaptation.members())
def test_every_method_trains_the_digit_network(name: str) -> None:
    method: type[Adaptation] = Adaptation.members()[name]
    adapted = fitted(method(), recipe=replace(SHORT, epochs=1))  # pyright: ignore[reportAbstractUsage]
    _, target = digits()
    features, logits = run(adapted.network, target, TARGET, QUIET)
    assert features.shape == (80, 768) and logits.shape == (80, 10) and logits.isfinite().all()
    assert not adapted.network.training


def test_the_source_is_learnt_also_by_the_papers_recipe() -> None:
    source, _ = digits()
    for recipe in (replace(SHORT, epochs=12), replace(PAPER, epochs=30, batch_size=16, rate=0.05)):
        adapted = fitted(Dann(), recipe=recipe)
        _, logits = run(adapted.network, source.inputs, SOURCE, QUIET)
        assert (logits.argmax(1) == source.labels).float().mean() > 0.9


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    first, second = fitted(AdversarialTeacher()), fitted(AdversarialTeacher(), folder=tmp_path)
    assert same_bits(first, second) and first.history.rows == second.history.rows
    assert not same_bits(first, fitted(AdversarialTeacher(), session=Session(seed=1, quiet=True)))


def test_an_interrupted_adaptation_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    recipe = replace(SHORT, epochs=4)

    class Interrupted(Exception):
        pass

    calls = []

    def interrupt(network: DomainNetwork) -> Mapping[str, float]:
        calls.append(network)
        if len(calls) == 3:
            raise Interrupted
        return {}

    with pytest.raises(Interrupted):
        fitted(AdversarialTeacher(), recipe=recipe, folder=tmp_path, watch=interrupt)
    resumed = fitted(AdversarialTeacher(), recipe=recipe, folder=tmp_path)
    whole = fitted(AdversarialTeacher(), recipe=recipe)
    assert same_bits(resumed, whole)
    assert resumed.chosen == whole.chosen and resumed.history.rows == whole.history.rows


def test_a_folder_with_a_training_on_other_data_is_refused(tmp_path: Path) -> None:
    source, target = digits()

    def train(seen: Tensor) -> None:
        network = lambda: SHORT.digit_network(Dann())  # noqa: E731
        adapt_network(network, source, seen, method=Dann(), recipe=SHORT, session=QUIET, record=Record(tmp_path))

    train(target)
    with pytest.raises(DeepscopeError, match=r"of another training \(data"):
        train(target.flip(0))


def test_watching_changes_nothing() -> None:
    def watch(network: DomainNetwork) -> Mapping[str, float]:
        torch.rand(7)
        network.train()
        return {"accuracy/target": 0.5}

    watched = fitted(AdversarialTeacher(), watch=watch)
    assert same_bits(watched, fitted(AdversarialTeacher()))
    assert watched.history.column("accuracy/target")[1].tolist() == [0.5, 0.5]


def test_the_epoch_with_the_best_label_free_score_is_chosen() -> None:
    recipe = replace(SHORT, epochs=5)
    adapted = fitted(Dann(), recipe=recipe, validator="entropy")
    steps, scores = adapted.history.column("validator/entropy")
    assert adapted.chosen == steps[np.argmax(scores)] and len(steps) == 5
    last = fitted(Dann(), recipe=recipe, validator="last")
    assert last.chosen == steps[-1]
    assert adapted.chosen == last.chosen or not same_bits(adapted, last)
    with pytest.raises(DeepscopeError, match="no validator is named 'oracle'"):
        fitted(Dann(), validator="oracle")


def test_source_only_never_sees_the_target() -> None:
    source, target = digits()
    recipe = replace(SHORT, centre=False)

    def train(other: Tensor) -> Adapted:
        return adapt_network(
            lambda: recipe.digit_network(SourceOnly()),
            source,
            other,
            method=SourceOnly(),
            recipe=recipe,
            session=QUIET,
            validator="source-accuracy",
        )

    assert same_bits(train(target), train(torch.zeros_like(target)))


def test_too_few_images_are_refused() -> None:
    source, target = digits()
    with pytest.raises(DeepscopeError, match="at least three labelled images"):
        adapt_network(
            lambda: SHORT.digit_network(Dann()), source, target[:1], method=Dann(), recipe=SHORT, session=QUIET
        )


def outputs(target: Tensor, *, features: Tensor | None = None) -> Outputs:
    source = torch.eye(3).repeat(4, 1)
    labels = torch.arange(3).repeat(4)
    logits = source * 4
    logits[0] = torch.tensor([0.0, 1.0, 0.0])
    return Outputs(source, logits, labels, torch.eye(3)[target.argmax(1)] if features is None else features, target)


def test_validators_by_hand() -> None:
    score = {name: member().score for name, member in Validator.members().items()}  # pyright: ignore[reportAbstractUsage]
    assert set(score) == {"source-accuracy", "entropy", "info-max", "bnm", "class-discrepancy"}
    sure = torch.eye(3).repeat(5, 1) * 100
    flat = torch.zeros(15, 3)
    collapsed = torch.tensor([[100.0, 0.0, 0.0]]).repeat(15, 1)
    assert score["source-accuracy"](outputs(sure)) == pytest.approx(11 / 12)
    assert score["entropy"](outputs(sure)) == pytest.approx(0, abs=1e-6)
    assert score["entropy"](outputs(flat)) == pytest.approx(-math.log(3))
    assert score["info-max"](outputs(sure)) == pytest.approx(math.log(3))
    assert score["info-max"](outputs(flat)) == pytest.approx(0, abs=1e-6)
    assert score["info-max"](outputs(collapsed)) == pytest.approx(0, abs=1e-6)
    assert score["bnm"](outputs(sure)) == pytest.approx(1)  # three singular values sqrt(5) over sqrt(15 x 3)
    assert score["bnm"](outputs(collapsed)) == pytest.approx(1 / math.sqrt(3))
    # Same class: distance 0; others: |e_i - e_j|^2 = 2. Collapsed: class 0 at 0, two classes absent at 4.
    assert score["class-discrepancy"](outputs(sure)) == pytest.approx(2)
    assert score["class-discrepancy"](outputs(collapsed)) == pytest.approx(2 - 8 / 3)


def test_proxy_a_distance_is_2_apart_and_0_together() -> None:
    first, second = torch.randn(2, 300, 4, generator=torch.Generator().manual_seed(0))
    assert proxy_a_distance(first, second + 20) == pytest.approx(2)
    assert abs(proxy_a_distance(first, second)) < 0.25
    assert 0.3 < proxy_a_distance(first, second + 0.5) < 1.2


def test_a_saved_network_averages_over_the_views_of_its_training() -> None:
    recipe = Recipe()
    torch.manual_seed(0)
    network = recipe.digit_network(AdversarialTeacher())
    inputs = torch.randint(0, 256, (6, 3, 28, 28), dtype=torch.uint8)
    pixels = network.stored(inputs)
    network(pixels, TARGET)  # statistics of its own
    views = recipe.views
    assert len(set(views)) == 10 and views[0] == View()
    _, logits = run(network, inputs, TARGET, QUIET, views)
    with torch.no_grad():
        alone = [network.eval()(view(pixels), TARGET)[1] for view in views]
        saved = network.classifier(TARGET, views)(pixels)
    torch.testing.assert_close(logits, torch.stack(alone).mean(0))
    torch.testing.assert_close(saved, logits, atol=1e-4, rtol=1e-4)
    assert Augmentation(shift=0, invert=0.0).views == PAPER.views == (View(),)
