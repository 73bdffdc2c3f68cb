"""The command line that a page shows makes the very same section."""

from __future__ import annotations

import shlex

import pytest
from cyclopts import App, Parameter

from deepscope.checks import Check
from deepscope.cli.commands import add_commands
from deepscope.cli.signature import Common
from deepscope.command import Command, Section
from deepscope.models import ModelOptions
from deepscope.report.command import command_line
from deepscope.session import Session
from deepscope.studies import Study


@pytest.fixture(scope="module")
def parsed() -> list[tuple[Command, Common]]:
    return []


@pytest.fixture(scope="module")
def app(parsed: list[tuple[Command, Common]]) -> App:
    root = App(default_parameter=Parameter(negative_iterable=()))
    add_commands(root, lambda command, common: parsed.append((command, common)))
    return root


SECTIONS: list[Section] = [
    *(study.within(budget) for study in Study.members().values() for budget in ("quick", "full")),
    *(
        check.within(budget, data="my photos", model="my-model")
        for check in Check.members().values()
        for budget in ("quick", "full")
    ),
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_section_is_its_command_line(section: Section, app: App, parsed: list[tuple[Command, Common]]) -> None:
    parsed.clear()
    words = shlex.split(command_line(section, Session(seed=3, precision="bfloat16")))
    assert words[0] == "deepscope"
    app(words[1:], exit_on_error=False, result_action="return_value")
    ((command, common),) = parsed
    assert command == section
    assert (common.seed, common.precision) == (3, "bfloat16")


def test_defaults_are_not_said() -> None:
    architecture = Study.members()["architecture"].within("full")
    assert command_line(architecture, Session()) == "deepscope study architecture"


def test_options_of_the_model_are_said(app: App, parsed: list[tuple[Command, Common]]) -> None:
    options = ModelOptions("torchvision:resnet18", "cat, a; dog,cup")
    parsed.clear()
    for name in ("accuracy", "class-images"):  # the second has an argument "classes" of its own
        check = Check.members()[name].within("full", data="my photos", model="mine.pth")
        words = shlex.split(command_line(check, options.within(Session(), "mine.pth")))
        app(words[1:], exit_on_error=False, result_action="return_value")
        assert parsed[-1][0] == check and parsed[-1][1].of_model == options
        assert "--architecture" not in command_line(check, options.within(Session(), "other.pth"))
