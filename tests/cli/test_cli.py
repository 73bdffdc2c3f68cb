"""The command line as a person meets it: what is printed where, and the exit status."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from deepscope.cli import program
from deepscope.cli.commands import _commands
from deepscope.cli.program import run
from deepscope.command import Command
from deepscope.data.photographs import bundled_photographs

COMMANDS = _commands(Command)
CAT = next(path for path in bundled_photographs().paths if path.name == "chelsea.png")


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.area} {command.name}".strip())
def test_every_command_has_help_with_an_example_that_parses(
    command: type[Command], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    performed: list[Command] = []
    monkeypatch.setattr("deepscope.cli.program._execute", lambda command, *_: performed.append(command))
    words = _split(command.example)
    assert words[0] == "deepscope"
    assert run(words[1:]) == 0, capsys.readouterr().err
    assert isinstance(performed[0], command)
    flag = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    assert run([*words[1 : min(flag, 3)], "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def _split(example: str) -> list[str]:
    import shlex

    return shlex.split(example)


def test_json_stands_alone_on_stdout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["classify", str(CAT), str(tmp_path / "no.jpg"), "--json", "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"]["accuracy/top1"] == 1
    assert printed["metrics"]["skipped"] == 1
    assert json.loads((tmp_path / "out" / "result.json").read_text())["metrics"] == printed["metrics"]
    assert list((tmp_path / "out").glob("*.png"))
    assert printed["provenance"]["models"]["efficientnet_lite0"].startswith("57934424")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classify", "nothere.jpg"], "nothere.jpg"),
        (["classify", str(CAT), "--model", "efficientnet_lite9"], "did you mean"),
        (["classify", str(CAT), "--top", "zero"], "--top"),
        (["classify", str(CAT), "--top", "0"], "--top"),
        (["classify", str(CAT), "--device", "abacus"], "try cpu"),
        (["classify", str(CAT), "--tpo", "3"], "--top"),
        (["clasify"], "classify"),
        (["activations", str(CAT), "--layer", "conv_stm"], "conv_stem"),
        (["activations"], "image"),
        (["models", "show", "vgg17"], "vgg1"),
        (["models", "no-such-*"], "no-such"),
        (["classify", str(CAT), "--out", "/proc/nowhere"], "--out"),
        (["explain", "evaluate", str(CAT), "--measures", "insertion", "deletion"], "unexpected argument 'deletion'"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert said.casefold() in err.casefold()


def test_a_refused_command_leaves_no_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    for out in ("new/folder", "there/new", "there"):
        assert run(["classify", str(tmp_path / "none.jpg"), "--out", str(tmp_path / out)]) == 2, capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"], "and one that was there before stays"


def test_bad_images_are_skipped_and_listed_and_rows_stay_aligned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.open(CAT).save(folder / "b.png")
    (folder / "a.jpg").write_bytes(b"no image")
    (folder / "c.jpg").write_bytes(b"")
    coffee = next(path for path in bundled_photographs().paths if path.name == "coffee.png")
    Image.open(coffee).save(folder / "d.png")
    assert run(["classify", str(folder), "--json", "--top", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    predictions, skipped = (block for block in printed["blocks"] if block["type"] == "Table")
    assert [(row[0], "cat" in row[2], "espresso" in row[2]) for row in predictions["rows"]] == [
        ("b.png", True, False),
        ("d.png", False, True),
    ]
    assert [Path(row[0]).name for row in skipped["rows"]] == ["a.jpg", "c.jpg"]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert run(["classify", str(CAT), "--out", str(tmp_path / name)]) == 0
    capsys.readouterr()
    assert (tmp_path / "one" / "arrays.npz").read_bytes() == (tmp_path / "two" / "arrays.npz").read_bytes()


def test_class_folders_named_like_categories_give_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tiger_cat", "espresso"):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        Image.open(CAT).save(tmp_path / "photographs" / name / f"{name}.png")
    assert run(["classify", str(tmp_path / "photographs"), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["known"] == 2
    assert metrics["accuracy/top1"] == 0.5  # the cat is no espresso


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_leaves_nothing_half_written(sent: signal.Signals, status: int, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(5000):  # more than a second's work, wherever this runs
        (folder / f"{index:04}.png").symlink_to(CAT)
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs ignore it
        "from deepscope.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "classify", str(folder), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert "deepscope: stopped; finished files are kept" in err
    assert not (tmp_path / "out").exists(), "nothing was written to it"


def test_a_command_that_keeps_what_it_has_after_sigterm_has_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class images end well when they are stopped: a job scheduler must not take that for a finished job."""

    def stopped(arguments: Sequence[str]) -> int:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(program, "run", stopped)
    monkeypatch.setattr(program, "_terminated", threading.Event())
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before, collected = signal.signal(signal.SIGTERM, signal.SIG_DFL), gc.get_threshold()
    try:
        with pytest.raises(SystemExit) as caught:
            program.main([])
    finally:
        signal.signal(signal.SIGTERM, before)
        gc.set_threshold(*collected)
    assert caught.value.code == 143


@pytest.mark.parametrize("place", ["app", "spelled", "_execute"])
def test_ctrl_c_is_one_line_wherever_it_comes(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"deepscope.cli.program.{place}", interrupt)
    assert run(["classify", "x.png"]) == 130
    assert capsys.readouterr().err == "deepscope: stopped; finished files are kept, none is half-written\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_kept_with_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    for shade, name in enumerate((b"a\xff", b"b\nc")):
        folder = data / os.fsdecode(name)
        folder.mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (32, 32), (200 * shade, 20 * index, 9)).save(folder / os.fsdecode(b"\xfe%d.png" % index))
    assert run(["transfer", "fit", str(data), "--out", str(model), "--quiet"]) == 0, capsys.readouterr().err
    out = tmp_path / "out"
    assert run(["classify", str(data), "--model", str(model), "--out", str(out), "--quiet"]) == 0
    assert json.loads((out / "result.json").read_text())["metrics"]["known"] == 12
    assert "a\\udcff" in capsys.readouterr().out
    words = ["report", "--data", str(data), "--model", str(model), "--chapters", "5", "--quiet"]
    assert run([*words, "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert run(["classify", str(data), "--out", str(tmp_path / os.fsdecode(b"\xfd"))]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_the_names_of_methods_need_no_hyphens() -> None:
    from deepscope.registry import kebab_case

    assert re.fullmatch(r"[a-z0-9-]+", kebab_case("SmoothGrad"))


def test_starting_loads_no_library_that_only_some_commands_need() -> None:
    slow = {"accelerate", "matplotlib", "pandas", "scipy.stats", "skimage", "sklearn", "timm", "torchvision"}
    program = "import deepscope.cli.program, sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not slow & set(found.stdout.split())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", b"/a/b"), "/a/b: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "Not here", "/a", None, "/b"), "/a and /b: Not here"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("no number\nand two lines"), "no number and two lines"),
        (OSError(errno.EIO, "bad", "a\x1b]0;title\x07\nb"), r"a\x1b]0;title\x07 b: bad"),
        (OSError(errno.EIO, "bad", 3), "bad"),
        (ConnectionResetError(), "ConnectionResetError"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("deepscope.cli.program._execute", fail)
    assert run(["classify"]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert printed.rstrip("\n").isprintable()


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AttributeError("a defect")

    monkeypatch.setattr("deepscope.cli.program._execute", fail)
    with pytest.raises(AttributeError):
        run(["classify"])
