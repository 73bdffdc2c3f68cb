"""The feature engine: what it computes, what it keeps, what it survives."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepscope import images
from deepscope.data import ClassFolders, load_dataset
from deepscope.errors import DeepscopeError
from deepscope.features import extract, extraction, passes
from deepscope.features.inference import accelerated
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.classifier import Backbone, Pooling, View
from deepscope.session import Session
from deepscope.transfer.classifier import ImageClassifier

LAYERS: list[tuple[str, Pooling]] = [("2", "mean"), ("5", "flatten"), ("5", "pyramid")]


def test_features_are_the_layers_pooled(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    """Against the plain way in float64: one layer a pass, no folding, no batches."""
    found = extract(tiny, LAYERS, pictures, session)
    network = tiny.network.double()
    pixels = tiny.read(pictures).double()
    inputs = (pixels - torch.tensor(tiny.preprocessing.mean).view(3, 1, 1)) / torch.tensor(tiny.preprocessing.std).view(
        3, 1, 1
    )
    assert isinstance(network, nn.Sequential)
    early, late = network[:3](inputs), network[:6](inputs)
    quarters = [late.unfold(2, 4, 3).unfold(3, 4, 3).mean((4, 5)).flatten(1)]  # 7 x 7 in adaptive halves: 4 and 4
    assert np.allclose(found.vectors[0], early.mean((2, 3)).numpy(), atol=1e-5)
    assert np.allclose(found.vectors[1], late.flatten(1).numpy(), atol=1e-5)
    assert np.allclose(found.vectors[2][:, :12], late.mean((2, 3)).numpy(), atol=1e-5)
    assert np.allclose(found.vectors[2][:, 12:60], quarters[0].numpy(), atol=1e-5)
    assert found.vectors[2].shape == (40, 12 * (1 + 4 + 9))


def test_second_run_computes_nothing(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    first = extract(tiny, LAYERS, pictures, session)
    moved = [p.rename(p.with_name(f"renamed-{p.name}")) for p in pictures]
    second = extract(tiny, LAYERS, moved[::-1], session)
    assert (first.computed, second.computed) == (40, 0)
    for a, b in zip(first.vectors, second.vectors, strict=True):
        assert np.array_equal(a, b[::-1])


def test_vectors_of_changed_code_are_computed_again(
    tiny: VisionModel, pictures: list[Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(tiny, LAYERS, pictures, session)
    monkeypatch.setattr(extraction, "code_of", lambda module: f"{module}, changed")
    assert extract(tiny, LAYERS, pictures, session).computed == 40


def test_only_what_changed_is_computed(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    extract(tiny, LAYERS, pictures, session)
    assert extract(tiny, LAYERS[:1], pictures, session).computed == 0
    Image.new("RGB", (24, 30), "red").save(pictures[3])
    assert extract(tiny, LAYERS, pictures, session).computed == 1
    assert extract(tiny, [*LAYERS, ("0", "max")], pictures, session).computed == 40
    assert extract(tiny, LAYERS, pictures, replace(session, precision="bfloat16")).computed == 40
    assert extract(tiny, LAYERS, pictures, session, preprocessing=Preprocessing(18, 16)).computed == 40
    assert extract(tiny, LAYERS, pictures, session, views=[View(), View(mirrored=True)]).computed == 40
    with torch.no_grad():
        next(tiny.network.parameters())[0, 0, 0, 0] += 0.001
    assert extract(tiny, LAYERS, pictures, session).computed == 40


def test_layers_that_miss_different_images(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    extract(tiny, LAYERS[:1], pictures[:35], session)
    extract(tiny, LAYERS[1:2], pictures[35:], session)
    found = extract(tiny, LAYERS, pictures, session)
    fresh = extract(tiny, LAYERS, pictures, replace(session, cache=session.cache / "fresh"))
    for a, b in zip(found.vectors, fresh.vectors, strict=True):
        assert np.array_equal(a, b)


def test_another_decoder_invalidates(
    tiny: VisionModel, pictures: list[Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(tiny, LAYERS, pictures, session)
    monkeypatch.setattr(extraction, "pillow_version", "0.0")
    assert extract(tiny, LAYERS, pictures, session).computed == 40


def test_killed_between_batches_loses_at_most_one(
    tiny: VisionModel, pictures: list[Path], session: Session, tmp_path: Path
) -> None:
    whole = extract(tiny, LAYERS, pictures, session)
    cache = tmp_path / "other"
    torch.save(tiny.network, tmp_path / "network.pt")
    script = f"""
import os, torch
from pathlib import Path
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.session import Session
from deepscope.features import extract, store
network = torch.load({str(tmp_path / "network.pt")!r}, weights_only=False)
model = VisionModel("tiny", network, Preprocessing(resize=20, crop=16), tuple("abcde"))
add, calls = store.Store.add, []
def killing(self, keys, vectors):
    calls.append(1)
    if len(calls) == 5:  # the second batch's second layer
        os.kill(os.getpid(), 9)
    add(self, keys, vectors)
store.Store.add = killing
extract(model, {LAYERS!r}, {[str(p) for p in pictures]!r}, Session.open(device="cpu", cache=Path({str(cache)!r})))
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    segment = next(cache.glob("features/*/*.rows"))
    with segment.open("ab") as torn:
        torn.write(b"half a record")
    again = extract(tiny, LAYERS, pictures, replace(session, cache=cache))
    assert again.computed == 40 - passes.BATCH
    for a, b in zip(whole.vectors, again.vectors, strict=True):
        assert np.array_equal(a, b)


def test_features_do_not_depend_on_company(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    together = extract(tiny, LAYERS, pictures, session)
    for part in (pictures[7:8], pictures[30:20:-1]):
        alone = extract(tiny, LAYERS, part, replace(session, cache=session.cache / f"{len(part)}"))
        rows = [pictures.index(path) for path in part]
        for a, b in zip(together.vectors, alone.vectors, strict=True):
            assert np.array_equal(a[rows], b)


def test_bad_images_are_skipped_and_listed(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    pictures[0].write_bytes(b"no image")
    pictures[33].unlink()
    for _ in range(2):  # found in the cache the second time
        found = extract(tiny, LAYERS, pictures, session)
        assert [s.path for s in found.skipped] == [str(pictures[0]), str(pictures[33])]
        assert "no such file" in found.skipped[1].reason
        assert found.rows.tolist() == [n for n in range(40) if n not in (0, 33)]
        assert all(len(vectors) == 38 for vectors in found.vectors)


def test_all_bad_is_one_line(tiny: VisionModel, tmp_path: Path, session: Session) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(DeepscopeError, match=r"no image could be read.*bad\.jpg"):
        extract(tiny, LAYERS, [tmp_path / "bad.jpg"], session)


def test_one_pass_that_stops_after_the_last_layer(
    tiny: VisionModel, pictures: list[Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: dict[str, int] = {}

    class Counted(nn.Module):
        def __init__(self, name: str, inner: nn.Module) -> None:
            super().__init__()
            self.name, self.inner = name, inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            runs[self.name] = runs.get(self.name, 0) + 1
            return self.inner(x)

    assert isinstance(tiny.network, nn.Sequential)
    network = nn.Sequential(*(Counted(str(n), module) for n, module in enumerate(tiny.network)))
    monkeypatch.setattr(passes, "accelerated", lambda backbone, pixels, bfloat16: backbone)
    alone = replace(session, engine="torch")
    extract(replace(tiny, network=network), LAYERS, pictures[: passes.BATCH], alone)
    assert runs == dict.fromkeys("012345", 1)


def test_views_are_averaged(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    both = extract(tiny, LAYERS, pictures, session, views=[View(), View(mirrored=True)])
    plain = extract(tiny, LAYERS, pictures, session)
    mirrored = extract(tiny, LAYERS, pictures, session, views=[View(mirrored=True)])
    assert (both.computed, plain.computed, mirrored.computed) == (80, 0, 0)
    for mean, a, b in zip(both.vectors, plain.vectors, mirrored.vectors, strict=True):
        assert np.allclose(mean, (a + b) / 2, atol=1e-6)


def test_each_file_is_opened_once_and_decoded_only_where_a_feature_is_missing(
    tiny: VisionModel, pictures: list[Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    decoded: list[object] = []
    open_, decode = os.open, Preprocessing.levels

    def counting(path: object, *arguments: Any, **named: Any) -> int:
        opened.extend([str(path)] if str(path).endswith(".png") else [])
        return open_(path, *arguments, **named)  # type: ignore[call-overload]

    def decoding(self: Preprocessing, source: Any) -> torch.Tensor:
        decoded.append(source)
        return decode(self, source)

    monkeypatch.setattr(os, "open", counting)
    monkeypatch.setattr(Preprocessing, "levels", decoding)
    both = [View(), View(mirrored=True)]
    first = extract(tiny, LAYERS, [*pictures, pictures[0]], session, views=both)
    assert sorted(opened) == sorted(map(str, [*pictures, pictures[0]]))
    assert (len(decoded), first.computed) == (40, 80)  # both views of the same pixels; a copy is decoded once
    opened.clear()
    decoded.clear()
    Image.new("RGB", (24, 30), "red").save(pictures[3])
    again = extract(tiny, LAYERS, pictures, session, views=both)
    assert (len(opened), len(decoded), again.computed) == (40, 1, 2)
    opened.clear()
    known = extract(tiny, LAYERS, pictures, session, views=both, digests=again.digests)
    assert (opened, known.computed) == ([], 0)
    assert all(np.array_equal(a, b) for a, b in zip(known.vectors, again.vectors, strict=True))


def test_pixels_beside_files_are_no_levels(tiny: VisionModel, pictures: list[Path], session: Session) -> None:
    alone = extract(tiny, LAYERS, pictures[:2], replace(session, cache=session.cache / "other"))
    mixed = extract(tiny, LAYERS, [pictures[0], tiny.preprocessing(pictures[1])], session)
    assert all(np.array_equal(a, b) for a, b in zip(mixed.vectors, alone.vectors, strict=True))


def test_pixels_are_taken_as_they_are(tiny: VisionModel, session: Session) -> None:
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tall = torch.rand(3, 12, 20, generator=torch.Generator().manual_seed(1))
    found = extract(tiny, LAYERS[:1], [*pixels, tall], session)
    with torch.no_grad():
        wanted = [tiny.activations(part, ["2"])["2"].mean((2, 3)) for part in (pixels, tall[None])]
    assert np.allclose(found.vectors[0], torch.cat(wanted).numpy(), atol=1e-5)
    assert extract(tiny, LAYERS[:1], [tall, *pixels], session).computed == 0
    assert (
        extract(tiny, LAYERS[:1], [tall.reshape(3, 20, 12)], session).computed == 1
    )  # the same bytes in another shape


def test_folding_keeps_the_features_and_the_model(tiny: VisionModel, pictures: list[Path]) -> None:
    pixels = tiny.read(pictures[:4])
    backbone = Backbone(tiny.network, tiny.preprocessing.mean, tiny.preprocessing.std, LAYERS).eval()
    before = {key: value.clone() for key, value in tiny.network.state_dict().items()}
    quick = accelerated(backbone, pixels, bfloat16=False)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    with torch.no_grad():
        for wanted, found in zip(backbone(pixels), quick(pixels), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in tiny.network.state_dict().items())


def test_folding_leaves_a_convolution_that_is_asked_for(tiny: VisionModel, pictures: list[Path]) -> None:
    pixels = tiny.read(pictures[:4])
    backbone = Backbone(tiny.network, tiny.preprocessing.mean, tiny.preprocessing.std, [("0", "mean"), ("5", "mean")])
    quick = accelerated(backbone.eval(), pixels, bfloat16=False)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in quick.modules()) == 1
    with torch.no_grad():
        torch.testing.assert_close(quick(pixels)[0], backbone(pixels)[0], rtol=1e-4, atol=1e-5)


def test_memory_is_flat(tiny: VisionModel, session: Session) -> None:
    """Ten times the images need no ten times the memory; arrays are made as they are read."""
    rng = np.random.default_rng(0)

    def peak(count: int, cache: Path) -> int:
        pictures = [rng.integers(0, 255, (24, 24, 3), dtype=np.uint8) for _ in range(count)]
        tracemalloc.start()
        extract(tiny, [("5", "mean")], pictures, replace(session, cache=cache))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(64, session.cache / "warm")
    small, large = peak(64, session.cache / "small"), peak(640, session.cache / "large")
    assert large - small < (640 - 64) * 24 * 24 * 3 / 2  # half of what holding the decoded pixels would take


def test_torchrun_gives_what_one_process_gives(
    tiny: VisionModel, pictures: list[Path], session: Session, tmp_path: Path
) -> None:
    pictures[5].write_bytes(b"no image")
    torch.save(tiny.network, tmp_path / "network.pt")
    script = tmp_path / "shard.py"
    script.write_text(f"""
import os, sys, numpy as np, torch
from pathlib import Path
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.session import Session
from deepscope.features import extract
network = torch.load({str(tmp_path / "network.pt")!r}, weights_only=False)
model = VisionModel("tiny", network, Preprocessing(resize=20, crop=16), tuple("abcde"))
session = Session.open(device="cpu", cache=Path({str(tmp_path / "sharded")!r}), quiet=True)
found = extract(model, {LAYERS!r}, {[str(p) for p in pictures]!r}, session)
np.savez({str(tmp_path)!r} + "/rank" + os.environ["RANK"], *found.vectors, skipped=[s.path for s in found.skipped])
torch.distributed.destroy_process_group()
""")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(run, check=False, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    alone = extract(tiny, LAYERS, pictures, session)
    for rank in range(2):
        with np.load(tmp_path / f"rank{rank}.npz") as found:
            assert found["skipped"].tolist() == [str(pictures[5])]
            for number, vectors in enumerate(alone.vectors):
                assert np.array_equal(found[f"arr_{number}"], vectors)
    assert len(list((tmp_path / "sharded").glob("features/*/*.rows"))) == 2 * len(LAYERS)
    assert extract(tiny, LAYERS, pictures, replace(session, cache=tmp_path / "sharded")).computed == 0


@pytest.mark.real
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_real_features_do_not_depend_on_company(home: Path, session: Session, precision: str) -> None:
    session = replace(session, home=home, precision=precision)
    paths = images.find([home / "data" / "15scene" / "test" / "bedroom"]).paths[:6]
    model = load_model("squeezenet1_0", session)
    layers: list[tuple[str, Pooling]] = [("features", "mean")]
    together = extract(model, layers, paths, session)
    backwards = extract(model, layers, paths[:2:-1], replace(session, cache=session.cache / "backwards"))
    assert np.array_equal(together.vectors[0][:2:-1], backwards.vectors[0])


def test_layers_inside_a_folded_norm_keep_their_names(session: Session) -> None:
    """timm's batch norms hold their activation: folding must leave both to be asked for."""
    model = load_model("efficientnet_lite0", session)
    backbone = extraction.backbone_of(model, [("bn1", "mean"), ("blocks.1.0.bn1.act", "mean"), ("bn2.drop", "mean")])
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = backbone(pixels), accelerated(backbone, pixels, bfloat16=False)(pixels)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(wanted, found, strict=True))


@pytest.mark.real
def test_bfloat16_costs_no_accuracy(home: Path, session: Session) -> None:
    """The same classifier on features of half the precision: 0.2 points at most. Small pictures, to take seconds."""
    data = load_dataset("15scene", replace(session, home=home), ClassFolders)
    assert data.test is not None
    rows = [np.flatnonzero(data.test.labels == label)[:70] for label in range(len(data.classes))]
    test = np.concatenate(rows)
    train = np.concatenate([np.flatnonzero(data.train.labels == label)[:30] for label in range(len(data.classes))])
    classifier = ImageClassifier("efficientnet_lite0", size=112, session=session)
    classifier.fit([data.train.paths[row] for row in train], data.train.labels[train])
    accuracies = []
    for precision in ("float32", "bfloat16"):
        classifier.session = replace(session, precision=precision)
        accuracies.append(classifier.score([data.test.paths[row] for row in test], data.test.labels[test]))
    assert accuracies[0] > 0.8
    assert abs(accuracies[1] - accuracies[0]) <= 0.002
