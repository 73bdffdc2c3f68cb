"""What a command is: its class, the section of a report, and the folder that a result is written to."""

from deepscope.command.command import Command, Keeping, NotKept, PartFailed, perform
from deepscope.command.section import Budget, Section

__all__ = ["Budget", "Command", "Keeping", "NotKept", "PartFailed", "Section", "perform"]
