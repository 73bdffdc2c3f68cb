from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from deepscope.errors import InputError
from deepscope.jobs import PartFailed
from deepscope.report import Report
from deepscope.report.keeping import Outcome, run_or_keep
from deepscope.report.page import page
from deepscope.results import Animation, Column, ImageGrid, Note, Picture, Result, Table
from deepscope.session import Session
from deepscope.studies import Answer, Budget, Study, answers

RAN: list[str] = []


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


def _study(base: type[Study]) -> type[Study]:
    base.__module__ = __name__
    return base


@dataclass(frozen=True)
class _Tiny:
    chapter: ClassVar[str] = "9.9 Tests"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 90.0}
    name: ClassVar[str] = "works"
    example: ClassVar[str] = "deepscope study works"
    text: str = "<b>&</b>"

    @classmethod
    def within(cls, budget: Budget) -> _Tiny:
        return cls()

    def settings(self) -> dict[str, str]:
        return {"text": self.text}

    def run(self, session: Session) -> Result:
        RAN.append(self.name)
        pixels = np.zeros((8, 8, 3), np.uint8)
        return Result(
            "A <i>title</i>",
            metrics={"figure": 1.5},
            blocks=(
                ImageGrid(((Picture(pixels, "a & b"),),), title="Grid"),
                Animation(np.zeros((3, 8, 8, 3), np.uint8), title="Moving"),
                Table((Column("n", "d"), Column("text")), ((2, "b"), (10, "a"), (None, "c"))),
                Note(self.text),
                answers([Answer("1. Why?", "0.9", "0.91 [0.90, 0.92]", "reproduced")]),
            ),
        )


class Works(_Tiny):
    """Stands outside the registry: it looks like a study, and `deepscope study` does not list it."""


class Breaks(_Tiny):
    name: ClassVar[str] = "breaks"

    def run(self, session: Session) -> Result:
        raise RuntimeError("the disk caught <fire>")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in {"meta", "link", "img", "input", "source", "br"}:
            self.open.append(tag)
        if tag == "img":
            self.images.append(values)
        self.addresses += [value or "" for key, value in attrs if key in {"src", "href", "srcset"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text())
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_asks_for_nothing(session: Session, studies: None) -> None:
    result = Report(studies=("works",)).run(session)
    assert session.out is not None
    reader = _read(session.out / "index.html")
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert len(reader.images) == 2
    assert all(image["alt"] for image in reader.images)
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
    study: Study = Works()  # type: ignore[assignment]
    run_or_keep(study, session, folder)
    (folder / "result.json").write_text("{")
    outcome = run_or_keep(study, session, folder)
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
    class Lacks(_Tiny):
        def run(self, session: Session) -> Result:
            raise InputError("the weights are not here: put them there")

    study: Study = Lacks()  # type: ignore[assignment]
    outcome = run_or_keep(study, session, session.home.parent / "lacks")
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
    for study in Study.concrete():
        assert study.chapter[0].isdigit()
        assert set(study.minutes) == {"quick", "full"}


def test_the_script_may_run_and_nothing_else() -> None:
    study: Study = Works()  # type: ignore[assignment]
    text = page([Outcome(study, Result("t"))], title="T", introduction="I")
    assert text.count("<script>") == 1
    assert "script-src 'sha256-" in text
    assert "default-src 'none'" in text
