"""The study of saliency on two small networks: its figures from theirs, its answers from its figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm, spearmanr

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.results import ImageGrid, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import saliency
from deepscope.studies.claims import Question, Row, rank_correlation, unpaired
from deepscope.studies.saliency import Saliency
from networks import tiny_model

WNIDS = ("n00000000", "n00000001", "n00000002", "n00000003")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Four photographs of each of four classes, and nothing but tiny networks to look at them."""

    def load(name: str, session: Session) -> VisionModel:
        if name == "vgg16":
            raise DeepscopeError("vgg16 has features only")
        return dataclasses.replace(tiny_model(seed=len(name)), name=name, wnids=WNIDS)

    monkeypatch.setattr(saliency, "load_model", load)
    folder, rng = tmp_path / "data" / "imagenet-sample", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for index in range(8):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((20, 20)).save(folder / f"{WNIDS[index % 4]}_{index}.png")
    return Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)


def test_every_claim_is_answered_from_its_figures(session: Session) -> None:
    result = Saliency(models=("one", "second", "vgg16"), steps=4, batch_size=3).run(session)
    table = result.blocks[-1]
    assert isinstance(table, Table)
    verdicts = {str(row[0]): row[3] for row in table.rows}
    assert [question for question, said in verdicts.items() if said == "not measured here"] == ["The maps of vgg16"]
    for name in ("one", "second"):
        for asked in ("Right and wrong predictions", "SmoothGrad against noise", "Saturation", "Sanity check"):
            assert any(question.startswith(asked) and name in question for question in verdicts)
    assert result.metrics["images/one"] == 8
    arrays, metrics = result.arrays, result.metrics
    gap = arrays["second/roughness/saliency"] - arrays["one/roughness/saliency"]
    assert np.isclose(metrics["networks/roughness/second"], gap.mean())
    gained = arrays["one/insertion/grad-cam"] - arrays["one/deletion/grad-cam"]
    chance = arrays["one/insertion/random"] - arrays["one/deletion/random"]
    faithfulness = arrays["one/faithfulness/grad-cam"]
    assert (np.sign(gained - chance) == np.sign(faithfulness)).all()
    assert (np.abs(faithfulness) >= np.abs(gained - chance)).all()  # a share of a probability
    assert sum(isinstance(block, ImageGrid) for block in result.blocks) == 2


def test_a_network_without_the_images_classes_is_not_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = saliency.load_model

    def load(name: str, session: Session) -> VisionModel:
        model = known(name, session)
        return dataclasses.replace(model, wnids=(), categories=("a", "b", "c", "d")) if name == "other" else model

    monkeypatch.setattr(saliency, "load_model", load)
    table = Saliency(models=("other", "one"), steps=2).run(session).blocks[-1]
    assert isinstance(table, Table)
    rows = {str(row[0]): row for row in table.rows}
    assert rows["The maps of other"][3] == "not measured here" and "name them" in str(rows["The maps of other"][4])
    with pytest.raises(DeepscopeError, match="must know a class of the images"):
        Saliency(models=("other",), steps=2).run(session)


def test_what_was_measured_is_not_measured_again(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Saliency(models=("one",), steps=4)
    first = study.run(session)
    monkeypatch.setattr("deepscope.attributions.measuring.measured", None)
    monkeypatch.setattr("deepscope.attributions.faithfulness.Randomisation.__call__", None)
    assert study.run(session).metrics == pytest.approx(dict(first.metrics), nan_ok=True)


def test_without_any_network_it_says_so(session: Session) -> None:
    with pytest.raises(DeepscopeError, match="none of vgg16 can"):
        Saliency(models=("vgg16",)).run(session)


@pytest.mark.parametrize(
    ("claimed", "low", "high", "said"),
    [
        (1, 0.1, 0.3, "reproduced"),
        (1, -0.3, -0.1, "differs"),
        (-1, -0.3, -0.1, "reproduced"),
        (-1, 0.1, 0.3, "differs"),
        (1, -0.1, 0.3, "not decided"),
        (1, float("nan"), float("nan"), "not decided"),
        (0, 0.1, 0.3, "measured"),
    ],
)
def test_a_claim_needs_the_whole_interval(claimed: int, low: float, high: float, said: str) -> None:
    row = Row("name", "text", Estimate((low + high) / 2, low, high), claimed, 6)
    assert row.answer == said
    assert dataclasses.replace(row, images=5).answer in ("measured", "not decided")


def test_of_few_images_nothing_has_an_interval_or_a_verdict() -> None:
    row = Row("name", "text", Estimate(-0.2512, -0.2953, -0.2047), -1, 2)
    asked = Question("?", "claim", (row, dataclasses.replace(row, claimed=0)))
    assert asked.table().rows[0] == ("text", -0.2512, None, None, "not decided")
    assert asked.answer().measured == "text -0.25"
    study = Saliency(models=("one",))
    metrics = {"images/one": 2.0, **row.estimate.metrics("smooth-grad/max-sensitivity/one")}
    for method in ("saliency", "smooth-grad"):
        metrics |= Estimate(0.75, 0.7, 0.8).metrics(f"max-sensitivity/{method}/one")
    few, enough = (study.headline(Result("R", metrics=metrics | {"images/one": count})) for count in (2.0, 60.0))
    assert few is not None and enough is not None
    assert (few.estimate, few.verdict) == (None, "") and "too few to decide" in few.finding
    assert enough.verdict == "reproduced"


def test_what_has_no_figure_is_not_measured() -> None:
    nothing, something = Estimate(*[float("nan")] * 3), Estimate(0.2, 0.1, 0.3)
    none, some = Row("a", "one", nothing, 1, 9), Row("b", "two", something, 1, 9)
    assert Question("?", "claim", (none, none)).answer().verdict == "not measured here"
    assert Question("?", "claim", (none, some)).table().rows[0] == ("one", None, None, None, "not decided")
    answer = Question("?", "claim", (none, some)).answer()
    assert (answer.verdict, answer.measured) == ("reproduced", f"two {something}: reproduced")


def test_rank_correlation_is_spearmans_within_its_interval() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=40)
    second = np.round(first + rng.normal(size=40), 1)
    found = rank_correlation(first, second)
    assert found.low < found.value < found.high
    assert np.isclose(found.value, spearmanr(first, second)[0])  # type: ignore[arg-type]
    assert np.isnan(rank_correlation(first, np.ones(40)).value)


def test_intervals_of_two_groups_hold_as_often_as_they_say() -> None:
    """Against Welch's interval, also far out, where several figures count together."""
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.3, 1, 66), rng.normal(0, 1, 36)
    spread = np.sqrt(first.var(ddof=1) / 66 + second.var(ddof=1) / 36)
    for confidence in (0.95, 0.9875):
        found = unpaired(first, second, confidence=confidence)
        reach = norm.ppf((1 + confidence) / 2) * spread
        assert found.value == pytest.approx(first.mean() - second.mean())
        assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach), abs=0.15 * reach)


def test_images_without_a_value_take_no_part() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 40))
    unknown = np.array([np.nan, 3.0, np.nan])
    found = rank_correlation(np.append(first, unknown), np.append(second, [1.0, np.nan, np.nan]))
    assert found == rank_correlation(first, second)
    assert unpaired(np.append(unknown, first), second) == unpaired(np.append(3.0, first), second)
    for empty in (rank_correlation(unknown, unknown[::-1] * np.nan), unpaired(unknown * np.nan, second)):
        assert np.isnan([empty.value, empty.low, empty.high]).all()
