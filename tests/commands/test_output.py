"""--out: for one command at a time, never over another command's model, and no result is lost because it fails."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepscope import records, render
from deepscope.cli.commands import _commands
from deepscope.command import Command, Keeping
from deepscope.command.output import TEXTS, output_folder
from deepscope.commands.classify import Classify
from deepscope.commands.gan_train import GanTrain
from deepscope.commands.transfer_fit import TransferFit
from deepscope.errors import DeepscopeError
from deepscope.files import lock
from deepscope.models.weights_file import FILE
from deepscope.results import Result
from deepscope.session import Session
from toy_job import Shown, execute

COMMANDS = _commands(Command)
MAKERS = [command for command in COMMANDS if command.makes]
QUIET = Session(quiet=True)


def name(command: type[Command]) -> str:
    return command.command_path()


def test_every_command_that_makes_a_model_says_so() -> None:
    made = {file for command in MAKERS for file in command.makes}
    assert {"model.json", "generator.json", "evaluator.json", "judge.json", "checkpoint.pt", FILE} == made


@pytest.mark.parametrize("maker", MAKERS, ids=name)
@pytest.mark.parametrize("command", COMMANDS, ids=name)
def test_a_model_is_for_the_command_that_made_it(tmp_path: Path, maker: type[Command], command: type[Command]) -> None:
    for file in maker.makes:
        (tmp_path / file).touch()
    render.save(Result("the record"), tmp_path, writer=maker.command_path())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if command is maker:
        with output_folder(tmp_path, command, QUIET):
            pass
    else:
        with (
            pytest.raises(DeepscopeError, match=rf"{maker.command_path()}.*name another folder"),
            output_folder(tmp_path, command, QUIET),
        ):
            pytest.fail("it began")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_training_that_was_stopped_before_its_record_is_for_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with output_folder(tmp_path, GanTrain, QUIET):
        pass
    for other in (TransferFit, Classify):
        with pytest.raises(DeepscopeError, match=r"holds checkpoint\.pt of another command"):
            output_folder(tmp_path, other, QUIET).__enter__()


@pytest.mark.parametrize(
    "change", [{"folder": 3}, {"folder": {"writer": 3}}, {"folder": None}, {"sha256": "0"}, {"blocks": 3}]
)
def test_a_plain_result_may_be_replaced_though_it_is_damaged(tmp_path: Path, change: dict[str, object]) -> None:
    render.save(Result("earlier"), tmp_path)
    document = json.loads((tmp_path / "result.json").read_text()) | change
    (tmp_path / "result.json").write_text(json.dumps(document))
    for command in (Classify, TransferFit):
        with output_folder(tmp_path, command, QUIET):
            pass
    records.retire(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_result_without_a_list_of_files_and_one_that_was_begun_may_be_replaced(tmp_path: Path) -> None:
    document = json.loads(render.dumps(Result("of version 0.1")))
    for content in (document, {"type": "Unfinished", "folder": {"files": [], "writer": "attack"}}):
        (tmp_path / "result.json").write_text(json.dumps(content))
        (tmp_path / "arrays.npz").touch()
        with output_folder(tmp_path, Classify, QUIET):
            pass


FOREIGN = [
    "",
    "{",
    "[]",
    '{"my": 1}',
    '{"type": "Result"}',
    '{"type": "Unfinished"}',
    '{"folder": {"files": ["a.png"]}}',
]


@pytest.mark.parametrize("files", [*({"result.json": text} for text in FOREIGN), {"arrays.npz": "mine"}])
def test_files_of_other_programs_are_never_replaced(tmp_path: Path, files: dict[str, str]) -> None:
    files = {**files, "a.png": "mine"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    said = r"(result\.json|arrays\.npz) that deepscope did not write.*name another folder"
    with pytest.raises(DeepscopeError, match=said):
        execute(out=tmp_path)
    records.retire(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_every_text_that_a_command_needs_is_known_as_data_or_a_model() -> None:
    needed = {
        field.name
        for command in COMMANDS
        for field in dataclasses.fields(command)  # pyright: ignore[reportArgumentType]
        if field.default is dataclasses.MISSING and field.type == "str"
    }
    assert needed <= {*TEXTS, "model"} and "data" in needed


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded")])
def test_a_result_that_cannot_be_saved_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool, error: OSError
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("deepscope.render.folder._write", full)
    with pytest.raises(DeepscopeError, match=f"cannot write to .*{error.strerror}"):
        execute(out=tmp_path / "o", as_json=as_json)
    assert "what it found" in capsys.readouterr().out
    with lock(tmp_path / "o"):
        pass
    assert not (tmp_path / "o").exists(), "the folder that was made for the result goes, as nothing is in it"


def test_the_result_of_a_training_is_shown_though_its_model_cannot_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Training(Shown):
        def run(self, session: Session) -> Result:
            keeping = Keeping("the model")
            with keeping:
                raise OSError(28, "No space left on device")
            return keeping.done(super().run(session))

    with pytest.raises(
        DeepscopeError, match=r"^the model cannot be written .No space left on device.: free some space"
    ):
        execute(Training(), out=tmp_path)
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"]["accuracy"] == 0.75 and shown["provenance"]["command"] == "deepscope"
    assert list(tmp_path.iterdir()) == []


def test_figures_that_fail_lose_neither_what_is_saved_nor_what_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> dict[str, bytes]:
        raise ZeroDivisionError

    monkeypatch.setattr("deepscope.render.plots.files", broken)
    with pytest.raises(DeepscopeError, match="some figures are missing"):
        execute(out=tmp_path)
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == 0.75
    assert render.load(tmp_path).metrics["accuracy"] == 0.75


@pytest.mark.parametrize("as_json", [True, False])
def test_a_result_that_cannot_be_printed_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    class Full:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        with pytest.raises(DeepscopeError, match=r"standard output \(No space left on device\): it is saved in"):
            execute(out=tmp_path, as_json=as_json)
    assert render.load(tmp_path).title == "what it found"


def test_a_closed_or_narrow_standard_output_loses_nothing(tmp_path: Path) -> None:
    """A file name that ASCII lacks, and a command that was started without any standard output."""
    code = "from deepscope.cli import main; main(['data', 'list', '--quiet', '--out', 'é'])"
    for how in (
        f'"{sys.executable}" -c "{code}" >&-',
        f'PYTHONIOENCODING=ascii "{sys.executable}" -c "{code}" >/dev/null',
    ):
        done = subprocess.run(
            how, shell=True, cwd=tmp_path, capture_output=True, text=True, env=os.environ, timeout=120
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert render.load(tmp_path / "é").title
        records.retire(tmp_path / "é")


def test_a_folder_is_for_one_command_at_a_time(tmp_path: Path) -> None:
    with lock(tmp_path):
        found: list[Exception] = []

        def other() -> None:
            try:
                execute(out=tmp_path)
            except DeepscopeError as error:
                found.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(found) == 1 and str(tmp_path) in str(found[0])
    assert list(tmp_path.iterdir()) == []
