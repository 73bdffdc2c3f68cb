"""What a mistyped command line is answered with, and numbers out of range, over all commands and flags."""

from __future__ import annotations

import dataclasses
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from cyclopts import App, CycloptsError

from deepscope.attacks import Attack
from deepscope.cli.commands import _commands, _example, add_commands
from deepscope.cli.program import run
from deepscope.cli.signature import Common, family_field
from deepscope.cli.usage import mistaken, refusal, spelled
from deepscope.command import Command
from deepscope.errors import DeepscopeError, SettingError
from deepscope.registry import Registered
from deepscope.settings import Range, declared, field_types, number, overridden


def _tree(app: App, chain: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Every group of commands with the names in it."""
    names = sorted({app[name].name[0] for name in app if not name.startswith("-")})
    if names:
        yield chain, names
    for name in names:
        yield from _tree(app[name], (*chain, name))


def _reached(*_: object) -> None:
    raise AssertionError("the command ran")


@pytest.fixture(scope="module")
def root() -> App:
    made = App(name="deepscope", result_action="return_value")
    add_commands(made, _reached)
    return made


def _said(root: App, words: list[str]) -> str:
    """What the line is refused with."""
    try:
        root(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return refusal(error, root, words)
    except DeepscopeError as error:
        return mistaken(error, root, words)
    raise AssertionError(f"accepted: {words}")


def test_every_mistyped_command_and_method_is_named_with_what_was_meant(root: App) -> None:
    seen = 0
    for chain, names in _tree(root):
        for name in names:
            wrong = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name + "x"
            if wrong in names or wrong.replace("-", "") in names:
                continue
            words = [*chain, wrong, "one", "two"]
            if chain == ("models",):  # `deepscope models PATTERN` takes one word
                words = words[:-1]
            said = _said(root, words)
            assert repr(wrong) in said, said
            assert repr(name) in said, said
            assert f"`{shlex.join(['deepscope', *chain, '--help'])}`" in said
            seen += 1
    assert seen > 80


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("classify x.png --tpo 3", ["'--tpo'", "'--top'", "`deepscope classify --help`"]),
        ("classify x.png --precision flat32", ["flat32", "float32", "`deepscope classify --help`"]),
        ("explain saliency x.png --batch-siez 3", ["'--batch-size'", "`deepscope explain saliency --help`"]),
        ("models show vgg16 extra", ["unexpected argument 'extra'", "`deepscope models show --help`"]),
        ("transfer fit d --head ridge svc", ["unexpected argument 'svc'", "repeat a flag"]),
        ("transfer fit", ["`deepscope transfer fit --help`"]),
        ("attack pgd x.png --steps many", ["--steps many is not a whole number"]),
        ("attack pgd x.png --radius 4/0", ["--radius", "4/0"]),
        ("attack pgd x.png --radius 8", ["did you mean 8/255?"]),
        ("attack pgd x.png --radius nan", ["--radius nan is out of range"]),
        ("attack pgd x.png --radius -1/255", ["write --radius=-1/255"]),
        ("attack pgd x.png --radius=-1/255", ["--radius -0.00392157 is out of range"]),
        ("visualize tench --iterations 0", ["--iterations 0 is out of range"]),
        ("data corrupt brightness digits --severity 2.5", ["--severity 2.5 is not a whole number"]),
        ("transfer fit https://example.org/d", ["DATA https://example.org/d is a web address", "download"]),
    ],
)
def test_what_is_wrong_and_which_help_to_read(root: App, line: str, said: list[str]) -> None:
    printed = _said(root, line.split())
    assert "\n" not in printed
    for text in said:
        assert text in printed, printed


def test_a_command_that_takes_the_mistyped_word_still_suggests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    assert run(["gan", "train", "hing", "--out", "g"]) == 2
    assert "did you mean `deepscope gan train hinge`?" in capsys.readouterr().err


def test_where_the_data_choose_the_method_only_a_named_one_has_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path))
    words = ["--source", "mnits", "--target", "mnist-extract", "--out", str(tmp_path / "out")]
    for method in ([], ["dann", "--factor", "0.5"]):
        assert run(["adapt", "fit", *method, *words]) == 2
        assert "'mnits'" in capsys.readouterr().err
    assert run(["adapt", "fit", "--factor", "0.5", *words]) == 2
    assert "--factor" in capsys.readouterr().err


def _flagged() -> list[tuple[type[Any], list[str]]]:
    """Every class whose fields are flags, with a command line that takes them."""
    found: list[tuple[type[Any], list[str]]] = [(Common, ["classify"])]
    for command in _commands(Command):
        family = family_field(command)
        members = list(family[1].members().values()) if family else []
        words = shlex.split(_example(command, members[0]) if members else command.example)[1:]
        found += [(cls, words) for cls in (command, *overridden(command).values())]
        found += [(member, shlex.split(_example(command, member))[1:]) for member in members]
    return found


def _numeric(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    hints = field_types(cls)
    for field in dataclasses.fields(cls):
        if any(_is(hints[field.name], kind) for kind in (int, float)):
            yield f"--{field.name.replace('_', '-')}", hints[field.name]


def _is(hint: Any, kind: type) -> bool:
    return hint is kind or any(_is(inner, kind) for inner in get_args(hint))


FLAGGED = _flagged()
FIRST_OF_TYPE = set(
    {hint: (cls, flag) for cls, _ in reversed(FLAGGED) for flag, hint in reversed(list(_numeric(cls)))}.values()
)
"""A flag of each type with its range: there all values are tried."""


@pytest.mark.parametrize(("cls", "words"), FLAGGED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_number_out_of_range_is_refused_before_any_work(root: App, cls: type[Registered], words: list[str]) -> None:
    """Each flag has a range of its own; what is no number at all is refused by its type's reader."""
    for place, (flag, hint) in enumerate(_numeric(cls)):
        allowed = declared(hint)
        no_number = ["1e400", "nan", "inf", "-inf", "word", ""]
        bad = [str(10**30), "0" if allowed.least >= 1 or allowed.above else str(int(allowed.least) - 1)]
        bad += no_number if (cls, flag) in FIRST_OF_TYPE else no_number[place % 6 : place % 6 + 1]
        for value in bad:
            said = _said(root, [*_without(words, flag), f"{flag}={value}"])
            assert "\n" not in said
            assert len(said) < 400


@pytest.mark.parametrize(("cls", "words"), FLAGGED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_whole_number_is_never_cut_out_of_another(root: App, cls: type[Registered], words: list[str]) -> None:
    for flag, hint in _numeric(cls):
        if not _is(hint, float):
            others = ("0x2", "1_0", "1e3", "2.0", " ", "\u0662", "9" * 5000)
            for value in ("2.9", *(others if (cls, flag) in FIRST_OF_TYPE else ())):
                said = _said(root, [*_without(words, flag), f"{flag}={value}"])
                assert f"{flag} {value.strip() or ''}" in said
                assert "not a whole number" in said


@pytest.mark.parametrize(("cls", "words"), FLAGGED, ids=lambda value: getattr(value, "__name__", ""))
def test_an_empty_name_or_path_is_refused(root: App, cls: type[Registered], words: list[str]) -> None:
    hints = field_types(cls)
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        if field.name in overridden(cls):  # each of its fields is a flag
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if field.kw_only and field.default != "" and any(_is(hints[field.name], kind) for kind in (str, Path)):
            assert _said(root, [*_without(words, flag), f"{flag}="]) == f"{flag} is empty: give a name or a path"


@pytest.mark.parametrize(
    "line", ["classify", "transfer fit", "data audit", "report --data", "models show", "gan evaluator"]
)
def test_an_empty_argument_is_refused(root: App, line: str) -> None:
    assert "is empty: give a name or a path" in _said(root, [*line.split(), ""])


@pytest.mark.parametrize("typed", ["grad-cam", "gradcam", "grad_cam", "GradCAM", "GRAD-CAM"])
def test_the_spelling_of_a_command_does_not_count(root: App, typed: str) -> None:
    assert spelled(root, ["Explain", typed, "Cat.JPG", "--out", "O"]) == [
        "explain",
        "grad-cam",
        "Cat.JPG",
        "--out",
        "O",
    ]


def _without(words: list[str], flag: str) -> list[str]:
    if flag not in words:
        return words
    at = words.index(flag)
    return [*words[:at], *words[at + 2 :]]


def test_what_counts_something_is_at_least_one() -> None:
    """A batch of no images, the best 0 classes or a training of 0 steps is a mistake, whichever command it is."""
    for cls, _ in FLAGGED:
        for flag, hint in _numeric(cls):
            if flag in {"--batch-size", "--top", "--limit", "--queries", "--restarts", "--maps"}:
                if cls.__module__.startswith(("deepscope.gans", "deepscope.studies", "deepscope.commands.gan")):
                    continue  # these say what else the number must be
                assert declared(hint).least == 1, (cls, flag)
            if flag == "--radius" and getattr(cls, "norm", "") == "linf":
                if "norm" in get_type_hints(cls.__init__):  # other norms have other bounds
                    if issubclass(cls, Attack):
                        with pytest.raises(SettingError, match="radius"):
                            cls(radius=1.5)  # type: ignore[call-arg]
                else:
                    assert declared(hint).most == 1, cls


@pytest.mark.parametrize(
    ("text", "value"), [("4/255", 4 / 255), ("0.5/255", 0.5 / 255), ("0.5", 0.5), ("1e-3", 1e-3), ("-1/2", -0.5)]
)
def test_numbers_are_also_fractions(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("allowed", "value", "said"),
    [
        (Range(1), 0, "it must be at least 1"),
        (Range(above=True), 0.0, "it must be above 0"),
        (Range(1), 2_000_000_000, "it must be at most 1,000,000,000"),
        (Range(1, 8192), 0, "it must be from 1 to 8,192"),
        (Range(most=1, above=True), 2.0, "it must be above 0 and at most 1"),
        (Range(0.5, 1, below=True), 1.0, "it must be at least 0.5 and below 1"),
    ],
)
def test_a_range_says_its_bounds_as_people_write_them(allowed: Range, value: float, said: str) -> None:
    with pytest.raises(SettingError, match="out of range") as caught:
        allowed.check("x", value)
    assert caught.value.problem.endswith(said)


@pytest.mark.parametrize("text", ["", "a", "1/0", "1/2/3", "1e400/1", "/255", "4/", "4/x"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(DeepscopeError):
        Range().check("--x", number(text))


@pytest.mark.parametrize(
    ("radii", "said"), [("8", "mean 8/255?"), ("1/0", "--radii '1/0' is not a number"), ("-1", "out of range")]
)
def test_radii_of_an_evaluation_have_the_same_range(radii: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "evaluate", "nowhere", f"--radii={radii}"]) == 2
    assert said in capsys.readouterr().err
    assert run(["attack", "evaluate", "nowhere", "--l2-radii", "8"]) == 2
    assert "nowhere" in capsys.readouterr().err  # a Euclidean radius of 8 is fine


def test_the_package_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("deepscope", "deepscope.cli"):
        monkeypatch.setattr(sys, "argv", ["deepscope", "--version"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__")
        assert ended.value.code == 0
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("library", ["numpy", "torch", "cyclopts"])
def test_ctrl_c_while_libraries_load_is_one_line(library: str) -> None:
    program = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
class Interrupt:
    def find_spec(self, name, *rest):
        if name == {library!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from deepscope.cli import main
main(["data", "list"])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("deepscope: stopped")


def test_flags_and_commands_of_the_last_release_still_work_and_say_their_new_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Any] = []
    root = App(name="deepscope", result_action="return_value")
    add_commands(root, lambda command, common: seen.append(command))
    for line in ("visualize pug --judge x --rivals 0.5 --move momentum", "gan judge mnist", "gan train mnist --steady"):
        root(line.split(), exit_on_error=False, print_error=False)
    visualize, evaluator, train = seen
    assert visualize.evaluators == ("x",)
    assert visualize.recipe == {"competing_classes": 0.5, "update_rule": "momentum"}, "what was given, and no more"
    assert (evaluator.command_path(), evaluator.data) == ("gan evaluator", "mnist")
    assert train.r1_regularised and train.recipe == {} and train.architecture == {}
    said = capsys.readouterr().err.splitlines()
    for old, new in (("judge", "evaluators"), ("rivals", "competing-classes"), ("move", "update-rule")):
        assert any(f"--{old} is now called --{new}" in line for line in said)
    assert any("`deepscope gan judge` is now called `deepscope gan evaluator`" in line for line in said)
    assert _said(root, ["gan", "train", "mnist", "--steady", "--r1-regularised"]).startswith(
        "--steady is the old name of --r1"
    )


def test_old_names_are_hidden_and_defaults_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["visualize", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--rivals" not in said and "--move" not in said
    for text in ("gradient steps. [default: 320]", "[default: 0.35]", "[default: fourier]"):
        assert text in said
    assert run(["attack", "evaluate", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "[default: 0.25, 0.5, 1, 2]" in said and "[default: ()]" not in said
    assert run(["attack", "pgd", "--help"]) == 0
    assert "[default: 4/255]" in capsys.readouterr().out
    assert run(["gan", "--help"]) == 0
    assert "judge" not in capsys.readouterr().out
