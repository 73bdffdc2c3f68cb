"""Names and other texts from outside: comparison, and escapes that make them safe to show; nouns by their number."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

_BEYOND = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f"  # control characters, which a terminal obeys; newlines are handled by `one_line`
    "\u2028\u2029"  # line separators
    "\u202a-\u202e\u2066-\u2069"  # direction overrides, which show a text in another order than it is read
    f"\ud800-\udfff{_BEYOND}]"  # surrogates on their own and code points that are not characters
)


_BETWEEN = re.compile(r"(?<=[^\s_-])[\s_-]+(?=[^\s_-])")


def plain(text: str) -> str:
    """A name without case, and with one space for hyphens and underscores between words: `Bee_eater` -> `bee eater`.

    Those at its ends stay: -1 is not 1.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _BETWEEN.sub(" ", folded.strip())


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", storable(text))


def storable(text: str) -> str:
    """A name that UTF-8 can hold: a byte of a file's name that is not UTF-8 becomes an escape such as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_FOLDS: tuple[Callable[[str], str], ...] = (storable, _composed, plain)
"""Ways to compare two names, the strictest first."""


class Names:
    """Looks names up in a list: exactly as written, then in any Unicode composition, then by `plain`.

    A looser comparison is used only where every stricter one finds nothing, so that ImageNet's Cardigan (a dog) and
    cardigan stay apart.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._known: list[dict[str, list[int]]] = []
        for fold in _FOLDS:
            places: dict[str, list[int]] = {}
            for place, name in enumerate(names):
                places.setdefault(fold(name), []).append(place)
            self._known.append(places)

    def places(self, text: str) -> list[int]:
        """Every place that the name may mean; empty where it means none."""
        return self._found(text)[1]

    def paired(self, names: Iterable[str]) -> dict[str, int | None]:
        """The place of each of several different names; None where it has none, or where several are possible.

        No two names get the same place: of `dog` and `Dog`, only the one that is spelled like the listed name has it.
        """
        found = {name: self._found(name) for name in names}
        claims: dict[int, list[int]] = {}
        for strictness, places in found.values():
            if len(places) == 1:
                claims.setdefault(places[0], []).append(strictness)

        def wins(strictness: int, place: int) -> bool:
            return strictness == min(claims[place]) and claims[place].count(strictness) == 1

        return {
            name: places[0] if len(places) == 1 and wins(strictness, places[0]) else None
            for name, (strictness, places) in found.items()
        }

    def _found(self, text: str) -> tuple[int, list[int]]:
        for strictness, (fold, known) in enumerate(zip(_FOLDS, self._known, strict=True)):
            if places := known.get(fold(text)):
                return strictness, places
        return len(_FOLDS), []


def printable(text: str) -> str:
    """The text with an escape such as `\\x1b` for each character that could harm a terminal or a page.

    Newlines stay, tabs become spaces. Escaping twice changes nothing.
    """
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The printable text with every run of white space as one space."""
    return " ".join(printable(text).split())


def visible(text: str) -> str:
    """A name in one line, a newline in it as the escape `\\n`: names that differ are shown differently."""
    return printable(text).replace("\n", "\\n")


def short(name: str) -> str:
    """The last part of a path, for titles: `/tmp/models/mine` -> `mine`. `hf:google/vit` is no path and stays.

    `.` and `..` have the names of the folders that they stand for.
    """
    if ":" in name.partition("/")[0]:
        return name
    last = PurePath(name).name
    return last if last not in ("", "..") else Path(os.path.abspath(name)).name or name  # noqa: PTH100 (no links)


def distinct(names: Iterable[str]) -> list[str]:
    """The names, with a number after those that came before: `vgg16`, `vgg16 (2)`."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name} ({count})" for count in itertools.count(2))
        found[name if name not in found else next(one for one in numbered if one not in found)] = None
    return list(found)


def counted(number: int, noun: str) -> str:
    """1 and "image" -> `1 image`, 2 -> `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
