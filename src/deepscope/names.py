"""Names and other texts from outside: how they are compared, and how they are safe to show."""

from __future__ import annotations

import re

_BEYOND = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f"  # control characters, which a terminal obeys; a newline is none of ours to judge
    "\u2028\u2029"  # line separators
    "\u202a-\u202e\u2066-\u2069"  # direction overrides, which show a text in another order than it is read
    f"\ud800-\udfff{_BEYOND}]"  # surrogates on their own and code points that are no characters
)


def plain(text: str) -> str:
    """A name without case, and with spaces where it has hyphens or underscores: `Bee_eater` -> `bee eater`."""
    return " ".join(text.casefold().replace("_", " ").replace("-", " ").split())


def printable(text: str) -> str:
    """The text with an escape such as `\\x1b` for each character that could harm a terminal or a page.

    Newlines stay, tabs become spaces. Escaping twice changes nothing.
    """
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The printable text with every run of white space as one space."""
    return " ".join(printable(text).split())
