"""`Command`: what one command does. The command line is built from all registered commands."""

from __future__ import annotations

import dataclasses
import platform
import time
from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import ClassVar

from deepscope.errors import DeepscopeError, PartFailed
from deepscope.machine import version_of
from deepscope.models import ModelOptions
from deepscope.models.serving import not_used
from deepscope.registry import EVERY_COMMAND, Registered
from deepscope.results import Result
from deepscope.session import Session

_RECORDED = ("deepscope", "torch", "torchvision", "timm", "scikit-learn", "numpy", "pillow")


class Command(Registered):
    """A command: a frozen dataclass whose fields are its arguments and flags.

    Fields before `_: KW_ONLY` are positional arguments, the rest are flags. The class docstring gives the help:
    its first line the summary, its `Attributes:` section one line per field. A field whose type is a
    family (`Attribution`, say) becomes one sub-command per method, with the method's fields as flags.
    """

    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND
    area: ClassVar[str] = ""
    """The command's group: "transfer" for `deepscope transfer fit`; empty for a command of its own.

    A command named "list" is also what the bare group does.
    """
    formerly: ClassVar[str] = ""
    """The command's name in the last release, which still works and is not shown; empty where it is the same."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Old names of fields, as flags that still work and are not shown, and their new names."""
    example: ClassVar[str]
    """A working command line, shown at the end of the help."""
    makes: ClassVar[tuple[str, ...]] = ()
    """Files of a model or a training that it writes to its output folder: no other command writes there."""

    @classmethod
    def command_path(cls) -> str:
        """How the command is called: "transfer fit"."""
        return f"{cls.area} {cls.name}".strip()

    @abstractmethod
    def run(self, session: Session) -> Result:
        """Do it. In `Result.provenance`, the command fills in its models and data; `perform` does the rest.

        Raises:
            DeepscopeError: the input cannot be used.
            NotKept: the result is known, but a file that belongs to it cannot be written.
            NotMet: the result is known, and is not what was required.
        """


class NotKept(DeepscopeError):
    """The result is known, but a file that belongs to it cannot be written.

    The command line shows the result, says the error and exits with 2.
    """

    def __init__(self, result: Result, error: object) -> None:
        super().__init__(str(error))
        self.result = result


class NotMet(PartFailed):
    """The result is known, and is not what was required.

    The command line shows and saves the result, says what was not met and exits with 1.
    """

    def __init__(self, result: Result, missed: object) -> None:
        super().__init__(str(missed))
        self.result = result


@dataclasses.dataclass
class Keeping:
    """A block that writes what was trained; where the disk is full, the result is still made.

    Attributes:
        what: is written: "the generator".
        failure: why it could not be written; empty where it was.
    """

    what: str
    failure: str = ""

    def __enter__(self) -> None:
        """Begin to write."""
        self.failure = ""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Store a write error for `done`; other errors propagate."""
        if isinstance(error, OSError):
            self.failure = f"{self.what} cannot be written ({error.strerror or error}): free some space and run again"
        elif isinstance(error, DeepscopeError):
            self.failure = str(error)
        return isinstance(error, (OSError, DeepscopeError))

    def done(self, result: Result) -> Result:
        """The result, where everything was written.

        Raises:
            NotKept: it was not; the error holds the result.
        """
        if self.failure:
            raise NotKept(result, self.failure)
        return result


def perform(command: Command, session: Session, *, typed: str = "") -> Result:
    """Run a command and record where its result came from.

    Args:
        command: what to run.
        session: how.
        typed: the command line that does the same.

    Raises:
        NotKept, NotMet: as `Command.run`; its result is complete.
    """
    began, clock = datetime.now(timezone.utc), time.monotonic()
    failure = None
    try:
        result = command.run(session)
    except (NotKept, NotMet) as error:
        result, failure = error.result, error
    if not session.engines:
        not_used(session, "no pass of this command can run on another engine")
    provenance = dataclasses.replace(
        result.provenance,
        command=typed,
        versions={"python": platform.python_version(), **{name: version_of(name) for name in _RECORDED}},
        seed=session.seed,
        device=str(session.device),
        precision=session.precision,
        engine="+".join(sorted(session.engines)) or "torch",
        started=began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
    )
    settings = {**command.settings(), **_said_of_model(command, session)}
    result = dataclasses.replace(result, config={**settings, **result.config}, provenance=provenance)
    if failure:
        raise type(failure)(result, failure) from None
    return result


def _said_of_model(command: Command, session: Session) -> dict[str, object]:
    """The options that the session has for the command's model, where it has any."""
    said = dataclasses.asdict(ModelOptions.of(str(getattr(command, "model", "")), session))
    return {f"model_{name}": value for name, value in said.items() if value}
