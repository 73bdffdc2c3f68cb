"""Finished sections are stored, and computed again only when an input has changed."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISDIR

from deepscope import records, render
from deepscope.command import Section, perform
from deepscope.errors import DeepscopeError, FileError
from deepscope.files import atomic
from deepscope.kept import identity
from deepscope.models import ModelOptions
from deepscope.report.command import command_line
from deepscope.results import Note, Result
from deepscope.session import Session

_KEY = "inputs.sha256"


@dataclass(frozen=True)
class Outcome:
    """A section's result, whether it was kept from an earlier run, how it failed, or what it lacks to run."""

    section: Section
    result: Result
    kept: bool = False
    failure: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Shelf:
    """The storage of finished sections, one folder per section.

    Attributes:
        folder: holds them.
        session: that they are made in; the inputs' digests are taken once and hold for its time.
        about: what else all sections depend on.
    """

    folder: Path
    session: Session
    about: str = ""
    _keys: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def has(self, section: Section) -> bool:
        """Whether the section is stored and none of its inputs has changed."""
        path = self.folder / section.name / _KEY
        try:
            return path.is_file() and path.read_bytes() == self._key(section).encode()
        except OSError:
            return False

    def minutes(self, section: Section) -> float | None:
        """How long the section took here with the same settings, whatever else has changed; None where not known."""
        try:
            about = records.document(self.folder / section.name)
            alike = about["config"] == json.loads(json.dumps(section.settings()))
            return float(about["provenance"]["seconds"]) / 60 if alike else None
        except (OSError, DeepscopeError, ValueError, TypeError, KeyError):
            return None

    def get(self, section: Section, *, part: str = "") -> Outcome:
        """The section's result: the kept one, or one that is made now and kept.

        An error becomes a result that says what happened; Ctrl-C propagates. What the section
        needs and that is missing is not a failure: the result says that it was not measured, and why.

        Args:
            section: which one.
            part: stands before the text of its progress bars.
        """
        folder, session = self.folder / section.name, self.session
        if self.has(section):
            try:
                return Outcome(section, self._drawn(render.load(folder), folder), kept=True)
            except DeepscopeError as error:
                session.note(f"{section.name} is computed again: {error}")
        with contextlib.suppress(OSError):  # a place that cannot be written to: saving says why
            if (folder / _KEY).is_file():  # so anything but a result is a damaged one, not another program's file
                for name in records.foreign(folder):
                    (folder / name).unlink()
            (folder / _KEY).unlink(missing_ok=True)  # from here on, what lies there may be inconsistent
        try:
            own = replace(session, part=part)
            result = perform(section, own, typed=command_line(section, session))
        except DeepscopeError as error:  # missing weights or data: no defect, but nothing to keep either
            return Outcome(section, _said(section, "Not measured here", str(error)), missing=str(error))
        except Exception as error:
            traceback.print_exc()
            return failed(section, f"{type(error).__name__}: {error}")
        try:
            render.save(result, folder, figure_format=session.figure_format)
            with atomic(folder / _KEY) as path:
                path.write_text(self._key(section), encoding="utf-8")
        except (OSError, DeepscopeError) as error:  # the page still shows it
            session.note(f"{section.name} cannot be stored and will be computed again: {error}")
        return Outcome(section, result)

    def _drawn(self, result: Result, folder: Path) -> Result:
        """The kept result, whose figures now also lie there in the session's format."""
        form = self.session.figure_format
        names = render.figure_files(result, form)
        if form != "png" and not records.listed(folder).issuperset(names):
            try:
                render.save(result, folder, figure_format=form)
            except FileError as error:
                self.session.note(str(error))
        return result

    def _key(self, section: Section) -> str:
        """A digest of what the result depends on: settings, seed, arithmetic, code, and the files that it reads."""
        if (said := repr(section)) not in self._keys:
            about = {
                "section": section.name,
                "settings": section.settings(),
                "about": self.about,
                "options": [[name, repr(said), *said.names()] for name, said in _options(self.session)],
                "files": _files(section.inputs(self.session.home)),
            }
            self._keys[said] = identity(self.session, type(section).__module__, about)
        return self._keys[said]


def _options(session: Session) -> list[tuple[str, ModelOptions]]:
    return [(name, ModelOptions.of(name, session)) for name in sorted(session.options)]


def _files(inputs: Sequence[Path]) -> list[tuple[str, ...]]:
    """All that is in the inputs, behind links too: names, and of each file what changes when it is written or replaced.

    Files are not read: hashing gigabytes would cost more than some sections.
    """
    found: list[tuple[str, ...]] = []
    entered: set[tuple[int, int]] = set()  # links can lead in a circle
    waiting = [(path, str(number)) for number, path in enumerate(inputs)]
    while waiting:
        path, name = waiting.pop()
        try:
            about = path.stat()
            if not S_ISDIR(about.st_mode):
                times = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
                found.append((name, *map(str, times)))
                continue
            place = (about.st_dev, about.st_ino)
            found.append((name, "folder", str(place[1]) if place in entered else ""))
            if place not in entered:
                entered.add(place)
                waiting += [(child, f"{name}/{child.name}") for child in sorted(path.iterdir(), reverse=True)]
        except OSError as error:  # not there, a link to nothing, not ours to read
            found.append((name, str(error.errno)))
    return found


def failed(section: Section, text: str) -> Outcome:
    """What came of a section that had a defect, which the text describes."""
    return Outcome(section, _said(section, "This section failed", text), failure=text)


def _said(section: Section, title: str, text: str) -> Result:
    heading = section.name.replace("-", " ").capitalize()
    return Result(heading, blocks=(Note(text, title, "warning"),))
