"""How the names of a file's tensors may be read: without the prefixes of containers, and with the class layer moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

Reading = dict[str, str]
"""A name as a network calls its tensor -> as the file does."""

_PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "net.")
"""Of names, by DataParallel, Lightning, torch.compile, and networks that hold another one."""
_AVERAGED = ("ema.", "ema_model.", "model_ema.")
"""Prefixes of averaged weights beside those that were trained: the averaged ones are to be used."""
_OF_A_NETWORK = 0.3
"""The share of all tensors from which a prefix of any name may be a container's."""
_DEPTH = 3
"""Of prefixes before each other."""
_MOST = 24
"""Readings of one dictionary."""
_HEADS = ("", ".1", ".head", ".fc")
"""Where libraries keep a class layer that a person assigned as a whole, relative to what was assigned."""


def readings(names: Sequence[str]) -> list[Reading]:
    """The names as they are, then without ever more prefixes, then with the class layer where libraries have it.

    Of each prefix, names that lack it are kept in one reading (a network of a backbone and a head) and left out in the
    next (a training that also holds a loss or a second network). Averaged weights come first.
    """
    found: list[Reading] = [{name: name for name in names}]
    latest = found
    for _ in range(_DEPTH):
        made = [stripped for reading in latest for stripped in _stripped(reading)]
        latest = [reading for reading in made if reading not in found][: _MOST - len(found)]
        found += latest
    found.sort(key=lambda reading: not all(key.startswith(_AVERAGED) for key in reading.values()))
    return [*found, *(moved for reading in found for moved in _with_moved_head(reading))][: 2 * _MOST]


def _stripped(reading: Reading) -> Iterator[Reading]:
    """The names without each prefix that they may have."""
    firsts = Counter(name.partition(".")[0] + "." for name in reading if "." in name)
    own = [prefix for prefix, count in firsts.items() if count >= _OF_A_NETWORK * len(reading)]
    for prefix in dict.fromkeys((*_AVERAGED, *_PREFIXES, *own)):
        stripped = {k.removeprefix(prefix): v for k, v in reading.items() if k.startswith(prefix)}
        rest = {key: value for key, value in reading.items() if not key.startswith(prefix)}
        if stripped and not stripped.keys() & rest.keys():
            yield {**stripped, **rest}
        if stripped and rest:
            yield stripped


def _with_moved_head(reading: Reading) -> Iterator[Reading]:
    """The last layer, alone under its name, where a library keeps it: `fc.1` of dropout and a linear layer is `fc`."""
    last = next(reversed(reading)).rpartition(".")[0]
    whole, _, number = last.rpartition(".")
    whole = whole if number.isdigit() else last
    inside = [name for name in reading if name.startswith(f"{whole}.")]
    if not whole or any(name.rpartition(".")[0] != last for name in inside):
        return
    for ending in _HEADS:
        if f"{whole}{ending}" != last:
            yield {f"{whole}{ending}{k[len(last) :]}" if k in inside else k: v for k, v in reading.items()}


def moved_head(names: Mapping[str, str]) -> tuple[str, str] | None:
    """The class layer as the file and as the network call it, where they differ by more than a prefix."""
    for name, key in names.items():
        if not key.endswith(name):
            return key.rpartition(".")[0], name.rpartition(".")[0]
    return None


def is_averaged(names: Mapping[str, str]) -> bool:
    """Whether these are averaged weights."""
    return all(key.startswith(_AVERAGED) for key in names.values())
