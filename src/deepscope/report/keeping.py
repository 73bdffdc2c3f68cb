"""Finished studies are kept, and run again only when something that went into them has changed."""

from __future__ import annotations

import hashlib
import json
import traceback
from dataclasses import dataclass
from pathlib import Path

from deepscope import __version__, render
from deepscope.errors import InputError
from deepscope.files import atomic
from deepscope.jobs import perform
from deepscope.results import Note, Result
from deepscope.session import Session
from deepscope.studies import Study

_KEY = "inputs.sha256"


@dataclass(frozen=True)
class Outcome:
    """A study's result, whether it was kept from an earlier run, and how it failed where it did."""

    study: Study
    result: Result
    kept: bool = False
    failure: str = ""


def run_or_keep(study: Study, session: Session, folder: Path) -> Outcome:
    """The study's result: the one in `folder` where nothing changed since, else a new one, saved there.

    An error does not travel further: it becomes a result that says what happened. Ctrl-C does. What the study
    needs and is not here is no failure: the result says that it was not measured, and why.
    """
    key = _inputs(study, session)
    if (folder / _KEY).is_file() and (folder / _KEY).read_text() == key:
        try:
            return Outcome(study, render.load(folder), kept=True)
        except InputError as error:
            session.note(f"{study.name} is run again: {error}")
    try:
        result = perform(study, session, command=study.example)
        render.save(result, folder)
    except InputError as error:  # weights or data that are not here: no defect, but nothing to keep either
        return Outcome(study, Result(study.name, blocks=(Note(str(error), "Not measured here", "warning"),)))
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        return Outcome(study, Result(study.name, blocks=(Note(said, "This study failed", "warning"),)), failure=said)
    with atomic(folder / _KEY) as path:
        path.write_text(key)
    return Outcome(study, result)


def _inputs(study: Study, session: Session) -> str:
    """A digest of what the result depends on: settings, seed, arithmetic, code, and the files of the home folder.

    Files count by path, size and time of change: hashing gigabytes would cost more than some studies.
    """
    digest = hashlib.sha256()
    settings = {"study": study.name, **study.settings()}
    digest.update(json.dumps([settings, session.seed, session.precision, str(session.device), __version__]).encode())
    package = Path(render.__file__).parent.parent
    for root, pattern in ((session.home / "data", "*"), (session.home / "weights", "*"), (package, "*.py")):
        for path in sorted(root.rglob(pattern)):
            if path.is_file():
                about = path.stat()
                digest.update(f"{path.relative_to(root)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
