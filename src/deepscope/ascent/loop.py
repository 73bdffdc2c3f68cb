"""`ascend`: climb a score by its gradient. Adversarial examples and class images are both made by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from deepscope.errors import UnsupportedError

Memory: TypeAlias = "tuple[Tensor, ...]"
"""The memory of an update rule from step to step: tensors (n, ...), one row per point."""


@dataclass
class State:
    """The state of the ascent before its next step.

    Attributes:
        step: steps made so far, which is also the number of gradients per point.
        rows: (n,) the points' places in the start; rows that have finished are gone.
        points: (n, ...) pixels, or whatever the score takes.
        scores: (n,) the score at the points.
        outputs: (n, ...) what the score was computed from, usually logits.
        active: (n,) False for the points that stay as they are.
        memory: of the update rule. With `step`, `rows` and `points` it is all that a climb continues from.
        gradient: (n, ...) of the scores; None until it is taken, so only a projection sees it.
    """

    step: int
    rows: Tensor
    points: Tensor
    scores: Tensor
    outputs: Tensor
    active: Tensor
    memory: Memory = ()
    gradient: Tensor | None = None

    def finish(self, done: Tensor) -> None:
        """The points where `done` (n,) holds leave the ascent: the next state is without them."""
        self.active = self.active & ~done


Score: TypeAlias = Callable[[Tensor, Tensor], "tuple[Tensor, Tensor]"]
"""(points (n, ...), rows (n,)) -> (scores (n,) to climb, outputs (n, ...) for observers).

`rows` are the points' places in the start, for what belongs to each of them: a target, a noise stream. A row's
score must not depend on other rows. A regulariser is subtracted here, or acts in the projection.
"""

Project: TypeAlias = Callable[[Tensor, State], Tensor]
"""(points after the step, the state before it) -> points that are allowed."""


class UpdateRule(Protocol):
    """Turns gradients into changes. It holds only settings; the loop keeps its memory."""

    def begin(self, points: Tensor, /) -> Memory:
        """The memory before the first step."""
        ...

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change (n, ...) to add to `state.points`, and the new memory."""
        ...


def ascend(
    score: Score, start: Tensor | State, *, update_rule: UpdateRule, project: Project, steps: int
) -> Iterator[State]:
    """Climb `score` from every row of `start` at once, each row on its own.

    Yields a state before every step and one after the last: `steps` + 1 from a start, the rest of them after a
    state to continue from. The gradient is taken only after a state was looked at: an ascent that is abandoned, or
    whose points have all finished, does not compute it. Nor does the last state. Only gradients of the points are
    computed, never of a network's parameters. A gradient that is not finite counts as zero.

    Args:
        score: what to climb; see `Score`.
        start: (N, ...) floating point, or a state that an earlier climb yielded, to continue it. It is left as it is.
        update_rule: from gradient to change; see `update_rules`.
        project: back to where points may be; see `projections`.
        steps: steps from the first start on, at least 0.
    """
    if isinstance(start, State):
        first, rows, points, memory = start.step, start.rows, start.points.detach().clone(), start.memory
    else:
        first, rows = 0, torch.arange(len(start), device=start.device)
        points, memory = start.detach().clone(), update_rule.begin(start)
    for step in range(first, steps + 1):
        with torch.set_grad_enabled(step < steps):
            scores, outputs = score(points.requires_grad_(step < steps), rows)
        active = torch.ones_like(rows).bool()
        state = State(step, rows, points.detach(), scores.detach(), outputs.detach(), active, memory)
        yield state
        all_active = state.active is active  # told without waiting for the device
        active = state.active
        left = len(rows) if all_active or step == steps else int(active.sum())
        if step == steps or not left:
            return
        if not scores.requires_grad:
            text = "the scores have no gradient with respect to the pixels: the network computes outside PyTorch"
            raise UnsupportedError(f"{text}, or without gradients", what="gradients")
        (gradient,) = torch.autograd.grad(scores, points, active.to(scores))
        del scores, outputs  # the graph is freed before the next one grows
        if left < len(rows):
            state, gradient = _keep(state, active), gradient[active]
            rows = state.rows
        gradient = _finite(gradient)
        state = replace(state, gradient=gradient)
        change, memory = update_rule(gradient, state, state.memory)
        points = project(state.points + change, state).detach()


def _finite(gradient: Tensor) -> Tensor:
    """The gradient, zero in the rows (n, ...) where it is not finite throughout: these points stay where they are."""
    finite = gradient.flatten(1).isfinite().all(1)
    return gradient.where(finite.view(-1, *[1] * (gradient.ndim - 1)), 0)


def _keep(state: State, active: Tensor) -> State:
    return replace(
        state,
        rows=state.rows[active],
        points=state.points[active],
        scores=state.scores[active],
        outputs=state.outputs[active],
        active=active[active],
        memory=tuple(part[active] for part in state.memory),
    )
