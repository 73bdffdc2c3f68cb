"""What each command does, as a registered `Command`."""

from deepscope.commands.command import Command, Keeping, NotKept, PartFailed, perform
from deepscope.registry import discover

__all__ = ["Command", "Keeping", "NotKept", "PartFailed", "perform"]

discover(__name__)
