"""The precision of a training: measured on copies, held to float32's figures, kept, and never changed in the middle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepscope.session import Session
from deepscope.training import Log, Moment, Update, fit, precision
from deepscope.training.precision import Tried, agrees, measured_precision
from toy_training import Data, Toy

STEPS = 4


class Seeing(Toy):
    """Notes in which precision its layers compute."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.seen: list[torch.dtype] = []

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        self.seen.append(self.two(batch[0]).dtype)
        return super().__call__(batch, moment, update)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr("deepscope.training.loop.WORTH", STEPS)
    return Session(seed=3, quiet=True, may_halve=True, cache=tmp_path / "cache")


def _measured(monkeypatch: pytest.MonkeyPatch, *, half: float, figure: float = 1.0) -> list[bool]:
    """float32 takes a second per step, bfloat16 that long; the first really runs. Returns what was tried."""
    tried: list[bool] = []

    def trying(step: Any, trial: Any, device: torch.device, *, bfloat16: bool) -> Tried:
        found = real(step, trial, device, bfloat16=bfloat16)
        tried.append(bfloat16)
        seconds, change = (half, figure) if bfloat16 else (1.0, 1.0)
        return Tried(seconds, [{name: value * change for name, value in row.items()} for row in found.figures])

    real = precision._tried
    monkeypatch.setattr(precision, "_tried", trying)
    return tried


def _weights(toy: Toy) -> list[Tensor]:
    return [*toy.one.state_dict().values(), *toy.two.state_dict().values()]


def _trained(session: Session, folder: Path | None = None, steps: int = STEPS) -> Seeing:
    toy = Seeing(session)
    fit(toy, Data(session), steps=steps, session=session, log=Log(folder=folder, every=2))
    return toy


@pytest.mark.parametrize(
    ("half", "figure", "dtype"), [(0.5, 1.0, "bfloat16"), (0.95, 1.0, "float32"), (0.5, 1.2, "float32")]
)
def test_bfloat16_trains_only_where_it_is_faster_and_agrees(
    half: float, figure: float, dtype: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measured(monkeypatch, half=half, figure=figure)
    toy = _trained(session)
    assert toy.seen == [getattr(torch, dtype)] * STEPS
    named = replace(session, may_halve=False, precision=dtype, engines=set())  # pyright: ignore[reportArgumentType]
    assert all(map(torch.equal, _weights(toy), _weights(_trained(named)))), "the probe has left no trace"
    assert session.engines == ({"torch-bfloat16"} if dtype == "bfloat16" else set())


def test_the_choice_is_kept_for_the_same_networks_and_batch(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = _measured(monkeypatch, half=0.5)
    for _ in range(2):
        assert _trained(session).seen[0] == torch.bfloat16
    assert tried == [False, True]
    wider = Seeing(session)
    fit(wider, Data(session, batch_size=20), steps=STEPS, session=session)
    assert len(tried) == 4, "another batch is measured anew"


def test_a_training_resumes_in_the_precision_that_it_began_with(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    class Stopping(Data):
        def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
            if moment.step == 3:
                raise Killed
            return super().__call__(moment)

    _measured(monkeypatch, half=0.5)
    with pytest.raises(Killed):
        fit(Seeing(session), Stopping(session), steps=STEPS, session=session, log=Log(folder=tmp_path / "run", every=2))
    monkeypatch.undo()
    elsewhere = replace(session, cache=tmp_path / "another")  # where too few steps are left to measure
    assert _trained(elsewhere, tmp_path / "run").seen == [torch.bfloat16] * 2


def test_nothing_is_measured_for_few_steps_or_where_a_precision_is_named(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = _measured(monkeypatch, half=0.5)
    _trained(session, steps=STEPS - 1)
    _trained(replace(session, may_halve=False))
    assert tried == []


def test_what_cannot_be_copied_or_computed_trains_in_float32(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Seeing(session)
    toy.extra = (n for n in ())  # pyright: ignore[reportAttributeAccessIssue]
    assert measured_precision(toy, torch.ones(2), lambda *_: {}, session) == "float32"

    def no_operator(_: Any, bfloat16: bool) -> Mapping[str, Tensor]:
        if bfloat16:
            raise NotImplementedError("no operator for BFloat16")
        return {}

    assert measured_precision(Seeing(session), torch.ones(2), no_operator, session) == "float32"


def test_figures_agree_but_for_rounding_and_never_with_nan() -> None:
    assert agrees([{"loss": 2.05, "penalty": 0.003}], [{"loss": 2.0, "penalty": 0.001}])
    assert not agrees([{"loss": 2.2}], [{"loss": 2.0}])
    assert not agrees([{"loss": 2.0}, {"loss": float("nan")}], [{"loss": 2.0}, {"loss": 2.0}])
