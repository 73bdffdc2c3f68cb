from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deepscope.checks import Check
from deepscope.errors import InputError
from deepscope.jobs import PartFailed
from deepscope.report import Report
from deepscope.report.keeping import Outcome, Shelf
from deepscope.report.page import page
from deepscope.results import Note, Result
from deepscope.session import Session
from deepscope.studies import Study
from html_pages import check
from results_strategies import results, texts
from toy_sections import RAN, Breaks, Works, study


@pytest.fixture
def session(tmp_path: Path) -> Session:
    RAN.clear()
    (tmp_path / "home" / "data").mkdir(parents=True)
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", out=tmp_path / "out", quiet=True)


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The report knows two tiny studies and nothing else."""
    with monkeypatch.context() as patched:
        patched.setattr(Study, "members", classmethod(lambda cls: {"works": Works, "breaks": Breaks}))
        yield


GOLDEN = """
a.skip header
h1 nav
a#at-a-glance a#works
main#content section#at-a-glance
article h2 table footer
section section#works
article h2 figure figure table note table footer
"""


def test_the_structure_of_the_page(session: Session, studies: None) -> None:
    Report(studies=("works",)).run(session)
    assert session.out is not None
    page = check((session.out / "index.html").read_text(), scripts=1)
    assert [_outlined(tag, values) for tag, values in page.tags if _outlined(tag, values)] == GOLDEN.split()


def _outlined(tag: str, values: dict[str, str]) -> str:
    """A tag as the golden structure writes it; nothing for what it leaves out."""
    classes = values.get("class", "").split()
    if tag == "div" and "note" in classes:
        return "note"
    if tag == "figure" and "table" in classes:
        return "table"
    if tag == "a":
        return f"a{values['href']}" if "href" in values and "skip" not in classes else "a.skip"
    name = f"#{values['id']}" if "id" in values else ""
    return (
        f"{tag}{name}" if tag in {"header", "h1", "nav", "main", "section", "article", "h2", "figure", "footer"} else ""
    )


@given(st.lists(results, max_size=3), texts, texts)
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
def test_any_results_make_a_whole_page(found: list[Result], title: str, words: str) -> None:
    text = page([Outcome(study(), result) for result in found], title=title, introduction=words)
    checked = check(text, scripts=1)
    assert len(checked.all("article")) >= len(found)


def test_the_page_is_well_formed_and_asks_for_nothing(session: Session, studies: None) -> None:
    result = Report(studies=("works",)).run(session)
    assert session.out is not None
    page = check((session.out / "index.html").read_text(), scripts=1)
    assert len(page.all("img")) == 3  # the animation as a still, and as a sheet of frames
    text = (session.out / "index.html").read_text()
    assert "<b>&</b>" not in text
    assert "<i>title" not in text
    assert result.metrics["works/figure"] == 1.5


def test_a_finished_study_is_kept_until_an_input_changes(session: Session, studies: None) -> None:
    report = Report(studies=("works",))
    assert report.run(session).metrics["kept"] == 0
    assert report.run(session).metrics["kept"] == 1
    (session.home / "data" / "new.jpg").write_bytes(b"x")
    assert report.run(session).metrics["kept"] == 0
    assert RAN == ["works", "works"]


def test_a_damaged_result_is_made_again(session: Session) -> None:
    folder = session.home.parent / "one"
    Shelf(folder, session).get(study())
    (folder / "works" / "result.json").write_text("{")
    outcome = Shelf(folder, session).get(study())
    assert not outcome.kept
    assert outcome.failure == ""


def test_a_study_that_fails_does_not_sink_the_report(session: Session, studies: None) -> None:
    with pytest.raises(PartFailed, match="breaks"):
        Report().run(session)
    assert session.out is not None
    text = (session.out / "index.html").read_text()
    assert "the disk caught &lt;fire&gt;" in text
    assert 'id="works"' in text


def test_what_is_not_here_is_not_measured_and_no_failure(session: Session) -> None:
    class Lacks(Works):
        def run(self, session: Session) -> Result:
            raise InputError("the weights are not here: put them there")

    outcome = Shelf(session.home.parent, session).get(study(Lacks))
    assert outcome.failure == ""
    (note,) = outcome.result.blocks
    assert isinstance(note, Note)
    assert (note.title, note.text) == ("Not measured here", "the weights are not here: put them there")


def test_the_list_runs_nothing_and_says_what_it_costs(session: Session, studies: None) -> None:
    listed = Report(list=True, budget="quick").run(session)
    assert listed.metrics == {"studies": 2, "minutes": 1}
    assert RAN == []


def test_the_budget_follows_the_home(session: Session, tmp_path: Path, studies: None) -> None:
    assert Report(list=True).run(session).metrics["minutes"] == 180
    bare = Session(home=tmp_path / "nothing", quiet=True)
    assert Report(list=True).run(bare).metrics["minutes"] == 1


def test_what_does_not_exist_is_refused(session: Session) -> None:
    with pytest.raises(InputError, match="architecture"):
        Report(studies=("architectur",)).run(session)
    with pytest.raises(InputError, match="no study is of chapter"):
        Report(chapters=("77",)).run(session)


def test_every_study_says_its_chapter_and_cost() -> None:
    for section in (*Study.concrete(), *Check.concrete()):
        assert section.chapter[0].isdigit()
        assert set(section.minutes) == {"quick", "full"}


def test_the_script_may_run_and_nothing_else() -> None:
    text = page([Outcome(study(), Result("t"))], title="T", introduction="I")
    assert text.count("<script>") == 1
    assert "script-src 'sha256-" in text
    assert "default-src 'none'" in text
