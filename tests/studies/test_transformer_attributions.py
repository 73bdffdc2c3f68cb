"""The study of a transformer's maps on a few digits: its figures from theirs, its answers from its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepscope.attributions import Attribution, Saliency, SanityCheck
from deepscope.errors import DataError, SettingError
from deepscope.results import ImageGrid, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import transformer_attributions as study
from deepscope.studies.digit_networks import NETWORKS, pixels_of, read, trained
from deepscope.studies.transformer_answers import Measured, compared, leader, questions
from deepscope.studies.transformer_attributions import TransformerAttributions
from networks import tiny_model

FEW = ("attn-lrp", "generic-attention", "gradient-times-input", "saliency")
TINY = TransformerAttributions(epochs=1, images=1000, limit=24, sanity=1, steps=3, batch_size=5)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Only the extract of MNIST is available."""
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def test_held_out_digits_are_not_trained_on_and_none_is_a_test_digit(session: Session) -> None:
    data = read(session, images=1200)
    parts = (data.train, data.held_out, data.test)
    train, held_out, test = ({image.tobytes() for image in part.images} for part in parts)
    assert (len(data.train), len(data.held_out), len(data.test)) == (1100, 100, 1000)
    assert not held_out & train and not test & (train | held_out)
    assert np.array_equal(read(session, images=1200).train.images, data.train.images)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_learn_and_finished_trainings_are_read(name: str, session: Session, tmp_path: Path) -> None:
    data = read(session, images=1000)
    model = trained(name, data, epochs=3, session=session, folder=tmp_path / name)
    with torch.no_grad():
        right = model(pixels_of(data.test)).argmax(1) == torch.tensor(data.test.labels)
    assert float(right.float().mean()) > 0.15  # chance is 0.1, with a deviation of 0.01
    again = trained(name, data, epochs=3, session=session, folder=tmp_path / name)
    assert all(torch.equal(one, other) for one, other in zip(model.network.parameters(), again.network.parameters()))


def test_figures_follow_from_measurements(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {name: member for name, member in Attribution.members().items() if name in FEW}
    monkeypatch.setattr(Attribution, "members", lambda: members)
    monkeypatch.setattr(study, "_QUERIED", ())
    monkeypatch.setattr(study, "_READS", 0.0)
    monkeypatch.setattr(study, "_SEEN", 0)
    result = TINY.run(session)
    metrics = result.metrics
    for name, methods in (("vit", FEW), ("cnn", ("gradient-times-input", "saliency"))):
        measured = [key.split("/") for key in metrics if key.startswith("beyond-pixels/")]
        assert {method for _, method, network, *_ in measured if network == name} == set(methods)
        for method in methods:
            area, chance, ink = (
                metrics[f"insertion/{one}/{name}"] - metrics[f"deletion/{one}/{name}"]
                for one in (method, "random", "pixels")
            )
            assert metrics[f"faithfulness/{method}/{name}"] == pytest.approx(area - chance)
            assert metrics[f"beyond-pixels/{method}/{name}"] == pytest.approx(area - ink)
    assert metrics["energy-pointing/pixels/cnn"] == pytest.approx(1, abs=0.05)
    assert sum(isinstance(block, ImageGrid) for block in result.blocks) == 2
    table = result.blocks[-1]
    assert isinstance(table, Table)
    answers = {str(row[0]): row for row in table.rows}
    assert "attn-lrp" in str(answers["attn-lrp on the vit"][2])
    headline = TINY.headline(result)
    assert headline is not None and headline.estimate is not None and headline.picture is not None
    best = leader(metrics)
    assert best in FEW and headline.estimate.value == metrics[f"faithfulness/{best}/vit"]


def of_gains(rng: np.random.Generator, gains: dict[str, float]) -> Measured:
    """Methods with these mean gains over random maps; the digit itself gains 0.2."""
    values: dict[str, Any] = {}
    for name, gain in {**gains, "random": 0.0, "pixels": 0.2}.items():
        noise = rng.normal(0, 0.01, 40)
        insertion = np.full(40, 0.5) + gain + noise
        values[name] = {"insertion": insertion, "deletion": np.full(40, 0.3), "energy-pointing": insertion}
    upper = {name: np.full(40, 0.9 if name == "blind" else 0.1) for name in gains}
    return Measured(Estimate(1, 1, 1), values, values, range(40), _checked(upper), {})


def _checked(upper: dict[str, Any]) -> SanityCheck:
    """Methods whose maps keep these rank correlations while half of the layers are shuffled, and none after that."""
    nothing = np.zeros(len(next(iter(upper.values()))))
    return SanityCheck(tiny_model(), {name: np.stack([one, nothing]) for name, one in upper.items()}, (0.5, 1.0))


def test_a_map_is_trusted_for_what_it_adds_to_chance_and_informative_for_what_it_adds_to_the_digit() -> None:
    one = of_gains(np.random.default_rng(0), {"good": 0.3, "fair": 0.1, "poor": 0.0, "blind": 0.3})
    assert [name for name in one.methods if one.trusted(name)] == ["good", "fair"]
    assert [name for name in one.methods if one.informative(name)] == ["good", "blind"]


def test_the_leading_method_is_chosen_on_other_digits() -> None:
    one = of_gains(np.random.default_rng(0), {"a": 0.3, "b": 0.1})
    switched = {**one.test, "a": one.test["b"], "b": one.test["a"]}
    vit = replace(one, held_out=switched)
    first = questions(vit, one)[0]
    assert vit.leader == "b"
    assert [row.text for row in first.rows] == ["b minus a"] and first.rows[0].answer == "differs"


def test_the_headline_and_the_answers_speak_of_one_leader() -> None:
    """Two methods gain the same: the first by name leads, whatever the order in which they were measured."""
    one = of_gains(np.random.default_rng(0), {"b": 0.3, "a": 0.3})
    metrics = {f"held-out/faithfulness/{name}/vit": 0.3 for name in ("b", "a")}
    assert one.leader == leader(metrics) == "a"
    assert leader({}) is None


def test_a_sanity_check_counts_with_all_methods_together() -> None:
    """A margin below 0 with an interval of its own, and not with one that holds for all eight methods."""
    rng = np.random.default_rng(0)
    gains = dict.fromkeys("abcdefgh", 0.3)
    noise = rng.normal(0, 1, 40)
    margin = -2.3 * 0.1 / np.sqrt(40) + 0.1 * (noise - noise.mean()) / noise.std()  # 2.3 standard errors below 0
    checked = _checked(dict.fromkeys(gains, 0.5 + margin))
    one = replace(of_gains(rng, gains), sanity=checked)
    assert checked.found["a"].verdict == "passes"
    assert not one.trusted("a")


def test_networks_are_compared_on_the_digits_that_both_get_right() -> None:
    """The vit's gain is 0.1 larger on each shared digit; digits of one network alone are of another kind."""
    one = of_gains(np.random.default_rng(0), {"a": 0.3})
    test = {name: {key: value[8:].copy() for key, value in values.items()} for name, values in one.test.items()}
    test["a"]["insertion"] -= 0.1
    test["a"]["insertion"][-2:] -= 100
    cnn = replace(one, test=test, digits=[*range(8, 38), 50, 51])
    vit = replace(one, digits=range(40))
    question = questions(vit, cnn)[-1]
    row = question.rows[0]
    shared = vit.gained("a")[8:38] - cnn.gained("a")[:30]
    assert row.images == 30 and row.estimate.value == pytest.approx(shared.mean()) == pytest.approx(0.1)
    assert (compared(question).measured, compared(question).verdict) == ("more faithful to it: a", "answered")
    few = replace(question, rows=(replace(row, images=3),))
    assert (compared(few).measured, compared(few).verdict) == ("not decided: a", "not decided")
    nothing = replace(question, rows=(replace(row, estimate=Estimate(*[float("nan")] * 3)),))
    assert (compared(nothing).measured, compared(nothing).verdict) == ("not decided: a", "not decided")


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"limit": 1}, {"images": 10}, {"sanity": 0}])
def test_impossible_settings_are_refused(setting: dict[str, Any], session: Session) -> None:
    with pytest.raises(SettingError):
        TransformerAttributions(**setting).run(session)


def test_nothing_is_trained_on_too_few_digits(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "trained", lambda *_, **__: pytest.fail("a network was trained"))
    with pytest.raises(
        DataError, match=r"917 digits of mnist-extract, each seen in 1 epoch, are too few .* data get mnist"
    ):
        TINY.run(session)


def test_maps_of_a_network_that_reads_few_digits_are_not_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_SEEN", 0)
    with pytest.raises(DataError, match=r"the vit reads .* % of the test digits .* 917 digits .* more epochs"):
        TINY.run(session)


def test_a_method_that_fails_on_a_later_digit_does_not_stop_the_study(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {name: member for name, member in Attribution.members().items() if name in FEW}
    maps, tried = Saliency.__call__, list[str]()

    def of_first(method: Saliency, model: Any, *given: Any, **named: Any) -> torch.Tensor:
        if model.name in tried:
            raise SettingError("error", "is out of reach")
        tried.append(model.name)
        return maps(method, model, *given, **named)

    monkeypatch.setattr(Saliency, "__call__", of_first)
    monkeypatch.setattr(Attribution, "members", lambda: members)
    monkeypatch.setattr(study, "_QUERIED", ())
    monkeypatch.setattr(study, "_READS", 0.0)
    monkeypatch.setattr(study, "_SEEN", 0)
    result = TINY.run(session)
    assert "faithfulness/gradient-times-input/cnn" in result.metrics
    assert [key for key in result.metrics if "/saliency/" in key] == []
