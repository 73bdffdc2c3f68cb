"""Sections that processes of a report make: each notes in the cache where it ran, and one hangs or dies if asked to."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from deepscope.files import atomic
from deepscope.kept import workspace
from deepscope.report.keeping import Shelf
from deepscope.report.making import AtOnce
from deepscope.results import Result
from deepscope.session import Session
from toy_sections import Works, study


class Noted(Works):
    """Writes the numbers of its process and of PyTorch's threads to a file of its name."""

    name: ClassVar[str] = "noted"

    def run(self, session: Session) -> Result:
        with atomic(session.cache / self.name) as path:
            path.write_text(f"{os.getpid()} {torch.get_num_threads()}")
        return replace(super().run(session), title=self.name)


class Other(Noted):
    """Of another chapter."""

    name: ClassVar[str] = "other"
    chapter: ClassVar[str] = "9.8 Before"


class Again(Noted):
    """Comes after others."""

    name: ClassVar[str] = "again"


class Speaks(Works):
    """Prints, gives a note, looks for the cache and runs on another engine."""

    name: ClassVar[str] = "speaks"

    def run(self, session: Session) -> Result:
        sys.stdout.write(f"printed by {self.name}\n")
        session.note_once("topic", "a note of this topic")
        workspace(session)
        session.engines.add(self.name)
        return replace(super().run(session), title=self.name)


class SpeaksToo(Speaks):
    """As another section does."""

    name: ClassVar[str] = "speaks-too"


class Meets(Works):
    """Gives its note when the other one is about to give the same, and waits until it has."""

    name: ClassVar[str] = "meets"
    other: ClassVar[str] = "meets-too"

    def run(self, session: Session) -> Result:
        for stage in ("before", "after"):
            (session.cache / f"{self.name} {stage}").touch()
            Waiting().until((session.cache / f"{self.other} {stage}").exists)
            session.note_once("topic", "a note of this topic")
        return replace(super().run(session), title=self.name)


class MeetsToo(Meets):
    """The other one."""

    name: ClassVar[str] = "meets-too"
    other: ClassVar[str] = "meets"
    chapter: ClassVar[str] = "9.8 Before"


class Dies(Noted):
    """As if the system had ended it for want of memory."""

    name: ClassVar[str] = "dies"

    def run(self, session: Session) -> Result:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().run(session)


class Hangs(Noted):
    """In the middle of a file."""

    name: ClassVar[str] = "hangs"

    def run(self, session: Session) -> Result:
        super().run(session)
        with atomic(session.cache / "half.npz"):
            (session.cache / "hanging").touch()
            time.sleep(600)
        return super().run(session)


class Resumes(Works):
    """Keeps on ctrl-C what it has, and is in a destructor when it is told to stop."""

    name: ClassVar[str] = "resumes"

    def run(self, session: Session) -> Result:
        class Deaf:
            def __del__(self) -> None:
                (session.cache / "deaf").touch()
                time.sleep(600)

        deaf = Deaf()
        with atomic(session.cache / "half.npz"):
            try:
                del deaf
                time.sleep(600)
            except KeyboardInterrupt:
                (session.cache / "what there is").touch()
                raise
        return super().run(session)


def noted(cache: Path, name: str) -> tuple[int, int]:
    """Numbers of the process and of the threads."""
    process, threads = (cache / name).read_text().split()
    return int(process), int(threads)


@dataclass
class Waiting:
    """Waits for something that another process does."""

    seconds: float = 60

    def until(self, holds: Callable[[], bool]) -> None:
        """Raises TimeoutError where it does not come."""
        end = time.monotonic() + self.seconds
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.02)


if __name__ == "__main__":  # to be killed
    cache = Path(sys.argv[1])
    shelf = Shelf(cache / "kept", Session(home=cache / "home", cache=cache, quiet=True))
    with AtOnce(shelf, 1, {}) as making:
        import toy_processes  # what the other process unpickles is a class of this module's own name

        making.start(study(toy_processes.Hangs), "")
        making.finished()
