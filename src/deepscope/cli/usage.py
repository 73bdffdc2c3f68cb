"""Messages for command lines that cannot be parsed: the wrong word, similar names, and the help to read."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from deepscope.errors import DeepscopeError, nearest, unknown
from deepscope.names import plain

_NEGATIVE = re.compile(r"-(\.?[0-9]|inf|nan)", re.IGNORECASE)


def spelled(root: App, arguments: Sequence[str]) -> list[str]:
    """The command line with its commands as they are listed: case, hyphens and underscores do not count in them."""
    words, app = list(arguments), root
    for place, word in enumerate(words):
        names = _names(app)
        if word not in names and not Path(word).exists():
            word = words[place] = next((name for name in names if _squeezed(name) == _squeezed(word)), word)
        if word not in names:
            break
        app = app[word]
    return words


def _squeezed(name: str) -> str:
    return plain(name).replace(" ", "")


def refusal(error: CycloptsError, root: App, arguments: Sequence[str]) -> str:
    """One line for a command line that does not parse."""
    chain, command, rest = _parsed(root, arguments)
    help_of = f"`{shlex.join(['deepscope', *chain, '--help'])}`"
    word = next((word for word in rest if not word.startswith("-")), "")
    names = _names(command)
    stray = isinstance(error, (UnknownCommandError, UnusedCliTokensError))
    taken = word not in (error.unused_tokens or ())  # as an argument of the group's own command
    if names and word and (stray or isinstance(error, MissingArgumentError)) and (not taken or _meant(word, names)):
        return str(unknown(_kind(chain), word, names, listing=help_of))
    if stray:
        left = shlex.join(error.unused_tokens or ())
        repeat = "; repeat a flag to give it several values" if any(word.startswith("-") for word in rest) else ""
        return f"unexpected argument {_quoted(left)}: {help_of} shows what it takes{repeat}"
    if isinstance(error, UnknownOptionError):
        option = (error.token.keyword or error.token.value).partition("=")[0]
        options = [name for argument in error.argument_collection if argument.parse for name in argument.names]
        return str(unknown("option", option, options, listing=help_of))
    if isinstance(error, MissingArgumentError) and (given := _like_a_flag(error.keyword, arguments)):
        return f"{given[0]} is followed by {_quoted(given[1])}, which reads like a flag: write {'='.join(given)}"
    said = " ".join(str(error).split()).rstrip(" .,")
    return f"{said[:1].lower()}{said[1:]}: {help_of} shows what it takes"


def _like_a_flag(flag: str | None, arguments: Sequence[str]) -> tuple[str, str] | None:
    """A flag and the negative number after it, where that is written in a way that is not read as a number."""
    pairs = itertools.pairwise(arguments)
    return next((pair for pair in pairs if pair[0] == flag and _NEGATIVE.match(pair[1])), None)


def mistaken(error: DeepscopeError, root: App, arguments: Sequence[str]) -> str:
    """The error of a command; where its first argument reads like a mistyped command, with that as well."""
    chain, command, rest = _parsed(root, arguments)
    word = next((word for word in rest if not word.startswith("-")), "")
    meant = _meant(word, _names(command))
    if not meant or repr(word) not in str(error):
        return str(error)
    return f"{error}; or did you mean `{shlex.join(['deepscope', *chain, meant[0]])}`?"


def flag(setting: str) -> str:
    """How the command line writes a setting: `batch_size` as `--batch-size`."""
    return f"--{setting.replace('_', '-')}"


def parsed(root: App, arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str], list[str]]:
    """The commands that a line begins with, the names of those below the last one, and the words after it."""
    chain, command, rest = _parsed(root, arguments)
    return chain, _names(command), rest


def _parsed(root: App, arguments: Sequence[str]) -> tuple[tuple[str, ...], App, list[str]]:
    """The commands that the line begins with, the last of them, and the words after it."""
    chain, apps, rest = root.parse_commands(list(arguments))
    return chain, apps[-1], rest


def _names(app: App) -> list[str]:
    """The commands of a group, each by its first name; none where it is a command itself."""
    return sorted({app[name].name[0] for name in app if not name.startswith("-")})


def _meant(word: str, names: Sequence[str]) -> list[str]:
    """The commands that a word could be a mistyped form of; none where it is a file that exists."""
    return [] if not word or Path(word).exists() else nearest(word, names)


def _kind(chain: Sequence[str]) -> str:
    return f"command of `{shlex.join(['deepscope', *chain])}`" if chain else "command"


def _quoted(text: str) -> str:
    return text if text.startswith("'") else f"'{text}'"
