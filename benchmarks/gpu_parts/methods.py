"""Every registered method on the CPU and on the device, and twice on the device."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor

from deepscope.registry import Registered

from .cases import CPU, DOUBLE, FAMILIES, Case, cases
from .check import Check, Outcome, Record, as_commands_run, exact, relative, verdict
from .networks import nudged

NUDGES = (3e-16, 5e-16, 1e-15)
"""Shares by which weights are nudged, to see how much rounding alone changes."""
SAME = {DOUBLE: 1e-9, torch.float32: 1e-3}


def methods(check: Check) -> Iterator[Record]:
    """The same numbers within float64 1e-9 and float32 1e-3, TF32 off, deterministic algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with exact():
        for case in cases(small=check.small):
            yield check.attempt(case.name, lambda case=case: _compare(check, case))
    others = sorted(family.__name__ for family in Registered.__subclasses__() if family not in FAMILIES)
    note = f"{', '.join(others)}: on the CPU, or made of the methods above"
    yield check.attempt("other-families", lambda: ("pass", {"families": len(others)}, note))


def _compare(check: Check, case: Case) -> Outcome:
    wanted = {dtype: case.run(CPU, dtype) for dtype in SAME}
    found = {dtype: case.run(check.device, dtype) for dtype in SAME}
    apart = {dtype: relative(found[dtype], wanted[dtype]) for dtype in SAME}
    figures = {"float64": apart[DOUBLE], "float32": apart[torch.float32], "on": str(found[DOUBLE].device.type)}
    note = case.note
    same = apart[torch.float32] <= SAME[torch.float32]
    if not same and wanted[DOUBLE].shape == wanted[torch.float32].shape:
        # Where an input of a ReLU is almost zero, rounding decides; the CPU's own rounding is the measure of that.
        figures["float32-of-cpu"] = own = relative(wanted[torch.float32], wanted[DOUBLE])
        same = relative(found[torch.float32], wanted[DOUBLE]) <= 2 * own
        note = note or "float32: as far from float64 as the CPU is"
    if not same and case.outcome is not None:
        ends = [case.outcome(moved[torch.float32]) for moved in (found, wanted)]
        figures["float32-successes"] = f"{int(ends[0].sum())}/{int(ends[1].sum())}"
        same = torch.equal(*ends)
        note = "float32: rounding sends the search another way; compared by which images it misleads"
    same_double = not case.double or apart[DOUBLE] <= SAME[DOUBLE]
    if not same_double:  # ties of a max pooling and signs of gradients that vanish are broken by the last bit
        own = 0.0
        for share in NUDGES:
            with nudged(share):
                own = max(own, relative(case.run(CPU, DOUBLE), wanted[DOUBLE]))
        figures["float64-of-nudged-cpu"] = own
        same_double = apart[DOUBLE] <= 2 * own
        if not same_double and case.outcome is not None:  # a random search that rounding sends another way
            ends = [case.outcome(moved[DOUBLE]) for moved in (found, wanted)]
            figures["float64-successes"] = f"{int(ends[0].sum())}/{int(ends[1].sum())}"
            same_double = torch.equal(*ends)
        note = "float64: on the CPU alone, weights that are up to 1e-15 apart change as much"
    return verdict(same and same_double), figures, note


def repeat(check: Check) -> Iterator[Record]:
    """The same seed twice on the device, in a session as the command line opens it: the same bits."""
    for case in cases(small=check.small):
        yield check.attempt(case.name, lambda case=case: _twice(check, case))


def _twice(check: Check, case: Case) -> Outcome:
    with as_commands_run(check):
        first, second = (case.run(check.device, torch.float32) for _ in range(2))
    if _same_bits(first, second):
        return "pass", {"equal": True}, ""
    return "fail", {"equal": False, "difference": relative(first, second)}, "not the same bits"


def _same_bits(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(((first == second) | (first.isnan() & second.isnan())).all())
