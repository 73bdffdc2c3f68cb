"""`Job`: what one command does. The command line is built from the registered jobs."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from deepscope.registry import Registered
from deepscope.results import Result
from deepscope.session import Session


class Job(Registered):
    """A command: a frozen dataclass whose fields are its arguments and flags.

    Fields before `_: KW_ONLY` are positional arguments, the rest are flags. The class docstring gives the help:
    its first line the summary, its `Attributes:` section one line a field. A field whose type is a
    family (`Attribution`, say) becomes one sub-command a method, with the method's fields as flags.
    """

    area: ClassVar[str] = ""
    """The command's group: "transfer" for `deepscope transfer fit`; empty for a command of its own."""
    example: ClassVar[str]
    """A command line that works, shown at the end of the help."""

    @abstractmethod
    def run(self, session: Session) -> Result:
        """Do it.

        Raises:
            InputError: what the person gave cannot be used.
        """
