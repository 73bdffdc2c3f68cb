"""Requirements on an audit's figures, and the model card."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard as PublishedCard
from hypothesis import given
from hypothesis import strategies as st

from deepscope.checks.accuracy import Accuracy
from deepscope.checks.labels import Labels
from deepscope.checks.leaks import Leaks
from deepscope.checks.slices import Slices
from deepscope.cli.program import run
from deepscope.errors import DeepscopeError, FileError, SettingError, UnknownNameError
from deepscope.models import Preprocessing, VisionModel, wrap
from deepscope.report.card import ModelCard
from deepscope.report.keeping import Outcome
from deepscope.report.page import Page
from deepscope.report.requirements import Assessed, Requirement, Verdict, assess, parsed, read_requirements
from deepscope.report.running import State
from deepscope.results import Column, Note, Provenance, Result, Table
from deepscope.statistics import Estimate, mean, proportion

HOSTILE = "a|b`<script>*\x1b[31m\n---"


def _model() -> VisionModel:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    return wrap(network, ["cat", HOSTILE], preprocessing=Preprocessing(8, 8), name="mine")


def _accuracy(right: int, total: int) -> Outcome:
    metrics = {
        "images": total,
        "confidence": 0.9,
        **proportion(right, total).metrics("accuracy/top1"),
        **Estimate(0.04, 0.02, 0.06).metrics("expected-calibration-error"),
        **Estimate(0.1, 0.08, 0.12).metrics("brier"),
    }
    classes = Table(
        (Column("class"), Column("recall", ".3f")), (("cat", 0.5), (HOSTILE, 1.0), ("none", math.nan)), kind="classes"
    )
    origin = Provenance(
        models={"mine": "0" * 64},
        data="100 images",
        started="2026-01-02T03:04:05+00:00",
        versions={"torch": "2"},
    )
    return Outcome(Accuracy("photos"), Result("Accuracy", metrics=metrics, blocks=(classes,), provenance=origin))


@pytest.mark.parametrize(
    ("right", "text", "verdict"),
    [
        (99, "accuracy>=0.9", "pass"),  # [0.946, 0.998]
        (93, "accuracy>=0.9", "warn"),  # [0.863, 0.966]
        (89, "accuracy>=0.9", "fail"),  # [0.814, 0.938]
        (50, "accuracy <= 0.6", "pass"),  # [0.404, 0.596]
        (50, "accuracy<=0.55", "warn"),
        (50, "accuracy<=0.4", "fail"),
        (50, "accuracy/expected-calibration-error<=0.06", "pass"),
        (50, "accuracy/expected-calibration-error<=0.05", "warn"),
        (50, "accuracy/confidence>=9/10", "pass"),  # without an interval
        (99, "accuracy>=90%", "pass"),
        (89, "accuracy>=90%", "fail"),
    ],
)
def test_a_figure_and_its_interval_decide(right: int, text: str, verdict: Verdict) -> None:
    (found,) = assess(parsed([text]), [_accuracy(right, 100)])
    assert found.verdict == verdict, found.reason


@given(
    value=st.floats(0, 1), below=st.floats(0, 0.3), above=st.floats(0, 0.3), bound=st.floats(0, 1), least=st.booleans()
)
def test_nothing_passes_unless_every_end_keeps_to_the_bound(
    value: float, below: float, above: float, bound: float, least: bool
) -> None:
    outcome = _accuracy(1, 2)
    metrics = {**outcome.result.metrics, **Estimate(value, value - below, value + above).metrics("x")}
    outcome = Outcome(outcome.section, Result("", metrics=metrics))
    (found,) = assess([Requirement("accuracy/x", ">=" if least else "<=", bound)], [outcome])
    worst = value - below if least else value + above
    kept = (worst >= bound, value >= bound) if least else (worst <= bound, value <= bound)
    assert found.verdict == {(True, True): "pass", (False, True): "warn", (False, False): "fail"}[kept]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "accuracy/expected-calibration-error<=5",
            "always passes, because accuracy/expected-calibration-error lies between 0 and 1: write 0.05 or 5%",
        ),
        ("accuracy>=90", "can never pass, because accuracy lies between 0 and 1: write 0.9 or 90%"),
        ("robustness>=1.5", "can never pass, because robustness lies between 0 and 1: write 0.015 or 1.5%"),
        (
            "accuracy/accuracy/top1/low>=99",
            "can never pass, because accuracy/accuracy/top1/low lies between 0 and 1: write 0.99 or 99%",
        ),
        ("accuracy>=-0.1", "always passes, because accuracy lies between 0 and 1: write a share, such as 0.9 or 90%"),
        (
            "labels/wrong-labels<=500",
            "always passes, because labels/wrong-labels lies between 0 and 1: write a share, such as 0.9 or 90%",
        ),
    ],
)
def test_a_bound_outside_the_range_of_a_share_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        parsed([text])


def test_a_report_with_such_a_bound_ends_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "page")]
    assert run([*words, "--require", "accuracy/expected-calibration-error<=5"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("deepscope: --require always passes, because ") and "write 0.05 or 5%" in line
    (tmp_path / "ship.toml").write_text('[recommend]\naccuracy = ">=90"\n')
    assert run([*words, "--requirements", str(tmp_path / "ship.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "ship.toml" in line and "write 0.9 or 90%" in line
    assert not (tmp_path / "page").exists()


def test_what_is_no_share_takes_any_bound_and_a_share_its_ends() -> None:
    texts = ["leaks<=5", "accuracy/brier<=1.5", "accuracy/images>=100", "explanations>=-0.5", "corruptions/mCE<=80"]
    assert len(parsed([*texts, "accuracy>=0", "accuracy<=1", "accuracy<=100%"])) == 8


def test_a_figure_of_a_single_value_never_passes() -> None:
    metrics = mean([1.0]).metrics("brier")
    found = assessed_one("accuracy/brier>=0.5", Outcome(Accuracy("photos"), Result("Accuracy", metrics=metrics)))
    assert found.verdict == "warn", "its interval is infinite"


def assessed_one(text: str, outcome: Outcome) -> Assessed:
    (found,) = assess(parsed(text), [outcome])
    return found


def test_what_was_not_measured_is_not_passed() -> None:
    failed = Outcome(Leaks("photos"), Result("Leaks"), failure="ValueError: no")
    lacking = Outcome(Accuracy("photos"), Result("Accuracy"), missing="no images")
    wanted = parsed(["leaks<=0", "accuracy>=0", "robustness>=0"])
    found = assess(wanted, [failed, lacking])
    assert [one.verdict for one in found] == ["fail"] * 3
    assert [math.isnan(one.estimate.value) for one in found] == [True] * 3
    assert "ValueError: no" in found[0].reason and "no images" in found[1].reason and "did not run" in found[2].reason
    (other,) = assess(parsed("accuracy/bier<=1"), [_accuracy(1, 2)])
    assert other.verdict == "fail" and "accuracy/brier" in other.reason
    few = Outcome(Leaks("photos"), Result("Slices", blocks=(Note("5 images are too few.", "Slices", "verdict"),)))
    assert assessed_one("leaks/x<=0", few).reason == "not measured: 5 images are too few."
    (lenient,) = assess([Requirement("robustness", ">=", 0.5, strict=False)], [])
    assert lenient.verdict == "warn"


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy>0.9", "accuracy>=", ">=0.9", "accuracy>=0.9>=0.8", "accuracy>=9 0%", ""]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"require must look like accuracy>=0\.9"):
        parsed([text])


def test_bounds_and_checks_that_do_not_exist_are_refused() -> None:
    for text in ("accuracy>=nan", "accuracy<=inf", "accuracy>=nan%"):
        with pytest.raises(SettingError, match="require needs a finite number"):
            parsed([text])
    for text in ("accuracy>=most", "accuracy>=1/0", "accuracy>=0,9", "accuracy>=%", "accuracy>=90%%"):
        with pytest.raises(SettingError, match=r"is not a number: write 0\.9 or 90%"):
            parsed([text])
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        parsed(["acuracy>=0.9"])
    with pytest.raises(SettingError, match="require must be texts"):
        parsed([3])  # type: ignore[list-item]


def test_a_file_of_requirements(tmp_path: Path) -> None:
    path = tmp_path / "ship.toml"
    path.write_text('[require]\naccuracy = ">=0.9"\n[recommend]\n"accuracy/brier" = "<= 0.2"\n')
    assert read_requirements(path) == (
        Requirement("accuracy", ">=", 0.9),
        Requirement("accuracy/brier", "<=", 0.2, strict=False),
    )


def test_a_file_from_an_editor_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "ship.toml"
    path.write_bytes(b'\xef\xbb\xbf[require]\r\naccuracy = ">=90%"\r\n')
    assert read_requirements(path) == (Requirement("accuracy", ">=", 0.9),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"accuracy = 3", "must hold the tables"),
        (b"[require]\naccuracy = 0.9", "needs a bound"),
        (b'[require]\naccuracy = ">0.9"', "needs a bound"),
        (b'[require]\nacuracy = ">=0.9"', r"ship\.toml: no check is named 'acuracy': did you mean"),
        (b'[require]\naccuracy = ">=nan"', r"ship\.toml: require needs a finite number"),
        (b'[require]\naccuracy = ">=0.9"\naccuracy = ">=0.8"', "not a TOML file"),
        (b"[require]", "requires nothing"),
        (b"", "requires nothing"),
        (b"[require", "not a TOML file"),
        (b"\xff\xfe", "not a TOML file"),
        (b"a = " + b"[" * 5000, "not a TOML file"),
        (b"#" * 100_000, "larger than"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ship.toml"
    path.write_bytes(content)
    with pytest.raises(DeepscopeError, match=message) as error:
        read_requirements(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_requirements(tmp_path / "none.toml")
    with pytest.raises(FileError, match="cannot read"):
        read_requirements(tmp_path)


def test_the_card_holds_what_was_measured_and_says_what_was_not(tmp_path: Path) -> None:
    outcomes = [
        _accuracy(93, 100),
        Outcome(Leaks("photos"), Result("Leaks"), missing="no training images"),
    ]
    card = ModelCard.of(_model(), "my/photos", outcomes, assess(parsed(["accuracy>=0.9"]), outcomes))
    assert card.verdict == "warn"
    assert [one.name for one in card.figures] == ["accuracy", "accuracy/expected-calibration-error", "accuracy/brier"]
    assert card.figures[0].estimate == proportion(93, 100)
    card.save(tmp_path)
    document = json.loads((tmp_path / "model-card.json").read_text())
    assert document["verdict"] == "warn"
    assert document["figures"][0]["value"] == 0.93
    assert document["per_class"][1] == {"class": HOSTILE, "recall": 1.0}
    assert document["per_class"][2] == {"class": "none", "recall": None}, "JSON has no NaN"
    assert document["not_measured"][0] == {"check": "leaks", "reason": "no training images"}
    page = Page("mine").html(State(tuple(outcomes), ""), card)
    inside = page[page.index('id="model-card"') :].partition("</details>")[0]
    anchors = set(re.findall(r'href="#([^"]+)"', inside))
    assert anchors == {"accuracy", "leaks"}, "links lead to sections alone"
    assert inside.count("<table>") == 2 and "<td>0.500</td>" in inside.replace(' class="number"', "")
    left_out = {one["check"]: one["reason"] for one in document["not_measured"][1:]}
    assert "models abstain" in left_out["abstention"] and "models calibrate" in left_out["calibration by a temperature"]
    assert document["model"]["preprocessing"].startswith("resize 8 (bilinear), crop 8 x 8, mean 0.485 0.456 0.406")
    text = (tmp_path / "model-card.md").read_text()
    assert "\x1b" not in text and "<script" not in text.replace(r"\<script", "")
    assert text.count("\n---\n") == 1, "no name ends the metadata or begins a rule"
    published = PublishedCard(text)
    (result,) = (one for one in vars(published.data)["eval_results"] if one.metric_type == "accuracy")
    assert result.metric_value == 0.93 and result.dataset_name == "photos"


def test_what_a_check_could_not_decide_is_listed_as_not_measured() -> None:
    found = [
        Outcome(Slices("photos"), Result("Slices", blocks=(Note("5 images are too few.", "Slices", "verdict"),))),
        Outcome(Labels("photos"), Result("Labels", metrics={"suspects": 3.0})),
    ]
    names = [name for name, _ in ModelCard.of(_model(), "my/photos", found).unmeasured]
    assert names[:2] == ["slices", "share of wrong labels"]
    metrics = {"slices/confirmed": 0.0, **Estimate(0.1, 0.0, 0.2).metrics("wrong-labels")}
    assert Slices("photos").left_out(Result("", metrics=metrics)) == {}
    assert Labels("photos").left_out(Result("", metrics=metrics)) == {}


def test_names_beyond_ascii_reach_the_metadata_as_they_are() -> None:
    card = ModelCard.of(_model(), "my/été 🐈", [_accuracy(1, 2)])
    (result, *_) = vars(PublishedCard(card.markdown()).data)["eval_results"]
    assert result.dataset_name == "été 🐈"


def test_nothing_is_shown_that_was_not_measured() -> None:
    note = Note("Two slices fail.", "Slices", "verdict")
    found = Outcome(Leaks("photos"), Result("Leaks", metrics={"images": 2}, blocks=(note,)), failure="it broke")
    card = ModelCard.of(_model(), "my/photos", [found])
    assert card.figures == () and card.findings == () and card.per_class is None and card.verdict is None
    others = {"accuracy", "corruptions", "labels", "robustness", "slices"}
    assert card.unmeasured[0] == ("leaks", "it broke")
    assert others <= {name for name, why in card.unmeasured if why == "this audit did not run the check"}
    assert "Verdict" not in card.markdown()
