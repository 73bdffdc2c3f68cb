"""What a command is: its class, the section of a report, and the folder that a result is written to."""

from deepscope.command.command import Command, Keeping, NotKept, NotMet, perform
from deepscope.command.section import Budget, Headline, Section
from deepscope.errors import PartFailed

__all__ = ["Budget", "Command", "Headline", "Keeping", "NotKept", "NotMet", "PartFailed", "Section", "perform"]
