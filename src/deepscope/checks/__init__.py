"""One file per section of the page about a user's own classifier: `Check.run(session) -> Result`."""

from deepscope.checks.check import Check
from deepscope.registry import discover

__all__ = ["Check"]

discover(__name__)
