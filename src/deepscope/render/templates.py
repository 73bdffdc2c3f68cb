"""Templates, style sheets and scripts of a folder, read when the module that uses them is imported.

A server, or a report of hours, so keeps the version that it started with when the package is upgraded under it.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepscope.names import one_line, printable, visible
from deepscope.render.terminal import origin

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_CODE = re.compile(r"`([^`\n]+)`")
_PERCENT = re.compile(r"(?<=[0-9]) (?=%)")
_LISTED = 2


class Templates:
    """The files of a folder, by name.

    Args:
        folder: holds nothing but text.
    """

    def __init__(self, folder: Path) -> None:
        self._texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.*"))}

    def text(self, *names: str, suffix: str = "") -> str:
        """The files of these names, one after the other; with `suffix` all that end so, in alphabetical order."""
        chosen = [*names, *(name for name in self._texts if suffix and name.endswith(suffix))]
        return "".join(self._texts[name] for name in chosen)

    def render(self, name: str, /, **values: Any) -> str:
        """The template of that name, filled in."""
        return self._environment.get_template(name).render(**values)

    @cached_property
    def _environment(self) -> Environment:
        """With the filters that keep text harmless. Jinja is loaded when something is drawn."""
        from jinja2 import DictLoader, Environment, StrictUndefined

        found = Environment(
            loader=DictLoader(self._texts),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        found.filters |= {"printable": printable, "one_line": one_line, "visible": visible, "origin": origin}
        found.filters |= {"coded": coded, "stacked": stacked}
        return found


def coded(text: str) -> Markup:
    """The text with what stands between backquotes as code, such as a command to run; everything else is escaped.

    A number stays on one line with its per cent sign.
    """
    from markupsafe import Markup, escape

    parts = _CODE.split(_PERCENT.sub("\N{NO-BREAK SPACE}", text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def stacked(text: str) -> str:
    """A list of three and more that are divided by semicolons, one below the other."""
    return text.replace("; ", ";\n") if text.count("; ") >= _LISTED else text
