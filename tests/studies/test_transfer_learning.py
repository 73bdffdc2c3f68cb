from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from deepscope.errors import DeepscopeError
from deepscope.models import load_model
from deepscope.results import Table
from deepscope.session import Session
from deepscope.statistics import proportion
from deepscope.studies.study import ANSWERS
from deepscope.studies.transfer_data import Measured, digit_folders, untrained
from deepscope.studies.transfer_learning import TransferLearning, _verdict


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def test_every_question_is_answered_on_bundled_digits(session: Session) -> None:
    result = TransferLearning(digits=2, fine_tune=0, thorough=False).run(session)
    tables = {block.title: block for block in result.blocks if isinstance(block, Table)}
    rows = {str(row[0]): row for row in tables[ANSWERS].rows}
    assert {name.partition(".")[0] for name in rows if name[0].isdigit()} == {"5", "6", "7", "8", "9", "10", "11"}
    published = [row for name, row in rows.items() if name.startswith("Table 1.1")]
    assert [row[1] for row in published] == ["0.906", "0.912", "0.896", "0.896", "0.861", "0.880"]
    assert {row[3] for row in published} == {"not measured here"}
    table = tables["Table 1.1, with other layers and networks"]
    unmeasured = [row for row in table.rows if row[0] == "vgg16@relu6"]
    assert [row[-2] for row in unmeasured] == [0.906, 0.912]
    assert all(cell is None for row in unmeasured for cell in row[3:10])
    assert table.mark is not None
    assert table.rows[table.mark][5] == max(row[5] for row in table.rows if isinstance(row[5], float))
    for name in (
        "accuracy/head/ridge",
        "accuracy/initial/weights",
        "accuracy/grey/average",
        "improve/accuracy/baseline",
    ):
        assert 0 <= result.metrics[name] <= 1
    assert result.metrics["accuracy/grey/replicate"] == result.metrics["accuracy/head/linear-svc"]


def test_digits_become_files_and_an_untrained_network_a_weights_file(session: Session) -> None:
    root = digit_folders(3, session)
    files = sorted(root.rglob("*.png"))
    assert len(files) == 2 * 10 * 3
    assert np.asarray(Image.open(files[0])).shape == (28, 28)
    whole = {path: path.read_bytes() for path in root.rglob("*.png")}
    for path in whole:
        path.write_bytes(path.read_bytes()[:-20])
    assert digit_folders(3, session) == root
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == whole  # a damaged one is written anew
    model = load_model(session=session)
    path = untrained(model, session)
    weights = {key: value.clone() for key, value in load_file(path).items()}  # else it is still on the disk
    blank = load_model(path, session)
    assert blank.architecture == model.architecture
    pixels = model.read([files[0]])
    assert not torch.allclose(blank(pixels), model(pixels))
    assert torch.isfinite(blank(pixels)).all()
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\x80\x7f")  # an infinity
    again = load_file(untrained(model, session))  # the seed decides
    assert all(again[key].equal(value) for key, value in weights.items())


def test_too_few_digits_are_refused(session: Session) -> None:
    with pytest.raises(DeepscopeError, match="digits must be at least 2"):
        TransferLearning(digits=1).run(session)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [(90, 40, "reproduced"), (40, 90, "differs"), (52, 50, "answered"), (50, 50, "answered")],
)
def test_chance_decides_nothing(first: int, second: int, verdict: str) -> None:
    better, worse = (Measured(proportion(right, 100), np.arange(100) < right) for right in (first, second))
    assert _verdict(better, worse) == verdict
