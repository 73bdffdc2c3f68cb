"""Many linear SVMs at once: every class of every fold, for one C after another.

LinearSVC's objective for one class against the rest, |w|² / 2 + C Σ max(0, 1 - y w·x)², is strictly convex, so
any solver finds the same w. Newton's method with conjugate gradients (Keerthi and DeCoste 2005; Lin, Weng and
Keerthi 2008) needs nothing but products with the feature matrix: solving all problems side by side turns them
into matrix products, and each C starts from the last one's solution. Where C is large, conjugate gradients are slow,
but few images are still within the margin: then each step is solved exactly, in as many dimensions as there are such
images (Chapelle, "Training a Support Vector Machine in the Primal", 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_NEWTON_STEPS = 60
_CG_STEPS = 60
_FEW = 512
"""Images within the margin up to which a step is solved exactly."""
_MOST_IMAGES = 8192
"""Images up to which all their inner products are held: 256 MB."""


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
    inner = features @ features.T if len(features) <= _MOST_IMAGES else None
    for cost in costs:
        weights = _solve(features, inner, targets, seen, cost, weights, tolerance)
        yield weights


def _solve(
    x: Tensor, inner: Tensor | None, y: Tensor, seen: Tensor, cost: float, start: Tensor, tolerance: float
) -> Tensor:
    weights = start.clone()
    open_ = torch.arange(y.shape[1])
    for _ in range(_NEWTON_STEPS):
        if not len(open_):
            break
        w, target, mask = weights[:, open_], y[:, open_], seen[:, open_]
        margins = x @ w
        slack = mask * (1 - target * margins).clamp(min=0)
        gradient = w - 2 * cost * (x.T @ (target * slack))
        unsolved = gradient.norm(dim=0) > tolerance * w.norm(dim=0)
        if not unsolved.any():
            break
        open_ = open_[unsolved]
        w, margins, gradient = w[:, unsolved], margins[:, unsolved], gradient[:, unsolved]
        target, mask, active = target[:, unsolved], mask[:, unsolved], (slack > 0)[:, unsolved]
        few = inner is not None and bool(active.sum(0).max() <= _FEW)
        if inner is not None and few:
            step = x.T @ _exact(inner, target, active, cost) - w
        else:
            step = _conjugate_gradients(x, active.to(x), cost, -gradient)
        weights[:, open_] = w + _line_search(w, step, margins, x @ step, target, mask, cost) * step
        if few:  # along steep directions rounding alone makes a gradient; an exact step that is short is the last
            open_ = open_[step.norm(dim=0) > tolerance * w.norm(dim=0)]
    return weights


def _exact(inner: Tensor, target: Tensor, active: Tensor, cost: float) -> Tensor:
    """(N, K) what each image adds to w, were the active images those within the margin at the solution."""
    shares = torch.zeros_like(target)
    for problem, rows in enumerate(column.nonzero().flatten() for column in active.T):
        among = inner[rows[:, None], rows].double()
        among.diagonal().add_(1 / (2 * cost))
        solved = torch.cholesky_solve(target[rows, problem, None].double(), torch.linalg.cholesky(among))
        shares[rows, problem] = solved[:, 0].to(shares)
    return shares


def _conjugate_gradients(x: Tensor, active: Tensor, cost: float, right: Tensor) -> Tensor:
    """(I + 2C xᵀ diag(active) x)⁻¹ right for each column, to a tenth of its norm and better near the solution."""
    solution, residual = torch.zeros_like(right), right.clone()
    direction = residual.clone()
    squared = residual.square().sum(0)
    target = squared * 0.01
    for _ in range(_CG_STEPS):
        if (squared <= target).all():
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
