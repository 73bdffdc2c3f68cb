"""Small batches: the bits of whole ones, and no more images than there are, once this is proven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deepscope.features import extract, passes
from deepscope.features.ladder import Ladder
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.classifier import Backbone
from deepscope.models.measured import Kept
from deepscope.session import Session

ROWS = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2))


class Kernels:
    """Rows times two; batches of the sizes in `other` are computed by another kernel, which rounds differently."""

    def __init__(self, *other: int) -> None:
        self.other, self.sizes = other, list[int]()

    def __call__(self, rows: Tensor) -> Tensor:
        self.sizes.append(len(rows))
        return (rows.float().flatten(1) * 2) * (1 + 2e-7 * (len(rows) in self.other))


def _ladder(run: Any, session: Session, rows: Tensor = ROWS) -> Ladder:
    return Ladder(run, 8, Kept(nn.Identity(), rows, session), of="torch")


@pytest.mark.parametrize("other", [(), (1,), (2,), (4,), (1, 4), (1, 2, 4)], ids=str)
def test_any_number_of_rows_has_the_bits_of_the_whole_batch(other: tuple[int, ...], session: Session) -> None:
    wanted = Kernels()(ROWS)
    for _ in range(2):  # proving, and with what is kept
        for count in (3, 1, 7, 5, 8, 2, 4, 6):
            run = Kernels(*other)
            found = _ladder(run, session)(ROWS[:count])
            assert torch.equal(found, wanted[:count]), count
    rungs = [size for size in (1, 2, 4, 8) if size not in other]
    for count in range(1, 8):
        run = Kernels(*other)
        _ladder(run, session)(ROWS[:count])
        assert sum(run.sizes) == -(-count // rungs[0]) * rungs[0], "no more rows than the smallest rung needs"


def test_a_rung_is_proven_once_beside_the_whole_batch(session: Session) -> None:
    run = Kernels()
    ladder = _ladder(run, session)
    ladder(ROWS[:5])
    assert (run.sizes[0], sorted(run.sizes[1:])) == (8, [1, 4])
    run.sizes.clear()
    _ladder(run, session)(ROWS[3:])
    assert run.sizes == [4, 1]
    run.sizes.clear()
    ladder(ROWS)
    assert run.sizes == [8]


def test_rows_that_are_all_alike_prove_nothing(session: Session) -> None:
    """Zeros have the same bits in every kernel."""
    for _ in range(2):
        _ladder(Kernels(1, 2, 4), session)(torch.zeros(7, 3, 4, 4))
    found = _ladder(Kernels(1, 2, 4), session)(ROWS[:7])
    assert torch.equal(found, Kernels()(ROWS)[:7])


def test_levels_are_proven_by_levels(session: Session) -> None:
    levels = (ROWS * 255).byte()
    seen: list[torch.dtype] = []

    def run(rows: Tensor) -> Tensor:
        seen.append(rows.dtype)
        return rows.float().flatten(1)

    assert torch.equal(_ladder(run, session, levels)(levels[:3]), levels[:3].float().flatten(1))
    assert set(seen) == {torch.uint8}


def test_what_was_proven_holds_for_this_shape_network_and_number_of_threads(session: Session) -> None:
    names = {Kept(nn.Identity(), ROWS, session).name, Kept(nn.Identity(), ROWS[..., :3], session).name}
    names.add(Kept(nn.Linear(4, 4), ROWS, session).name)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    names.add(Kept(nn.Identity(), ROWS, session).name)
    torch.set_num_threads(threads)
    assert len(names) == 4


class Rows(nn.Module):
    """Computes each image by itself: all sizes of batches have the same bits."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row.mean((1, 2)) for row in x])[:, :, None, None]


MODEL = nn.Sequential(Rows(), nn.Flatten())


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass has."""
    sizes, plain = list[int](), passes.vectors_of

    def counting(backbone: Backbone, pixels: Tensor, device: torch.device) -> list[Tensor]:
        sizes.append(len(pixels))
        return plain(backbone, pixels, device)

    monkeypatch.setattr(passes, "vectors_of", counting)
    return sizes


def test_a_small_set_costs_its_images_and_its_features_are_those_of_a_large_one(
    pictures: list[Path], session: Session, computed: list[int]
) -> None:
    model = VisionModel("rows", MODEL, Preprocessing(resize=20, crop=16), tuple("abc"))
    large = extract(model, [("0", "mean")], pictures, session)
    small = replace(session, cache=session.cache / "small")
    extract(model, [("0", "mean")], pictures[:7], small)
    for count in (1, 3, 7, 12):
        for old in small.cache.glob("features/*/*"):
            old.unlink()
        computed.clear()
        found = extract(model, [("0", "mean")], pictures[:count], small)
        assert sum(computed) == count
        assert np.array_equal(found.vectors[0], large.vectors[0][:count])


def test_images_of_many_sizes_cost_one_image_each_once_their_size_is_known(
    session: Session, computed: list[int]
) -> None:
    model = VisionModel("rows", MODEL, Preprocessing(16, None), tuple("abc"))
    rng = np.random.default_rng(0)
    for known in (False, True):
        photos = [Image.fromarray(rng.integers(255, size=(20, 20 + 8 * n, 3), dtype=np.uint8)) for n in range(3)]
        computed.clear()
        extract(model, [("0", "mean")], photos, session)
        assert sum(computed) == (3 if known else 3 * (passes.BATCH + 1))
