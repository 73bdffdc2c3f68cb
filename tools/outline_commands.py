"""Write the outline of the command line, from which its help pages are shown without importing the commands.

    python tools/outline_commands.py

Run it after a change to the commands, methods, their settings or docstrings; a test says when it is due.
"""

from __future__ import annotations

import json
from typing import Any

from deepscope.cli.outline import FILE, outline
from deepscope.cli.program import app


def written() -> str:
    """The content of the file: JSON, with one line per argument and flag."""
    return f"{_text(outline(app()), '')}\n"


def _text(value: Any, indent: str) -> str:
    if isinstance(value, dict) and "kind" not in value:
        items = [f"{json.dumps(key)}: {_text(item, indent + ' ')}" for key, item in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, list) and not all(isinstance(item, str) for item in value):
        items = [_text(item, indent + " ") for item in value]
        opening, closing = "[", "]"
    else:
        return json.dumps(value, ensure_ascii=False)
    inner = f",\n{indent} ".join(items)
    return f"{opening}\n{indent} {inner}\n{indent}{closing}"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
    print(f"{FILE}: written")
