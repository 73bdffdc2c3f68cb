"""Requirements on measured figures, such as "accuracy>=0.9": what an audit must show before a model is released."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from deepscope.checks import Check
from deepscope.errors import FileError, SettingError, UnknownNameError, nearest, unknown
from deepscope.render.text import amount
from deepscope.report.keeping import Outcome
from deepscope.results import Note
from deepscope.settings import number
from deepscope.statistics import Estimate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

Verdict: TypeAlias = Literal["pass", "warn", "fail"]

_FORM = re.compile(r"\s*(?P<figure>[^<>=\s]+)\s*(?P<sign>>=|<=)\s*(?P<bound>[^<>=\s]+)\s*")
_BOUND = re.compile(r"\s*(?P<sign>>=|<=)\s*(?P<bound>[^<>=\s]+)\s*")
_LARGEST = 1 << 16
"""Bytes of a file of requirements."""


@dataclass(frozen=True)
class Requirement:
    """A bound on one figure of an audit.

    Attributes:
        figure: a check's name, for the figure that its section shows first ("accuracy", "robustness"), or
            "CHECK/METRIC" for any other ("accuracy/expected-calibration-error").
        sign: which side of the bound is good.
        bound: the smallest or largest value that is accepted.
        strict: whether missing it fails the audit; otherwise it only warns.

    Raises:
        SettingError: the bound is not finite, or lies outside [0, 1] though the figure is known to be a share.
        UnknownNameError: there is no such check.
    """

    figure: str
    sign: Literal[">=", "<="]
    bound: float
    strict: bool = True

    def __post_init__(self) -> None:
        checks = Check.members()
        if self.check not in checks:
            raise unknown("check", self.check, checks)
        if not math.isfinite(self.bound):
            raise SettingError("require", f"needs a finite number as the bound of {self.figure}", got=self.bound)
        if not 0 <= self.bound <= 1 and checks[self.check].is_share(self.figure.partition("/")[2]):
            raise SettingError("require", _outside_a_share(self), got=str(self))

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.bound:g}"

    @property
    def check(self) -> str:
        """The name of the check that measures the figure."""
        return self.figure.partition("/")[0]

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read "accuracy>=0.9" or "accuracy>=90%".

        Raises:
            SettingError: the text has another form, or the bound lies outside the range of a share.
            UnknownNameError: there is no such check.

        Example:
            >>> print(Requirement.parse("accuracy>=0.9"))
            accuracy >= 0.9
        """
        found = _FORM.fullmatch(text)
        if not found:
            raise SettingError("require", "must look like accuracy>=0.9 or leaks<=0", got=text)
        return cls(found["figure"], *_bound(found))

    def met_by(self, value: float) -> bool:
        """Whether a value keeps to the bound. NaN does not."""
        return value >= self.bound if self.sign == ">=" else value <= self.bound


@dataclass(frozen=True)
class Assessed:
    """A requirement and what the audit measured.

    Attributes:
        requirement: what was asked for.
        estimate: the figure; NaN where it was not measured.
        verdict: "pass" where the whole interval keeps to the bound; "warn" where the figure does and an end of its
            interval does not, or where a requirement that is not strict is missed; otherwise "fail".
        reason: one sentence.
    """

    requirement: Requirement
    estimate: Estimate
    verdict: Verdict
    reason: str

    @property
    def measured(self) -> str:
        """The figure with its interval, as text."""
        if not math.isfinite(self.estimate.value):
            return "not measured"
        exact = self.estimate.low == self.estimate.high
        return f"{self.estimate.value:g}" if exact else amount(self.estimate, interval=True)


def read_requirements(path: Path) -> tuple[Requirement, ...]:
    """Read a TOML file whose tables `require` and `recommend` give a bound for each figure.

    ```toml
    [require]
    accuracy = ">=0.9"
    leaks = "<=0"

    [recommend]
    "accuracy/expected-calibration-error" = "<=0.05"
    ```

    Raises:
        FileError: the file does not exist, is too large, is no such file, or names a check that does not exist.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise FileError(f"{path} is larger than {_LARGEST >> 10} kB: it must only list requirements", path=path)
        tables: dict[str, Any] = tomllib.loads(content.decode("utf-8-sig"))  # editors of Windows begin with a mark
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}", path=path) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileError(f"{path} is not a TOML file: {error}", path=path) from None
    found = []
    for name, table in tables.items():
        if name not in ("require", "recommend") or not isinstance(table, dict):
            where = f"{path} has {name[:40]!r}"
            raise FileError(f"{where}: it must hold the tables [require] and [recommend] alone", path=path)
        for figure, text in table.items():
            match = _BOUND.fullmatch(text) if isinstance(text, str) else None
            if not match:
                raise FileError(f'{path}: {figure[:40]} needs a bound such as ">=0.9"', path=path)
            try:
                found.append(Requirement(figure, *_bound(match), strict=name == "require"))
            except (SettingError, UnknownNameError) as error:
                raise FileError(f"{path}: {error}", path=path) from None
    if not found:
        raise FileError(f'{path} requires nothing: add lines such as accuracy = ">=0.9" below [require]', path=path)
    return tuple(found)


def _outside_a_share(requirement: Requirement) -> str:
    """Why a bound outside [0, 1] is refused: it was most likely meant in per cent."""
    kept = (requirement.bound > 1) == (requirement.sign == "<=")
    per_cent = 1 < requirement.bound <= 100
    write = f"{requirement.bound / 100:g} or {requirement.bound:g}%" if per_cent else "a share, such as 0.9 or 90%"
    outcome = "always passes" if kept else "can never pass"
    return f"{outcome}, because {requirement.figure} lies between 0 and 1: write {write}"


def _bound(found: re.Match[str]) -> tuple[Literal[">=", "<="], float]:
    written = found["bound"]
    share = written.endswith("%")
    try:
        bound = number(written[:-1] if share else written)
    except SettingError:
        raise SettingError("require", f"{written!r} is not a number: write 0.9 or 90%") from None
    return ">=" if found["sign"] == ">=" else "<=", bound / 100 if share else bound


def parsed(texts: Sequence[str]) -> tuple[Requirement, ...]:
    """Requirements as they are typed: one text, or several.

    Raises:
        SettingError: a text has another form.
        UnknownNameError: there is no such check.
    """
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(cast("object", texts), Sequence) or not all(isinstance(cast("object", t), str) for t in texts):
        raise SettingError("require", "must be texts such as accuracy>=0.9", got=texts)
    return tuple(Requirement.parse(text) for text in texts)


def assess(requirements: Sequence[Requirement], outcomes: Sequence[Outcome]) -> tuple[Assessed, ...]:
    """Compare each requirement with what the finished checks measured. What was not measured is never passed."""
    by_name = {outcome.section.name: outcome for outcome in outcomes}
    return tuple(_assessed(one, by_name.get(one.check)) for one in requirements)


def _assessed(requirement: Requirement, outcome: Outcome | None) -> Assessed:
    nothing = Estimate(math.nan, math.nan, math.nan)
    missed: Verdict = "fail" if requirement.strict else "warn"
    if outcome is None:
        return Assessed(requirement, nothing, missed, f"the check {requirement.check} did not run")
    if outcome.failure or outcome.missing:
        return Assessed(requirement, nothing, missed, f"not measured: {outcome.failure or outcome.missing}")
    estimate = _figure(requirement, outcome)
    if estimate is None or math.isnan(estimate.value):
        return Assessed(requirement, nothing, missed, _no_figure(requirement, outcome))
    ends = [end for end in (estimate.low, estimate.high) if not math.isnan(end)] or [estimate.value]  # may be infinite
    if not requirement.met_by(estimate.value):
        reason = "the figure does not keep to the bound"
        if any(requirement.met_by(end) for end in ends):
            reason += ", though its interval reaches it: more images may decide"
        return Assessed(requirement, estimate, missed, reason)
    if all(requirement.met_by(end) for end in ends):
        kept = "the whole 95 % interval" if estimate.low != estimate.high and estimate.known else "the figure"
        return Assessed(requirement, estimate, "pass", f"{kept} keeps to the bound")
    return Assessed(requirement, estimate, "warn", "the figure keeps to the bound, its 95 % interval does not")


def _figure(requirement: Requirement, outcome: Outcome) -> Estimate | None:
    _, _, metric = requirement.figure.partition("/")
    if metric:
        return Estimate.of(outcome.result.metrics, metric)
    headline = outcome.section.headline(outcome.result)
    return None if headline is None else headline.estimate


def _no_figure(requirement: Requirement, outcome: Outcome) -> str:
    known = [f"{requirement.check}/{name}" for name in outcome.result.metrics if not name.endswith(("/low", "/high"))]
    if near := nearest(requirement.figure, known) or known[:3]:
        return f"the check {requirement.check} has no figure {requirement.figure}: did you mean {', '.join(near)}?"
    said = (note.text for note in outcome.result.blocks if isinstance(note, Note))  # too few images, say
    return f"not measured: {next(said, f'the check {requirement.check} has no figures here')}"
