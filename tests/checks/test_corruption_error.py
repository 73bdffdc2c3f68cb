"""Mean corruption error, against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepscope.checks import corruption_error as module
from deepscope.checks import held_out
from deepscope.checks.corruption_error import NONE, PUBLISHED, corruption_error, reference_of
from deepscope.checks.corruptions import Corruptions
from deepscope.data.corruptions import Corruption
from deepscope.errors import SettingError
from deepscope.session import Session
from networks import tiny_model
from painted import CLASSES, paint_folder

KINDS = [name for name, kind in Corruption.members().items() if kind.benchmark]
SESSION = Session(quiet=True)


def errors(share: float, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.random((5, 40)) < share for name in Corruption.members()}


def test_it_is_the_mean_over_kinds_of_summed_errors_relative_to_the_reference() -> None:
    own, other = errors(0.6), errors(0.8, seed=1)
    found = corruption_error(own, "other", other)
    expected = {name: 100 * own[name].sum() / other[name].sum() for name in KINDS}
    assert found.kinds == pytest.approx(expected)  # not gaussian-blur
    assert found.mean.value == pytest.approx(np.mean(list(expected.values())))
    assert found.mean.low < found.mean.value < found.mean.high
    same = corruption_error(own, "itself", own).mean
    assert (same.value, same.low, same.high) == pytest.approx((100, 100, 100))


def test_against_the_published_errors_of_alexnet() -> None:
    always = {name: np.ones((5, 40), bool) for name in KINDS}
    found = corruption_error(always, PUBLISHED)
    assert found.kinds["brightness"] == pytest.approx(100 / 0.565)
    assert found.mean.value == pytest.approx(np.mean([100 / error for error in module._ALEXNET.values()]))
    assert np.mean(list(module._ALEXNET.values())) == pytest.approx(0.789, abs=1e-3)  # as published
    assert set(module._ALEXNET) == set(KINDS)


def test_a_reference_without_errors_has_no_ratio() -> None:
    found = corruption_error(errors(0.5), "perfect", {name: np.zeros((5, 40), bool) for name in KINDS})
    assert np.isnan(found.mean.value) and np.isnan(list(found.kinds.values())).all()


def test_references_that_do_not_apply_are_refused_by_name() -> None:
    model = tiny_model(classes=3)
    assert reference_of(NONE, model, [1], SESSION) is None
    assert reference_of("efficientnet_lite0", model, [1], SESSION) is None  # the default: of other classes
    with pytest.raises(SettingError, match="1000 classes of ImageNet"):
        reference_of(PUBLISHED, model, [1, 2, 3, 4, 5], SESSION)


def test_the_check_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    model, other = (
        dataclasses.replace(tiny_model(classes=3, size=32, seed=seed), categories=CLASSES, name=name)
        for seed, name in ((140, "tiny"), (3, "other"))
    )
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    monkeypatch.setattr(module, "load_model", lambda name, session: other)
    data = str(paint_folder(tmp_path / "pictures", train=2, test=2))
    run = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)
    result = Corruptions(data, severities=(1, 4), reference="other").run(run)
    by_other = Corruptions(data, severities=(1, 4), reference="other")
    assert any("mCE" in metric for metric in result.metrics)
    monkeypatch.setattr(held_out, "load_model", lambda name, session: other)
    theirs = by_other.run(run)
    for name in KINDS:
        own, reference = (
            sum(1 - found.metrics[f"accuracy/{name}/{severity}"] for severity in (1, 4)) for found in (result, theirs)
        )
        assert result.metrics[f"CE/{name}"] == pytest.approx(100 * own / reference, nan_ok=True)
        assert theirs.metrics[f"CE/{name}"] == pytest.approx(100)
    with pytest.raises(SettingError, match="published errors"):
        Corruptions(data, reference=PUBLISHED).run(run)
