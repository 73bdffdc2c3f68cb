"""Renders a `Result`: terminal, JSON, HTML, and a folder of files.

Importing this is cheap: matplotlib and Jinja are loaded when something is drawn.
"""

from deepscope.render.folder import drafts, figure_files, load, save
from deepscope.render.html import fragment, page
from deepscope.render.json import dumps
from deepscope.render.presented import Presented, explores, presents
from deepscope.render.terminal import show

__all__ = [
    "Presented",
    "drafts",
    "dumps",
    "explores",
    "figure_files",
    "fragment",
    "load",
    "page",
    "presents",
    "save",
    "show",
]
