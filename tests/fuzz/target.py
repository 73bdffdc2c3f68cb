"""What is fuzzed, and what counts as a right outcome."""

from __future__ import annotations

import dataclasses
import importlib
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import deepscope
from deepscope.errors import DeepscopeError
from fuzz.mutations import damaged, json_text, lied

_LONGEST = 2000
_SOURCE = str(Path(deepscope.__file__).parent)


@dataclass(frozen=True)
class Mutation:
    """Something that happens to the files of a folder.

    Attributes:
        name: in a word or two.
        apply: does it.
        same: the answer has to be the unmutated one (or a refusal). Where it is not, another answer is right as long
            as it is sane: what is in the files then is not damaged, but says something else.
        weight: how often it is chosen, relative to the others.
    """

    name: str
    apply: Callable[[Random, Path], None]
    same: bool = True
    weight: float = 1.0


@dataclass(frozen=True)
class Target:
    """Files that somebody else may have damaged or written, and what reads them.

    Attributes:
        name: of the target.
        build: writes good files into a folder.
        read: opens the files of a folder and gives what they say.
        mutations: each input suffers one of them.
        sane: of an answer: "", or what is wrong with it.
        agrees: whether an answer (the first) is the unmutated one.
        refuses: an DeepscopeError is a right outcome. A cache never refuses: what is damaged is made again.
        memory: MiB that reading may add to the process.
        inputs: that are tried where nobody gives a time.
    """

    name: str
    build: Callable[[Path], None]
    read: Callable[[Path], Any]
    mutations: tuple[Mutation, ...]
    sane: Callable[[Any], str] = lambda answer: ""
    agrees: Callable[[Any, Any], bool] = lambda answer, right: same(answer, right)
    refuses: bool = True
    memory: int = 512
    inputs: int = 150

    def mutate(self, seed: int, folder: Path) -> Mutation:
        """Do to a folder of good files what the seed says."""
        rng = Random(f"{self.name} {seed}")
        mutation = rng.choices(self.mutations, [mutation.weight for mutation in self.mutations])[0]
        mutation.apply(rng, folder)
        return mutation

    def outcome(self, mutation: Mutation, folder: Path, right: Any) -> str:
        """What is wrong with the outcome of reading the folder; "" where it is right."""
        try:
            answer = self.read(folder)
        except DeepscopeError as error:
            if out_of_memory(error):
                return f"asked for more memory than a machine has, then refused: {str(error)[:200]}"
            return refusal(error, folder) if self.refuses else f"not made again, but refused: {str(error)[:300]}"
        except Exception as error:
            return crash(error)
        if mutation.same and not self.agrees(answer, right):
            return "another answer, without a word"
        return self.sane(answer)


def damage(*globs: str, same: bool = True) -> Mutation:
    """Damage to the bytes of a file of these names, or now and then the lack of it."""

    def apply(rng: Random, folder: Path) -> None:
        path = rng.choice(sorted(path for glob in globs for path in folder.rglob(glob) if path.is_file()))
        if rng.random() < 0.01:
            path.unlink()
        else:
            path.write_bytes(damaged(rng, path.read_bytes()))

    return Mutation(f"damage to {', '.join(globs)}", apply, same)


def lie(glob: str, *, sign: Callable[[Path], None] = lambda folder: None, same: bool = False) -> Mutation:
    """A JSON file of this name says something else; `sign` makes the digests of the folder agree again."""

    def apply(rng: Random, folder: Path) -> None:
        path = rng.choice(sorted(folder.rglob(glob)))
        document = lied(rng, json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json_text(document), encoding="utf-8")
        sign(folder)

    return Mutation(f"lies in {glob}", apply, same)


def targets() -> dict[str, Target]:
    """Every target of the modules in `targets/`, by name."""
    modules = [
        importlib.import_module(f"fuzz.targets.{path.stem}")
        for path in sorted(Path(__file__).with_name("targets").glob("*.py"))
    ]
    return {target.name: target for module in modules for target in module.TARGETS}


def refusal(error: DeepscopeError, folder: Path) -> str:
    """What is wrong with how a file is refused: it takes one printable line that names the file or its folder."""
    text = str(error)
    if not text.isprintable():
        return f"the refusal is no printable line: {text[:200]!r}"
    if len(text) > _LONGEST:
        return f"the refusal has {len(text)} characters: {text[:200]}"
    if not any(name in text for name in (str(folder), *(path.stem for path in folder.rglob("*") if path.is_file()))):
        return f"the refusal names no file: {text[:300]}"
    return ""


def crash(error: BaseException) -> str:
    """The error, and the line of deepscope where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if frame.filename.startswith(_SOURCE)][-1:] or frames[-1:]
    where = " ".join(f"{frame.filename.removeprefix(_SOURCE + '/')}:{frame.lineno}" for frame in last)
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__} at {where}: {text}"


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one that it came from, says that memory is short."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate" in str(error).casefold():
            return True
        error = error.__cause__ or error.__context__
    return False


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, through containers, arrays and dataclasses; NaN equals NaN."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and same(one.cpu().numpy(), other.cpu().numpy())
    if isinstance(one, np.ndarray):
        alike = isinstance(other, np.ndarray) and one.dtype == other.dtype and one.shape == other.shape
        return alike and one.tobytes() == np.ascontiguousarray(other).tobytes()
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        alike = isinstance(other, (list, tuple)) and len(one) == len(other)
        return alike and all(same(a, b) for a, b in zip(one, other, strict=True))
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        return type(one) is type(other) and same(vars(one), vars(other))
    return type(one) is type(other) and (one == other or (one != one and other != other))
