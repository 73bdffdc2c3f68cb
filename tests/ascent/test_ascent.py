from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepscope.ascent import (
    Adam,
    Box,
    Chain,
    L2Ball,
    LinfBall,
    Momentum,
    Normalised,
    Plain,
    Sign,
    State,
    Streams,
    UpdateRule,
    anywhere,
    ascend,
)


def linear(weights: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        scores = (points * weights[rows]).flatten(1).sum(1)
        return scores, scores

    return score


def bowl(centres: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        scores = -(points - centres[rows]).square().flatten(1).sum(1) / 2
        return scores, scores

    return score


def last(states: object) -> State:
    *_, state = states  # type: ignore[misc]
    return state


RULES: list[UpdateRule] = [
    Plain(0.1),
    Sign(0.1),
    Normalised(0.1),
    Momentum(Sign(0.1)),
    Momentum(Plain(0.1), 0.5),
    Adam(0.1),
]


def test_one_step_of_each_move_is_its_formula() -> None:
    weights = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    start = torch.zeros(2, 2)
    expected = {
        "Plain": [0.3, -0.4],
        "Sign": [0.1, -0.1],
        "Normalised": [0.06, -0.08],
        "Adam": [0.1, -0.1],
    }
    for rule in RULES:
        if type(rule).__name__ in expected:
            end = last(ascend(linear(weights), start, update_rule=rule, project=anywhere, steps=1)).points
            torch.testing.assert_close(end, torch.tensor([expected[type(rule).__name__], [0.0, 0.0]]))


def test_momentum_sums_l1_normalised_gradients() -> None:
    weights = torch.tensor([[3.0, -1.0]])
    states = ascend(
        linear(weights), torch.zeros(1, 2), update_rule=Momentum(Plain(1.0), 0.5), project=anywhere, steps=3
    )
    points = [state.points[0] for state in states]
    unit = torch.tensor([0.75, -0.25])
    torch.testing.assert_close(torch.stack(points), torch.stack([f * unit for f in (0.0, 1.0, 2.5, 4.25)]))


def test_adam_is_torchs_adam_uphill() -> None:
    generator = torch.Generator().manual_seed(0)
    start, centres = torch.randn(2, 3, 4, 5, generator=generator).double()
    ours = last(ascend(bowl(centres), start, update_rule=Adam(0.05), project=anywhere, steps=20)).points
    theirs = nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([theirs], lr=0.05)
    for _ in range(20):
        optimiser.zero_grad()
        ((theirs - centres).square().sum() / 2).backward()
        optimiser.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-9, atol=1e-9)


def test_plain_ascent_of_a_bowl_is_the_closed_form() -> None:
    """x_t = c + (1 - size)^t (x_0 - c)."""
    generator = torch.Generator().manual_seed(0)
    start, centres = torch.randn(2, 4, 3, generator=generator).double()
    end = last(ascend(bowl(centres), start, update_rule=Plain(0.3), project=anywhere, steps=10)).points
    torch.testing.assert_close(end, centres + 0.7**10 * (start - centres))


def test_states_are_the_start_and_one_for_each_step() -> None:
    start = torch.zeros(2, 3)
    weights = torch.ones(2, 3)
    states = list(ascend(linear(weights), start, update_rule=Plain(1.0), project=anywhere, steps=4))
    assert [state.step for state in states] == [0, 1, 2, 3, 4]
    assert [state.scores.tolist() for state in states] == [[3.0 * k] * 2 for k in range(5)]
    assert start.eq(0).all() and not start.requires_grad
    assert not any(state.points.requires_grad or state.outputs.requires_grad for state in states)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rows_that_finish_leave_and_change_nothing_for_the_others(rule: UpdateRule) -> None:
    generator = torch.Generator().manual_seed(0)
    start, centres = torch.randn(2, 5, 3, generator=generator)
    whole = last(ascend(bowl(centres), start, update_rule=rule, project=Box(-2, 2), steps=7)).points
    found = start.clone()
    for state in ascend(bowl(centres), start, update_rule=rule, project=Box(-2, 2), steps=7):
        assert state.points.shape == (len(state.rows), 3)
        found[state.rows] = state.points
        state.finish(state.rows == state.step)  # one row leaves at each step
    stays = {row: min(row, 7) for row in range(5)}
    alone = torch.cat(
        [
            last(ascend(bowl(centres[[row]]), start[[row]], update_rule=rule, project=Box(-2, 2), steps=steps)).points
            for row, steps in stays.items()
        ]
    )
    torch.testing.assert_close(found, alone)
    everyone = [
        last(ascend(bowl(centres[[row]]), start[[row]], update_rule=rule, project=Box(-2, 2), steps=7)).points
        for row in range(5)
    ]
    torch.testing.assert_close(whole, torch.cat(everyone))


def test_gradients_are_paid_for_only_by_who_goes_on() -> None:
    backward = []

    def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        if points.requires_grad:
            points.register_hook(lambda gradient: backward.append(len(gradient)))
        return points.sum(1), points

    for state in ascend(score, torch.zeros(3, 2), update_rule=Plain(1.0), project=anywhere, steps=5):
        state.finish(state.rows <= state.step)
    assert backward == [3, 2], "the third state is where the last row finishes"
    backward.clear()
    list(ascend(score, torch.zeros(3, 2), update_rule=Plain(1.0), project=anywhere, steps=2))
    assert backward == [3, 3]


def test_works_inside_no_grad_and_leaves_parameters_alone() -> None:
    network = nn.Linear(3, 1)
    with torch.no_grad():
        states = list(
            ascend(
                lambda points, rows: (network(points)[:, 0], points),
                torch.zeros(1, 3),
                update_rule=Plain(1.0),
                project=anywhere,
                steps=2,
            )
        )
    assert states[-1].scores > states[0].scores
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_step_may_follow_a_schedule_for_each_row() -> None:
    sizes = torch.tensor([1.0, 2.0])
    rule = Sign(lambda state: sizes[state.rows] / (state.step + 1))
    end = last(ascend(linear(torch.ones(2, 3)), torch.zeros(2, 3), update_rule=rule, project=anywhere, steps=2)).points
    torch.testing.assert_close(end, torch.tensor([[1.5] * 3, [3.0] * 3]))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), radius=st.floats(0, 2), surface=st.booleans())
def test_projections_end_inside_and_leave_what_is_inside(seed: int, radius: float, surface: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(3, 3, 4, 4, generator=generator)
    points = centre + torch.randn(3, 3, 4, 4, generator=generator)
    rows = torch.arange(3)
    state = State(0, rows, points, rows, rows, rows.bool())
    near = LinfBall(centre, radius)(points, state)
    assert (near - centre).abs().max() <= radius + 1e-6
    assert near.min() >= 0 and near.max() <= 1
    torch.testing.assert_close(LinfBall(centre, radius)(near, state), near)
    round_ = L2Ball(centre, torch.full((3,), radius), surface)(points, state)
    assert (round_ - centre).flatten(1).norm(dim=1).max() <= radius * (1 + 1e-5) + 1e-6
    assert round_.min() >= 0 and round_.max() <= 1
    both = Chain((LinfBall(centre, radius), Box(0.4, 0.6)))(points, state)
    assert both.min() >= 0.4 - 1e-6 and both.max() <= 0.6 + 1e-6


def test_l2_surface_puts_near_points_at_the_radius() -> None:
    centre = torch.full((1, 3, 4, 4), 0.5)
    rows = torch.zeros(1).long()
    state = State(0, rows, centre, rows, rows, rows.bool())
    points = centre + 0.001 * torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    moved = L2Ball(centre, 0.5, surface=True)(points, state)
    torch.testing.assert_close((moved - centre).norm(), torch.tensor(0.5))


def test_streams_depend_on_neither_batch_nor_finished_rows() -> None:
    whole = Streams.split(torch.Generator().manual_seed(1), 5)
    rng = torch.Generator().manual_seed(1)
    parts = [Streams.split(rng, 2), Streams.split(rng, 3)]
    rows = torch.arange(5)
    together = whole.uniform(rows, 3, 2)
    assert torch.equal(together, torch.cat([parts[0].uniform(rows[:2], 3, 2), parts[1].uniform(rows[:3], 3, 2)]))
    second = whole.normal(rows[3:], 4)
    assert torch.equal(second, parts[1].normal(rows[1:3], 4))
    assert whole.integers(rows, 7, 100).max() == 6
    assert (together >= 0).all() and (together < 1).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_climb_continues_from_any_of_its_states_to_the_same_bits(rule: UpdateRule) -> None:
    score = bowl(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))
    start = torch.zeros(3, 4)
    states = list(ascend(score, start, update_rule=rule, project=Box(), steps=6))
    for state in states:
        continued = list(ascend(score, state, update_rule=rule, project=Box(), steps=6))
        assert [other.step for other in continued] == list(range(state.step, 7))
        assert torch.equal(last(continued).points, last(states).points)


def test_projections_see_the_gradient_of_the_move() -> None:
    seen: list[torch.Tensor | None] = []

    def project(points: Tensor, state: State) -> Tensor:
        seen.append(state.gradient)
        return points

    weights = torch.tensor([[3.0, -4.0]])
    last(ascend(linear(weights), torch.zeros(1, 2), update_rule=Plain(0.1), project=project, steps=1))
    assert len(seen) == 1
    assert seen[0] is not None
    assert torch.equal(seen[0], weights)


def test_streams_go_on_from_where_they_were_read() -> None:
    rows = torch.tensor([0, 1])
    streams = Streams.split(torch.Generator().manual_seed(0), 2)
    streams.normal(rows, 3)
    position = streams.position
    expected = streams.uniform(rows, 5)
    again = Streams.split(torch.Generator().manual_seed(9), 2)
    again.rewind(position)
    assert torch.equal(again.uniform(rows, 5), expected)
