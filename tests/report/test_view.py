"""What the page says first: cards, numbers and their digits, what is open, and what a full run measured elsewhere."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepscope.checks.leaks import Leaks
from deepscope.command import Headline
from deepscope.report import full_runs, running
from deepscope.report.card import ModelCard
from deepscope.report.keeping import Outcome, Shelf
from deepscope.report.overview import overview, unanswered
from deepscope.report.page import Page
from deepscope.report.running import Clock, State, expected, run
from deepscope.report.view import Number, cards, part, pending, sentence
from deepscope.results import Bars, ImageGrid, Note, Picture, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import Answer, Study, answers
from html_pages import check
from networks import tiny_model
from toy_sections import RAN, Works, study


def _number(value: float, low: float, high: float, form: str = "share") -> tuple[str, str]:
    found = Number.of(Headline("", "x", Estimate(value, low, high), form=form))  # type: ignore[arg-type]
    assert found is not None
    return found.value.replace("\N{NO-BREAK SPACE}", " "), found.interval


def test_numbers_have_the_digits_that_their_intervals_support() -> None:
    assert _number(0.775, 0.672, 0.853) == ("78 %", "67 to 85")
    assert _number(0.93099, 0.9213, 0.9395) == ("93.1 %", "92.1 to 94.0")
    assert _number(0.99259, 0.99122, 0.99398) == ("99.26 %", "99.12 to 99.40")
    assert _number(-0.2463, -0.2952, -0.1957, "number") == (
        "\N{MINUS SIGN}0.25",
        "\N{MINUS SIGN}0.30 to \N{MINUS SIGN}0.20",
    )
    assert _number(1000, 1000, 1000, "count") == ("1,000", "")
    assert _number(0.509, -math.inf, math.inf) == ("51 %", "no interval")
    assert Number.of(Headline("")) is None


def test_estimates_read_back_what_they_wrote() -> None:
    estimate = Estimate(0.5, 0.4, 0.6)
    assert Estimate.of(estimate.metrics("a/b"), "a/b") == estimate
    assert Estimate.of({"a/x": 1, "a/low/x": 0, "a/high/x": 2}, "a", "/x") == Estimate(1, 0, 2)
    assert math.isnan(Estimate.of({}, "a").value)


def _outcome(*items: Answer) -> Outcome:
    return Outcome(study(), Result("Found", blocks=(answers(items),)))


def test_what_few_images_leave_open_is_listed_apart() -> None:
    outcome = _outcome(
        Answer("1. Why?", "0.9", "0.91", "reproduced"),
        Answer("2. How?", "yes", "0.1 [-0.1, 0.3]", "not decided", "8 images do not decide it"),
        Answer("3. Where?", "-", "-", "not measured here", "vgg16 is missing"),
    )
    (table,) = overview([outcome]).blocks
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == ["1. Why?"]
    missing = replace(outcome, result=Result("Photographs"), missing="15scene is not here")
    assert [(question, why) for _, question, why, _ in unanswered([outcome, missing])] == [
        ("2. How?", "8 images do not decide it"),
        ("3. Where?", "vgg16 is missing"),
        ("Photographs", "15scene is not here"),
    ]
    said = sentence([part(outcome)])
    assert said.startswith("1 experiment of") and "1 question is answered, 1 published finding is" in said
    assert said.endswith("reproduced and none differs.")
    page = check(Page("T").html(State((outcome, missing), "I")), scripts=1)
    text = " ".join(page.text)
    assert text.count("8 images do not decide it") == 2  # in the list, and in the study's own folded table
    assert "3 questions that this run leaves open" in text


def test_the_sentence_of_an_audit_says_how_many_checks_came_to_no_verdict() -> None:
    one = part(Outcome(Leaks("photos"), Result("Leaks"), missing="photos are not here"))
    clean, seen, few = (
        replace(one, headline=Headline("Found.", verdict=verdict, tone=tone))  # type: ignore[arg-type]
        for verdict, tone in (("clean", "good"), ("look at these", "attention"), ("", "plain"))
    )
    assert sentence([clean]) == "1 check of a classifier: no problems found."
    assert sentence([few]) == "1 check of a classifier: no verdict."  # which is not the same as no problem
    assert sentence([few, few]) == "2 checks of a classifier: no verdict."
    assert sentence([clean, few]) == "2 checks of a classifier: no problems found, 1 without a verdict."
    assert sentence([seen, few, few]) == "3 checks of a classifier: 1 finding to look into, 2 without a verdict."


def test_on_a_phone_each_answer_stands_below_the_name_of_its_column() -> None:
    section = Study.member("adaptation-of-photographs").within("quick")
    outcome = Outcome(section, Result("Adaptation"), missing="15scene is not here")
    html = Page("T").html(State((outcome,), "I"))
    tables = [table.partition("</table>")[0] for table in html.split('<table class="answers"')[1:]]
    headings = [re.findall(r"<th [^>]*>([^<]*)</th>", table) for table in tables]
    assert headings == [
        ["section", "question", "what is missing", "measured so far"],
        ["question", "published", "measured in the full run", "verdict"],
    ]
    for table, names in zip(tables, headings, strict=True):
        rows = table.partition("<tbody>")[2].split("</tr>")[:-1]
        assert rows and all(re.findall(r'<td [^>]*data-name="([^"]*)"', row) == names for row in rows)
    assert (
        '<a href="#adaptation-of-photographs">adaptation-of-photographs</a> <small>(full run there)</small>'
        in tables[0]
    )


class Second(Works):
    name = "second"

    def headline(self, result: Result) -> Headline:
        return Headline("Second.", "of all", Estimate(0.5, 0.4, 0.6), weight=1, verdict="differs", tone="attention")


def test_a_chapter_s_card_shows_its_weightiest_section() -> None:
    outcomes = [Outcome(one, one.run(Session(quiet=True))) for one in (study(), study(Second))]
    (card,) = cards([part(outcome) for outcome in outcomes])
    assert card.part.name == "second" and card.number is not None and card.number.value.startswith("50")
    page = check(Page("T").html(State(tuple(outcomes), "I")), scripts=1)
    (verdict, *_) = [values for tag, values in page.tags if values.get("class", "").startswith("verdict")]
    assert verdict["class"] == "verdict attention"
    strip = [values["href"] for tag, values in page.tags if tag == "a"]
    assert "#works" in strip


def test_a_warning_on_the_images_is_given_once_on_a_page_and_its_card() -> None:
    shared = Note("They may be training images.", "Test images", "warning")
    own = Note("Few images.", "Few", "warning")
    outcomes = tuple(
        Outcome(one, Result("Found", blocks=(shared, own, Note("So it is.", level="verdict"))))
        for one in (study(), study(Second))
    )
    card = ModelCard.of(tiny_model(), "photos", outcomes)
    assert [(one.check, one.text) for one in card.findings if one.attention and "." in one.text][-2:] == [
        ("second", "Second."),
        ("second", own.text),
    ]
    assert sum(one.text == shared.text for one in card.findings) == 1
    assert sum(one.text == own.text for one in card.findings) == 2
    page = Page("T").html(State(outcomes, "I"))
    assert (page.count(shared.text), page.count(own.text)) == (1, 2)


def test_chapters_to_come_have_their_place_on_the_first_screen() -> None:
    first, second = (Study.member(name).within("quick") for name in ("adversarial", "generation"))
    done = Outcome(study(), study().run(Session(quiet=True)))
    state = State((done,), "I", running=(first,), waiting=(second, study(Second)))
    assert sorted(pending(state)) == [(first.chapter, "being measured"), (second.chapter, "to come")]
    assert {one.word for one in pending(replace(state, stopped=True))} == {"interrupted", "to come"}
    assert pending(State((done,), "I")) == []
    assert Page("T").html(state).count('<li class="card pending">') == 2


def test_a_published_figure_without_a_verdict_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Headline("Few.", "of all", Estimate(0.5, 0.1, 0.9), published="0.9")
    monkeypatch.setattr(Works, "headline", lambda self, result: few)
    outcome = Outcome(study(), study().run(Session(quiet=True)))
    assert Page("T").html(State((outcome,), "I")).count(">too little data<") == 2, "on its card, and in its section"
    monkeypatch.setattr(Works, "headline", lambda self, result: replace(few, verdict="differs"))
    assert "too little data" not in Page("T").html(State((outcome,), "I"))


def test_what_was_measured_elsewhere_is_never_shown_as_measured_here() -> None:
    section = Study.member("adaptation-of-photographs").within("quick")
    outcome = Outcome(section, Result("Adaptation"), missing="15scene is not here")
    (card,) = cards([part(outcome)])
    assert not card.here and card.number is not None and card.picture.startswith("data:image/webp")
    text = " ".join(check(Page("T").html(State((outcome,), "I")), scripts=1).text)
    assert "Measured with the real data, not on this machine" in text
    assert "with the real data (1500 training and 2985 test images of 15scene), not on this machine" in text


@pytest.mark.parametrize("name", [*Study.members()])
def test_every_study_has_a_full_run_that_says_where_it_comes_from(name: str) -> None:
    found = full_runs.full_run(name)
    assert found is not None
    assert len(found.headline.finding) < 330 and ". " in found.headline.finding
    assert found.headline.label and found.headline.estimate is not None
    assert found.date.startswith("20") and found.command.startswith(f"deepscope study {name}")
    assert all(len(answer) == 5 for answer in found.answers)


def test_the_full_runs_are_small() -> None:
    assert sum(path.stat().st_size for path in full_runs.FOLDER.iterdir()) < 3 * 2**20


def test_a_grid_s_card_shows_its_first_pictures() -> None:
    from deepscope.render import plots

    red, blue = (np.full((8, 12, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    grid = ImageGrid(((Picture(red), Picture(blue)), (Picture(blue), Picture(red))))
    pixels = _decoded(plots.tile(grid))
    assert pixels.shape == (400, 600, 3)
    assert pixels[100, 100].argmax() == 0 and pixels[100, 500].argmax() == 2 and pixels[300, 100].argmax() == 2
    bars = _decoded(plots.tile(ImageGrid(((Bars(("a",), (0.5,)),),))))
    assert bars.shape == (400, 600, 3) and bars.std() > 1


def _decoded(content: bytes) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    RAN.clear()
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def test_the_page_is_complete_before_each_section_and_says_what_is_to_come(session: Session, tmp_path: Path) -> None:
    shelf, page = Shelf(tmp_path / "kept", session), Page("T")
    states = list(run([study(), study(Second)], shelf, "quick"))
    found = [(len(state.outcomes), [one.name for one in state.running]) for state in states]
    assert found == [(0, ["works"]), (1, ["second"]), (2, [])]
    texts = [" ".join(check(page.html(state), scripts=1).text) for state in states]
    assert "Running: works." in texts[0] and "To come: second." in texts[0]
    assert "1 of 2 sections are finished." in texts[1] and "Running:" not in texts[2]
    assert [len(list(run([study()], shelf, "quick")))] == [1]  # what is kept is read at once


def test_an_interrupted_report_says_where_it_resumes(session: Session, tmp_path: Path) -> None:
    class Stopped(Works):
        def run(self, session: Session) -> Result:
            raise KeyboardInterrupt

    states = run([study(Stopped)], Shelf(tmp_path / "kept", session), "quick")
    next(states)
    last = next(states)
    assert "Interrupted in works." in " ".join(check(Page("T").html(last), scripts=1).text)
    with pytest.raises(KeyboardInterrupt):
        next(states)


def test_the_time_left_follows_the_measured_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(running.time, "monotonic", lambda: now)
    clock = Clock({"works": 2, "second": 4, "third": 6})
    assert clock.left() == 12
    now = 60 * 4.0  # the first took twice as long as expected
    clock.done(study())
    assert 10 * 1.5 < clock.left() <= 20


def test_what_a_section_took_before_is_what_it_is_expected_to_take(session: Session, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "kept", session)
    assert expected([study()], shelf, "quick") == {"works": 0.5}
    shelf.get(study())
    assert expected([study()], shelf, "quick") == {}
    (tmp_path / "home" / "data").mkdir(parents=True)  # its data has changed: it runs again
    again = Shelf(tmp_path / "kept", session)
    assert expected([study()], again, "quick")["works"] < 0.1

    class Lacking(Works):
        def ready(self, session: Session) -> bool:
            return False

    assert expected([study(Lacking)], Shelf(tmp_path / "other", session), "quick") == {"works": 0.0}
