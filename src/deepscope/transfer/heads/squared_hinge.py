"""Many linear SVMs at once: every class of every fold, for one C after another.

LinearSVC's objective for one class against the rest, |w|² / 2 + C Σ max(0, 1 - y w·x)², is strictly convex, so
any solver finds the same w. Newton's method with conjugate gradients (Keerthi and DeCoste 2005; Lin, Weng and
Keerthi 2008) needs nothing but products with the feature matrix: solving all problems side by side turns them
into matrix products, and each C starts from the last one's solution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_NEWTON_STEPS = 60
_CG_STEPS = 60


def path(
    features: Tensor, targets: Tensor, seen: Tensor, costs: Sequence[float], *, tolerance: float
) -> Iterator[Tensor]:
    """Solve for each C, in the order given.

    Args:
        features: (N, D), a column of ones among them where there is to be an intercept.
        targets: (N, K) -1 or 1, a column for each problem.
        seen: (N, K) 1 where a problem is trained on an image, else 0.
        costs: values of C, best in rising order.
        tolerance: the gradient's norm at most, relative to the norm of w. No weight is further off than that,
            because the objective is 1-strongly convex.

    Yields:
        (D, K) weights.
    """
    weights = features.new_zeros(features.shape[1], targets.shape[1])
    for cost in costs:
        weights = _solve(features, targets, seen, cost, weights, tolerance)
        yield weights


def _solve(x: Tensor, y: Tensor, seen: Tensor, cost: float, start: Tensor, tolerance: float) -> Tensor:
    weights = start.clone()
    open_ = torch.arange(y.shape[1])
    for _ in range(_NEWTON_STEPS):
        w, target, mask = weights[:, open_], y[:, open_], seen[:, open_]
        margins = x @ w
        slack = mask * (1 - target * margins).clamp(min=0)
        gradient = w - 2 * cost * (x.T @ (target * slack))
        unsolved = gradient.norm(dim=0) > tolerance * w.norm(dim=0)
        if not unsolved.any():
            break
        open_ = open_[unsolved]
        w, margins, gradient = w[:, unsolved], margins[:, unsolved], gradient[:, unsolved]
        target, mask, active = target[:, unsolved], mask[:, unsolved], (slack > 0)[:, unsolved].to(x)
        step = _conjugate_gradients(x, active, cost, -gradient)
        weights[:, open_] = w + _line_search(w, step, margins, x @ step, target, mask, cost) * step
    return weights


def _conjugate_gradients(x: Tensor, active: Tensor, cost: float, right: Tensor) -> Tensor:
    """(I + 2C xᵀ diag(active) x)⁻¹ right for each column, to a tenth of its norm and better near the solution."""
    solution, residual = torch.zeros_like(right), right.clone()
    direction = residual.clone()
    squared = residual.square().sum(0)
    goal = squared * 0.01
    for _ in range(_CG_STEPS):
        if (squared <= goal).all():
            break
        product = direction + 2 * cost * (x.T @ (active * (x @ direction)))
        alpha = squared / (direction * product).sum(0).clamp(min=1e-30)
        solution += alpha * direction
        residual -= alpha * product
        fresh = residual.square().sum(0)
        direction = residual + fresh / squared.clamp(min=1e-30) * direction
        squared = fresh
    return solution


def _line_search(
    w: Tensor, step: Tensor, margins: Tensor, change: Tensor, target: Tensor, mask: Tensor, cost: float
) -> Tensor:
    """(K,) the best of a few step lengths; 1 is right once the set of support vectors has settled."""
    lengths = [1.0, 0.5, 0.25, 0.1, 0.02]
    w_w, w_s, s_s = w.square().sum(0), (w * step).sum(0), step.square().sum(0)
    values = []
    for length in lengths:
        slack = mask * (1 - target * (margins + length * change)).clamp(min=0)
        values.append((w_w + 2 * length * w_s + length**2 * s_s) / 2 + cost * slack.square().sum(0))
    return torch.tensor(lengths)[torch.stack(values).argmin(0)].to(w)
