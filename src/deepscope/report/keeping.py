"""Finished sections are kept, and made again only when something that went into them has changed."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepscope import render
from deepscope.code import code_digest
from deepscope.errors import InputError
from deepscope.files import atomic
from deepscope.jobs import perform
from deepscope.jobs.section import Section
from deepscope.report.command import command_line
from deepscope.results import Note, Result
from deepscope.session import Session

_KEY = "inputs.sha256"


@dataclass(frozen=True)
class Outcome:
    """A section's result, whether it was kept from an earlier run, and how it failed where it did."""

    section: Section
    result: Result
    kept: bool = False
    failure: str = ""


@dataclass(frozen=True)
class Shelf:
    """Where finished sections lie, one folder each.

    Attributes:
        folder: holds them.
        session: that they are made in; the inputs' digests are taken once and hold for its time.
    """

    folder: Path
    session: Session
    _keys: dict[Section, str] = field(default_factory=dict[Section, str], repr=False)

    def has(self, section: Section) -> bool:
        """Whether the section is here and nothing that went into it has changed."""
        path = self.folder / section.name / _KEY
        return path.is_file() and path.read_text(encoding="utf-8") == self._key(section)

    def get(self, section: Section, *, part: str = "") -> Outcome:
        """The section's result: the kept one, or one that is made now and kept.

        An error does not travel further: it becomes a result that says what happened. Ctrl-C does. What the section
        needs and is not here is no failure: the result says that it was not measured, and why.

        Args:
            section: which one.
            part: stands before the text of its progress bars.
        """
        folder, session = self.folder / section.name, self.session
        if self.has(section):
            try:
                return Outcome(section, render.load(folder), kept=True)
            except InputError as error:
                session.note(f"{section.name} is made again: {error}")
        try:
            (folder / _KEY).unlink(missing_ok=True)  # from here on, what lies there may be of two minds
            own = replace(session, part=part)
            result = perform(section, own, command=command_line(section, session))
            render.save(result, folder)
        except InputError as error:  # weights or data that are not here: no defect, but nothing to keep either
            return Outcome(section, _said(section, "Not measured here", str(error)))
        except Exception as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
            return Outcome(section, _said(section, "This section failed", text), failure=text)
        with atomic(folder / _KEY) as path:
            path.write_text(self._key(section), encoding="utf-8")
        return Outcome(section, result)

    def _key(self, section: Section) -> str:
        """A digest of what the result depends on: settings, seed, arithmetic, code, and the files that it reads."""
        if section not in self._keys:
            session = self.session
            said = [section.settings(), session.seed, session.precision, session.device.type]
            code = code_digest(type(section).__module__)
            files = _files(section.inputs(session.home))
            self._keys[section] = hashlib.sha256(json.dumps([section.name, said, code, files]).encode()).hexdigest()
        return self._keys[section]


def _files(inputs: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Every file by path, size and time of change: hashing gigabytes would cost more than some sections."""
    found = []
    for root in inputs:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file():
                about = path.stat()
                found.append((path.relative_to(root.parent).as_posix(), about.st_size, about.st_mtime_ns))
    return found


def _said(section: Section, title: str, text: str) -> Result:
    heading = section.name.replace("-", " ").capitalize()
    return Result(heading, blocks=(Note(text, title, "warning"),))
