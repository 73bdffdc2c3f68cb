"""deepscope: use any image classifier, look inside it, break it, move it, and generate data for it."""

from importlib.metadata import version

__version__ = version("deepscope")
