"""One file per command, each registered as a `Command`: arguments -> workflow -> presenter."""

from deepscope.registry import discover

discover(__name__)
