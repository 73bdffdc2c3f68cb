"""The command line: built from the registered jobs, run with one set of common flags."""

from deepscope.cli.program import main

__all__ = ["main"]
