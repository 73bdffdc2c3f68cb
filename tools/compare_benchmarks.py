"""Compare the JSON of benchmark runs: a table for the docs of what each run ran on, and what fell between two runs.

    python tools/compare_benchmarks.py table RUN.json ... [--into docs/experiments/PAGE.md]
    python tools/compare_benchmarks.py fell BEFORE.json AFTER.json

`table` writes two Markdown tables, of the machines, one row per machine, and of the ratios, in place of what stands
between the markers `<!-- benchmarks -->` and `<!-- /benchmarks -->` of the page, or to standard output. `fell` lists
the ratios of the later run whose largest round is below the least round of the earlier one, and exits with 1 where
there are any.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MARKED = re.compile("(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)


def read(path: Path) -> dict[str, Any]:
    """A run; exits with one line where the file is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("environment"), dict):
        raise SystemExit(f"{path} does not say what it ran on: run the benchmark again with --json")
    return found


def ratios(run: Mapping[str, Any]) -> dict[str, float]:
    """The ratios of a run, without the ends of their intervals."""
    named = ((name, value) for name, value in run.items() if name.startswith(("ratio/", "cpu-ratio/")))
    return {name: value for name, value in named if not name.endswith(("/low", "/high"))}


def fell(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each ratio that fell beyond the spread of both runs, or is no longer there."""
    lines = []
    for name, was in ratios(before).items():
        if name not in after:
            lines.append(f"{name}: {was:.2f} before, not measured now")
        elif after.get(f"{name}/high", after[name]) < before.get(f"{name}/low", was):
            known = all(f"{name}/low" in run and f"{name}/high" in run for run in (before, after))
            doubt = "" if known else "; a run does not say how its rounds spread"
            lines.append(f"{name}: {was:.2f} before, {after[name]:.2f} now{doubt}")
    return lines


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Two Markdown tables: one row per machine that runs ran on, and one row per ratio with a column per machine."""
    machines: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in runs:
        machines.setdefault(_machine(run), {"engines": {}}).update(run)
        machines[_machine(run)]["engines"] |= dict.fromkeys(_engines(run))
    columns = [f"({number})" for number in range(1, len(machines) + 1)]
    held = [["", "processor", "instructions", "threads", "torch", "engines"]]
    held += [
        [column, *machine, ", ".join(found["engines"])]
        for column, (machine, found) in zip(columns, machines.items(), strict=True)
    ]
    names = sorted(
        {name for found in machines.values() for name in ratios(found)}, key=lambda name: (name.split("/")[1:], name)
    )
    rows = [[_named(name), *(_with_ends(found, name) for found in machines.values())] for name in names]
    return f"{_markdown(held)}\n\n{_markdown([['ratio', *columns], *rows])}"


def _machine(run: Mapping[str, Any]) -> tuple[str, ...]:
    about = run["environment"]
    return about["processor"], " ".join(about["instructions"]), str(about["threads"]), about["versions"]["torch"]


def _engines(run: Mapping[str, Any]) -> list[str]:
    """Of each network, where the run says so: "vgg16: torch"."""
    engine = run["environment"].get("engine", "torch")
    return [f"{name}: {one}" for name, one in engine.items()] if isinstance(engine, dict) else [engine]


def _named(name: str) -> str:
    """ "ratio/time/saliency/captum/vgg16" -> "time: saliency, captum, vgg16"."""
    kind, *rest = name.split("/")
    what = ", ".join(rest[1:] or rest)
    return f"{f'{rest[0]}: ' if len(rest) > 1 else ''}{what}{' (processor time)' if kind == 'cpu-ratio' else ''}"


def _with_ends(run: Mapping[str, Any], name: str) -> str:
    if name not in run:
        return ""
    low, high = run.get(f"{name}/low"), run.get(f"{name}/high")
    spread = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return f"{run[name]:.2f}{spread}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("table")
    one.add_argument("runs", nargs="+", type=Path)
    one.add_argument("--into", type=Path)
    two = parts.add_parser("fell")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    given = parser.parse_args(arguments)
    if given.part == "fell":
        lines = fell(read(given.before), read(given.after))
        print("\n".join(lines) or "no ratio fell beyond the spread of the two runs")
        return 1 if lines else 0
    made = table([read(path) for path in given.runs])
    if given.into is None:
        print(made)
        return 0
    page = given.into.read_text(encoding="utf-8")
    if not _MARKED.search(page):
        raise SystemExit(f"{given.into} has no lines <!-- benchmarks --> and <!-- /benchmarks -->: add them")
    given.into.write_text(_MARKED.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
