from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deepscope.checks import Check
from deepscope.command import NotKept, PartFailed
from deepscope.errors import DeepscopeError
from deepscope.report import Report
from deepscope.report.explorer import explored
from deepscope.report.keeping import Outcome, Shelf
from deepscope.report.page import Page, page
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
a.skip
nav a#top a#top a#works a#questions
main#content header#top h1
a#works details#questions table
section h2#chapter-1 section#works
article h3 figure
details.more figure table note table footer
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
    if tag == "details" and "id" not in values:
        return f"details.{classes[0]}"
    if tag == "a":
        return f"a{values['href']}" if "href" in values and "skip" not in classes else "a.skip"
    name = f"#{values['id']}" if "id" in values else ""
    return (
        f"{tag}{name}"
        if tag in {"header", "h1", "nav", "main", "section", "article", "h2", "h3", "figure", "footer", "details"}
        else ""
    )


@given(st.lists(results, max_size=3), texts, texts)
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
def test_any_results_make_a_whole_page(found: list[Result], title: str, words: str) -> None:
    outcomes = [Outcome(study(), result) for result in found]
    text = page(outcomes, title=title, introduction=words)
    checked = check(text, scripts=1 + (explored(outcomes) is not None))  # that of the explorer holds its data
    assert len(checked.all("article")) >= len(found)


def test_the_page_is_well_formed_and_asks_for_nothing(session: Session, studies: None) -> None:
    result = Report(studies=("works",)).run(session)
    assert session.out is not None
    page = check((session.out / "index.html").read_text(), scripts=1)
    assert len(page.all("img")) == 4  # the card and the figure; the animation as a still, and as a sheet of frames
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
    assert Shelf(folder, session).get(study()).kept


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
            raise DeepscopeError("the weights are not here: put them there")

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
    with pytest.raises(DeepscopeError, match="architecture"):
        Report(studies=("architectur",)).run(session)
    with pytest.raises(DeepscopeError, match="chapters must be among"):
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


def _replaced(path: Path) -> None:
    """Other content of the same size under the same name, with the same time of change, as `rsync -t` leaves it."""
    about, other = path.stat(), path.with_name("other")
    other.write_bytes(bytes(about.st_size))
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(path)


def _rewritten(path: Path) -> None:
    about = path.stat()
    path.write_bytes(bytes(about.st_size))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def _relinked(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "new file": lambda data: (data / "a" / "new.jpg").write_bytes(b"x"),
    "new file behind a link": lambda data: (data / "b" / "new.jpg").write_bytes(b"x"),
    "removed file": lambda data: (data / "a" / "1.jpg").unlink(),
    "renamed file": lambda data: (data / "a" / "1.jpg").rename(data / "a" / "3.jpg"),
    "renamed class": lambda data: (data / "a").rename(data / "A"),
    "new empty class": lambda data: (data / "c").mkdir(),
    "replaced file": lambda data: _replaced(data / "a" / "1.jpg"),
    "replaced file behind a link": lambda data: _replaced(data / "b" / "1.jpg"),
    "rewritten file": lambda data: _rewritten(data / "a" / "1.jpg"),
    "rewritten file that a link names": lambda data: _rewritten(data / "a" / "link.jpg"),
    "link to another folder": lambda data: _relinked(data / "b", data.parent / "second"),
    "link to another file": lambda data: _relinked(data / "a" / "link.jpg", Path("1.jpg")),
    "link to nothing, which now leads somewhere": lambda data: (data.parent / "nowhere").write_bytes(b"x"),
    "file in the place of a folder": lambda data: ((data / "empty").rmdir(), (data / "empty").touch()),
    "data that is gone": lambda data: data.rename(data.with_name("moved")),
}


@pytest.fixture
def linked(session: Session) -> Path:
    """Data whose folders and files are links in part, one of them to nothing and one in a circle."""
    data, outside = session.home / "data", session.home / "real"
    for folder in (data / "a", outside, data.parent / "second", data / "empty"):
        folder.mkdir()
        for number in range(3 if folder.name != "empty" else 0):
            (folder / f"{number}.jpg").write_bytes(b"content")
    (data / "b").symlink_to(outside)
    (data / "a" / "link.jpg").symlink_to(outside / "2.jpg")
    (data / "dangling.jpg").symlink_to(session.home / "nowhere")
    (data / "a" / "circle").symlink_to(data)
    (data / "a" / "self").symlink_to("self")
    return data


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_what_was_read_is_noticed(session: Session, linked: Path, change: str) -> None:
    folder = session.home.parent / "one"
    Shelf(folder, session).get(study())
    assert Shelf(folder, session).has(study())
    CHANGES[change](linked)
    assert not Shelf(folder, session).has(study())
    assert not Shelf(folder, session).get(study()).kept


def test_what_is_not_read_changes_nothing(session: Session, linked: Path) -> None:
    folder = session.home.parent / "one"
    Shelf(folder, session).get(study())
    (session.home / "beside").write_bytes(b"x")
    (linked / "a" / "1.jpg").read_bytes()
    assert Shelf(folder, replace(session, part="again")).get(study()).kept


def test_another_home_model_seed_or_damaged_key_makes_a_section_again(
    session: Session, linked: Path, tmp_path: Path
) -> None:
    folder = session.home.parent / "one"
    Shelf(folder, session, "weights").get(study())
    assert Shelf(folder, session, "weights").has(study())
    shutil.copytree(session.home, tmp_path / "home2", symlinks=True)  # same names, sizes and times
    for other in (replace(session, home=tmp_path / "home2"), replace(session, seed=1)):
        assert not Shelf(folder, other, "weights").has(study())
    assert not Shelf(folder, session, "other weights").has(study())
    for content in (b"\xff\xfe", b"", b"x" * 64):
        (folder / "works" / "inputs.sha256").write_bytes(content)
        assert not Shelf(folder, session, "weights").has(study())
    (folder / "works" / "inputs.sha256").unlink()
    (folder / "works" / "inputs.sha256").mkdir()
    assert not Shelf(folder, session, "weights").has(study())


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [FULL, DeepscopeError("some figures are missing")])
def test_a_disk_that_is_full_loses_no_section(
    session: Session, monkeypatch: pytest.MonkeyPatch, studies: None, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("deepscope.render.save", full)
    shelf = Shelf(session.home.parent / "one", session)
    outcome = shelf.get(study())
    assert outcome.result.metrics == {"figure": 1.5} and not outcome.failure
    assert not shelf.has(study())
    result = Report(studies=("works",)).run(session)
    assert result.metrics["works/figure"] == 1.5


@pytest.mark.parametrize("content", ["<html>mine</html>", "", "\xff"])
def test_a_page_of_another_program_is_not_replaced(session: Session, studies: None, content: str) -> None:
    assert session.out is not None
    session.out.mkdir()
    (session.out / "index.html").write_text(content)
    with pytest.raises(DeepscopeError, match=r"index\.html was not written by deepscope: move it away"):
        Report(studies=("works",)).run(session)
    assert (session.out / "index.html").read_text() == content and not RAN
    (session.out / "index.html").unlink()
    for _ in range(2):  # its own page is replaced
        Report(studies=("works",)).run(session)


def test_a_file_in_the_place_of_the_sections_is_refused_before_anything_runs(session: Session, studies: None) -> None:
    assert session.out is not None
    session.out.mkdir()
    (session.out / "studies").write_text("mine")
    with pytest.raises(DeepscopeError, match=r"studies is not a folder, and holds the finished sections: move it away"):
        Report(studies=("works",)).run(session)
    assert not RAN and [path.name for path in session.out.iterdir()] == ["studies"]


def test_a_file_in_the_place_of_a_section_is_left_alone(session: Session, studies: None) -> None:
    assert session.out is not None
    (session.out / "studies").mkdir(parents=True)
    (session.out / "studies" / "works").write_text("mine")
    assert Report(studies=("works",)).run(session).metrics["works/figure"] == 1.5
    assert (session.out / "studies" / "works").read_text() == "mine"


def test_ctrl_c_while_the_page_is_drawn_is_said_on_it(
    session: Session, monkeypatch: pytest.MonkeyPatch, studies: None
) -> None:
    drawn, stops = Page.html, iter([True])

    def interrupted(*arguments: Any) -> str:
        if next(stops, False):
            raise KeyboardInterrupt
        return drawn(*arguments)

    monkeypatch.setattr("deepscope.report.page.Page.html", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Report(studies=("works",)).run(session)
    assert session.out is not None and not RAN
    assert "Interrupted in works." in (session.out / "index.html").read_text()


def test_a_page_that_cannot_be_written_loses_no_result(
    session: Session, monkeypatch: pytest.MonkeyPatch, studies: None
) -> None:
    def full(*_: object, **__: object) -> str:
        raise FULL

    monkeypatch.setattr("deepscope.report.page.Page.html", full)
    with pytest.raises(NotKept, match=r"the page cannot be written .*No space left") as caught:
        Report(studies=("works",)).run(session)
    assert caught.value.result.metrics["works/figure"] == 1.5
    assert not any(isinstance(block, Note) for block in caught.value.result.blocks)
