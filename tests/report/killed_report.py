"""Run by a test in a process of its own, to be killed: a report of three sections, the second of which may hang."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import ClassVar, cast

from deepscope.report import Report
from deepscope.results import Result
from deepscope.session import Session
from deepscope.studies import Study
from toy_sections import Works


class First(Works):
    """Notes that it ran."""

    name: ClassVar[str] = "first"

    def run(self, session: Session) -> Result:
        with (session.cache / "ran.txt").open("a") as file:
            print(self.name, file=file)
        return super().run(session)


class Second(First):
    """Hangs in the middle while there is a file of the name "hang"."""

    name: ClassVar[str] = "second"

    def run(self, session: Session) -> Result:
        result = super().run(session)
        while (session.cache / "hang").exists():
            time.sleep(0.05)
        return result


class Third(First):
    """Comes after."""

    name: ClassVar[str] = "third"


if __name__ == "__main__":
    root = Path(sys.argv[1])
    Study.members = classmethod(lambda cls: {c.name: cast("type[Study]", c) for c in (First, Second, Third)})  # type: ignore[assignment]
    Report().run(Session(home=root / "home", cache=root, out=root / "out", quiet=True))
