"""Sections that several processes make at once: the same outcomes, whatever happens to a process."""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.connection
import multiprocessing.spawn
import multiprocessing.util
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from deepscope.command import Section
from deepscope.report import Report, running
from deepscope.report.keeping import Shelf
from deepscope.report.making import AtOnce, InTurn, maker
from deepscope.report.running import Clock, following, run
from deepscope.results import Note, Table
from deepscope.session import Advance, Session
from deepscope.studies import Study
from results_strategies import EVERYTHING
from toy_processes import Again, Dies, Hangs, Meets, MeetsToo, Noted, Other, Resumes, Speaks, SpeaksToo, Waiting, noted
from toy_sections import Breaks, study

TESTS = Path(__file__).parent.parent
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from deepscope.report.keeping import Shelf
from deepscope.report.making import AtOnce
from deepscope.session import Advance, Session
from toy_processes import Noted
from toy_sections import study

cache = Path(sys.argv[1])
(cache / "ran").mkdir()
signal.signal(signal.SIGINT, lambda *_: None)
with AtOnce(Shelf(cache / "kept", Session(home=cache / "home", cache=cache, quiet=True)), 1, {}) as making:
    making.start(study(Noted), "")
    if "ctrl-C" in sys.argv:
        time.sleep(0.5)
        os.killpg(0, signal.SIGINT)
    outcome = making.finished()
    print(outcome.failure or outcome.result.title)
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path, quiet=True)


def _environment() -> dict[str, str]:
    """Which finds the toy sections. An empty part of the path would be the working folder."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"  # a zombie computes nothing


def test_a_result_reaches_another_process_unchanged() -> None:
    again = pickle.loads(pickle.dumps(EVERYTHING))
    assert again.title == EVERYTHING.title and again.metrics == EVERYTHING.metrics
    assert list(map(type, again.blocks)) == list(map(type, EVERYTHING.blocks))
    with pytest.raises(TypeError, match="mappingproxy"):
        again.metrics["new"] = 1.0


def test_processes_make_what_one_process_makes_and_divide_the_threads(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Section] = [study(Noted), study(Breaks), study(Other)]
    (*_, alone) = run(chosen, Shelf(tmp_path / "alone", session), "quick")
    shelf = Shelf(tmp_path / "kept", session)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(running, "maker", lambda *_: AtOnce(shelf, 2, {}))
    states = list(run(chosen, shelf, "quick"))
    assert max(len(state.running) for state in states) == 2, "two chapters are made at once"
    assert [one.section for one in states[-1].outcomes] == chosen, "they stand in the order of the page"
    for mine, theirs in zip(states[-1].outcomes, alone.outcomes, strict=True):
        assert mine.result.title == theirs.result.title and mine.result.metrics == theirs.result.metrics
        assert mine.failure == theirs.failure
    assert states[-1].outcomes[1].failure == "RuntimeError: the disk caught <fire>"
    monkeypatch.undo()
    processes = {noted(tmp_path, name)[0] for name in ("noted", "other")}
    assert len(processes) == 2 and os.getpid() not in processes
    assert {noted(tmp_path, name)[1] for name in ("noted", "other")} == {2}
    assert not any(map(_alive, processes)), "they end with the report"
    assert shelf.has(study(Noted)) and shelf.has(study(Other)) and not shelf.has(study(Breaks))


def test_a_process_that_dies_costs_its_section_only(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AtOnce(Shelf(tmp_path / "kept", session), 2, {"dies": 1}) as making:
        making.start(study(Dies), "")
        with monkeypatch.context() as elsewhere:
            elsewhere.delattr(signal, "SIGKILL", raising=False)  # as on Windows
            outcome = making.finished()
        assert outcome.failure == "its process ended by signal 9: it may have run out of memory"
        assert outcome.result.blocks
        making.start(study(Noted), "")
        assert making.finished().result.title == "noted"


def _no_processes(monkeypatch: pytest.MonkeyPatch) -> str:
    """As where the limit of processes is reached."""

    def refused(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", refused)
    return "Resource temporarily unavailable"


def _no_files(monkeypatch: pytest.MonkeyPatch) -> str:
    def refused(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(multiprocessing.connection, "Pipe", refused)
    return "Too many open files"


def _no_interpreter(monkeypatch: pytest.MonkeyPatch) -> str:
    """As where it was removed, or a process is killed while it loads: it starts, but does not come far."""
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/nowhere/python")
    return "it ended with status 255"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows starts processes in another way")
@pytest.mark.parametrize("spoil", [_no_processes, _no_files, _no_interpreter])
def test_where_no_process_can_be_started_the_report_makes_its_sections_itself(
    spoil: Callable[[pytest.MonkeyPatch], str],
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    speaking = replace(session, quiet=False)
    shelf = Shelf(tmp_path / "kept", speaking)
    chosen: list[Section] = [study(Noted), study(Other), study(Breaks)]
    monkeypatch.setattr(running, "maker", lambda *_: AtOnce(shelf, 2, {}))
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.exists() else 0
    why = spoil(monkeypatch)
    (*_, last) = run(chosen, shelf, "quick")
    assert [one.result.title for one in last.outcomes[:2]] == ["noted", "other"]
    assert last.outcomes[2].failure == "RuntimeError: the disk caught <fire>"
    assert {noted(tmp_path, name)[0] for name in ("noted", "other")} == {os.getpid()}
    said = [line for line in capfd.readouterr().err.splitlines() if "process" in line]
    assert said == [f"no further process can be started ({why}): sections are made one at a time from here on"]
    assert not open_files.exists() or len(list(open_files.iterdir())) == before, "no end of a pipe stays open"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows starts processes in another way")
def test_a_process_that_could_be_started_goes_on_where_a_second_one_cannot(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AtOnce(Shelf(tmp_path / "kept", session), 2, {"noted": 1, "other": 1}) as making:
        making.start(study(Noted), "")
        _no_processes(monkeypatch)
        making.start(study(Other), "")
        assert making.size == 1
        assert {making.finished().result.title for _ in range(2)} == {"noted", "other"}
        first = noted(tmp_path, "noted")[0]
        assert first != os.getpid() == noted(tmp_path, "other")[0]
        (tmp_path / "noted").unlink()
        making.start(study(Again), "")
        assert making.finished().result.title == "again"
        assert noted(tmp_path, "again")[0] == first


def test_a_process_that_dies_while_it_has_nothing_to_do_is_replaced(session: Session, tmp_path: Path) -> None:
    with AtOnce(Shelf(tmp_path / "kept", session), 2, {}) as making:
        making.start(study(Noted), "")
        making.finished()
        process = noted(tmp_path, "noted")[0]
        os.kill(process, signal.SIGTERM)
        Waiting().until(lambda: not multiprocessing.active_children())
        making.start(study(Other), "")
        assert making.finished().result.title == "other"
        assert noted(tmp_path, "other")[0] != process


def test_what_a_process_prints_and_notes_comes_from_the_report_and_once(
    session: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    speaking = replace(session, cache=tmp_path / "file" / "cache", quiet=False)
    shelf = Shelf(tmp_path / "kept", speaking)
    for each in (Speaks, SpeaksToo):  # each in another process
        with AtOnce(shelf, 1, {}) as making:
            making.start(study(each), "")
            assert making.finished().result.title == each.name
    out, err = capfd.readouterr()
    assert out == "", "it is for the report's own result"
    lines = err.splitlines()
    assert [line for line in lines if "cache" not in line] == [
        "printed by speaks",
        "a note of this topic",
        "printed by speaks-too",
    ]
    assert sum("cannot be used" in line for line in lines) == 1
    assert speaking.engines == {"speaks", "speaks-too"}, "or the report says that no engine ran"


def test_a_note_that_two_processes_have_at_the_same_time_is_given_once(
    session: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    speaking = replace(session, quiet=False)
    with AtOnce(Shelf(tmp_path / "kept", speaking), 2, {}) as making:
        making.start(study(Meets), "")
        making.start(study(MeetsToo), "")
        assert {making.finished().result.title for _ in range(2)} == {"meets", "meets-too"}
    assert capfd.readouterr().err.splitlines() == ["a note of this topic"]
    assert speaking.said == {"topic"}, "nor do later sections give it"


def test_the_bar_moves_while_a_section_runs(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[float] = []

    def advance(steps: float = 1, text: str | None = None) -> None:
        moves.append(steps)

    @contextmanager
    def progress(_: Session, description: str, *, total: int | None = None) -> Iterator[Advance]:
        assert total == 60
        yield advance

    monkeypatch.setattr(Session, "progress", progress)
    with AtOnce(Shelf(tmp_path / "kept", session), 1, {"noted": 1}) as making:
        making.start(study(Noted), "")
        making.finished()  # it takes seconds to load the libraries
    assert sum(0 < moved < 2 for moved in moves) > 1 and sum(moves) == pytest.approx(60)


def test_ctrl_c_while_a_process_starts_stops_the_page_too(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(InTurn):
        size = 2

        def start(self, section: Section, part: str) -> None:
            if section.name == "other":
                raise KeyboardInterrupt

    monkeypatch.setattr(running, "maker", lambda *_: Interrupted(Shelf(tmp_path / "kept", session)))
    states = run([study(Noted), study(Other)], Shelf(tmp_path / "kept", session), "quick")
    last = next(states)
    assert last.stopped and [section.name for section in last.running] == ["noted"]
    with pytest.raises(KeyboardInterrupt):
        next(states)


def test_an_interrupted_process_leaves_nothing_half_written(session: Session, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), AtOnce(Shelf(tmp_path / "kept", session), 2, {}) as making:
        making.start(study(Hangs), "")
        Waiting().until((tmp_path / "hanging").exists)
        raise KeyboardInterrupt
    assert not _alive(noted(tmp_path, "hangs")[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hanging", "hangs"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without telling it")
def test_an_interrupted_section_keeps_what_it_has_also_where_python_ignored_the_signal(
    session: Session, tmp_path: Path
) -> None:
    with AtOnce(Shelf(tmp_path / "kept", session), 2, {}) as making:
        making.start(study(Resumes), "")
        Waiting().until((tmp_path / "deaf").exists)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deaf", "what there is"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_processes_end_with_a_report_that_is_killed(tmp_path: Path) -> None:
    report = subprocess.Popen([sys.executable, str(TESTS / "toy_processes.py"), str(tmp_path)], env=_environment())
    Waiting().until((tmp_path / "hanging").exists)
    process = noted(tmp_path, "hangs")[0]
    assert process != report.pid and _alive(process)
    report.send_signal(signal.SIGKILL)
    report.wait()
    Waiting().until(lambda: not _alive(process))


def _run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "script.py"), str(folder), *arguments]
    return subprocess.run(
        command,
        cwd=folder / "working",
        env=_environment(),
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_runs_neither_the_script_again_nor_modules_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "working" / "multiprocessing").mkdir(parents=True)
    for name in ("multiprocessing/__init__", "socket", "torch") if sys.version_info >= (3, 11) else ("torch",):
        (tmp_path / "working" / f"{name}.py").write_text("raise SystemError('the module of the working folder')")
    ran = _run_script(tmp_path)
    assert (ran.stdout, ran.stderr) == ("noted\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups of this kind")
def test_ctrl_c_while_a_process_loads_its_libraries_is_left_to_the_report(tmp_path: Path) -> None:
    (tmp_path / "working").mkdir()
    ran = _run_script(tmp_path, "ctrl-C")
    assert (ran.stdout, ran.stderr) == ("noted\n", "")


def test_only_quick_studies_that_take_a_while_are_worth_a_second_process(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    shelf = Shelf(tmp_path / "kept", session)
    chosen = [Study.member(name).within("quick") for name in ("adversarial", "generation", "stacked-digits")]
    minutes = {"adversarial": 0.4, "generation": 1.0}
    made = maker(chosen, shelf, minutes, "quick")
    assert isinstance(made, AtOnce) and made.size == 2
    assert isinstance(maker(chosen, shelf, minutes, "full"), InTurn), "it needs the memory"
    assert isinstance(maker(chosen, shelf, {"generation": 1.0}, "quick"), InTurn), "all else is kept"
    assert isinstance(maker(chosen, shelf, {"adversarial": 0.1, "generation": 0.1}, "quick"), InTurn), "not worth it"
    assert isinstance(maker([*chosen, study()], shelf, minutes, "quick"), InTurn), "checks share the model"
    with monkeypatch.context() as defined:
        defined.setattr(type(chosen[0]), "__module__", "__main__")
        assert isinstance(maker(chosen, shelf, minutes, "quick"), InTurn), "no other process knows the class"
    with monkeypatch.context() as launched:
        launched.setenv("WORLD_SIZE", "2")
        assert isinstance(maker(chosen, shelf, minutes, "quick"), InTurn), "a launcher started several already"
    holding = Shelf(tmp_path / "kept", replace(session, models={"mine": lambda images: images}))
    assert isinstance(maker(chosen, holding, minutes, "quick"), InTurn), "nor has it the caller's network"
    on_gpu = Shelf(tmp_path / "kept", replace(session, device=torch.device("cuda")))
    assert isinstance(maker(chosen, on_gpu, minutes, "quick"), InTurn)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert isinstance(maker(chosen, shelf, minutes, "quick"), InTurn), "one core"


def test_the_list_says_how_long_two_processes_take(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    listed = Report(list=True, budget="quick").run(session)
    table, note = listed.blocks
    assert isinstance(table, Table) and isinstance(note, Note)
    assert sum(cast("float", row[2]) for row in table.rows) == pytest.approx(2 * listed.metrics["minutes"])
    assert "2 sections at a time" in note.text
    (missing,) = [row for row in table.rows if row[3]]
    assert missing[1:] == ("adaptation-of-photographs", 0.0, "its data is missing")


def test_the_longest_chapter_comes_first_and_no_chapter_twice() -> None:
    names = ("predictions", "saliency", "domain-adaptation", "generation", "stacked-digits")
    sections = {name: Study.member(name).within("quick") for name in names}
    minutes = {"predictions": 0.01, "saliency": 0.9, "domain-adaptation": 0.6, "generation": 0.5, "stacked-digits": 0.5}
    waiting, running = list[Section](sections.values()), list[Section]()
    order: list[str] = []
    while section := following(waiting, running, minutes, 2):
        waiting.remove(section)
        running.append(section)
        order.append(section.name)
    assert order == ["predictions", "generation", "saliency", "domain-adaptation"]
    assert [section.name for section in waiting] == ["stacked-digits"], "it waits for the other of its chapter"
    everything = list(sections.values())
    assert following(everything, [], minutes, 1) is everything[0], "alone, in the order of the page"


def test_the_time_left_counts_what_runs_and_how_many_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(running.time, "monotonic", lambda: now)
    clock = Clock({"noted": 2, "other": 4}, 2)
    assert clock.left() == 3
    clock.start(study(Noted))
    clock.start(study(Other))
    now = 60 * 2.0
    clock.done(study(Noted))
    assert clock.left() == 1, "two of six minutes are left, and both processes went as fast as expected"
