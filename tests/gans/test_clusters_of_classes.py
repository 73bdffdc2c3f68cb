"""Classes that are divided into clusters: found within each, drawn by their frequency, and requested by class alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from deepscope.errors import DeepscopeError, FileError
from deepscope.gans import (
    GAN,
    Architecture,
    Generator,
    Recipe,
    class_grid,
    clusters,
    evaluate_gan,
    interpolate,
    latent_directions,
    load,
    sample,
    save,
    train_gan,
)
from deepscope.gans.clusters import clusters_of_classes
from deepscope.gans.pictures import Labelled, Pictures
from deepscope.gans.quality import draw
from deepscope.gans.sampling import conditions, generate
from deepscope.session import Session

SHARES = (0.4, 0.1, 0.0, 0.15, 0.05, 0.3)
"""Of three clusters of class a, then of three of class b."""


def bars(count: int, *, seed: int = 0) -> Labelled:
    """Class 0 are upright and level bars, class 1 the two diagonals, by turns; each a little elsewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16].astype(float) - 7.5
    made = []
    for number in range(count):
        angle = (0, 90, 45, 135)[number % 4] + rng.uniform(-6, 6)
        distance = np.cos(np.deg2rad(angle)) * x + np.sin(np.deg2rad(angle)) * y + rng.uniform(-1, 1)
        made.append(np.clip(255 * (2.5 - np.abs(distance)), 0, 255))
    images = torch.from_numpy(np.stack(made)[:, None].astype(np.uint8))
    return Labelled(images, torch.arange(count) % 4 // 2)


def planted() -> GAN:
    """Two classes of three clusters, each of which looks like no other one."""
    architecture = Architecture(side=16, latent=4, width=2, clusters=3)
    torch.manual_seed(0)
    generator = Generator(architecture, 1, 6).eval()
    with torch.no_grad():
        generator.start.weight[:, 4:].mul_(100)
    return GAN(generator, architecture, channels=1, classes=("a", "b"), data="planted", shares=SHARES)


def clusters_shown(gan: GAN, z: Tensor, images: Tensor) -> Tensor:
    """(N,) which of the six conditions gives each image from its z."""
    every = torch.stack([generate(gan.generator, z, torch.full((len(z),), one)) for one in range(6)], 1)
    differences = (
        (every.int() - images[:, None].int()).abs().flatten(2).amax(2)
    )  # a pass of other rows rounds otherwise
    assert (differences.sort(1).values[:, 1] > 1).all() and (differences.amin(1) <= 1).all()
    return differences.argmin(1)


def test_each_class_is_divided_by_itself(tmp_path: Path) -> None:
    data = bars(200)
    found = clusters_of_classes(data, ("bars", "diagonals"), 2, Session(cache=tmp_path, quiet=True))
    kinds = torch.arange(200) % 4
    assert torch.equal(found // 2, data.labels)
    assert {len(found[kinds == kind].unique()) for kind in range(4)} == {1}, "what looks alike is one cluster"
    assert len(found.unique()) == 4
    of_first = clusters(data.images[data.labels == 0], 2, Session(cache=tmp_path / "other", quiet=True))
    assert torch.equal(found[data.labels == 0], of_first), "no image of another class has a say"


def test_a_class_of_too_few_images_is_named() -> None:
    whole = bars(84)
    few = whole.at(torch.cat([torch.nonzero(whole.labels == 0)[:, 0], torch.nonzero(whole.labels == 1)[:19, 0]]))
    with pytest.raises(DeepscopeError, match=r"^clusters needs at least 20 .* and diagonals has 19"):
        clusters_of_classes(few, ("bars", "diagonals"), 2, Session(quiet=True))
    with pytest.raises(DeepscopeError, match=r"^clusters must be from 2 .* and bars has 42"):
        clusters_of_classes(whole, ("bars", "diagonals"), 5, Session(quiet=True))
    with pytest.raises(DeepscopeError, match="clusters needs at least 20 training images, and there are 19"):
        clusters(whole.images[:19], 2, Session(quiet=True))


def test_clusters_of_a_class_are_drawn_as_often_as_their_shares() -> None:
    labels = torch.arange(40_000) % 2
    found = conditions(labels, 2, SHARES, torch.Generator().manual_seed(0))
    assert torch.equal(found // 3, labels)
    often = found.bincount(minlength=6) / 20_000
    np.testing.assert_allclose(often, [0.8, 0.2, 0, 0.3, 0.1, 0.6], atol=0.015)
    assert torch.equal(found, conditions(labels, 2, SHARES, torch.Generator().manual_seed(0)))
    for shares in ((), (0.5, 0.5)):  # no clusters, or clusters in the place of classes
        assert conditions(labels, 2, shares) is labels


def test_what_is_requested_is_a_class() -> None:
    gan = planted()
    found = sample(gan, 300, label="b")
    assert found.labels.tolist() == [1] * 300 and found.columns()["class"] == ["b"] * 300
    z = torch.randn(300, 4, generator=Session().rng("sample"))
    often = clusters_shown(gan, z, found.images).bincount(minlength=6) / 300
    np.testing.assert_allclose(often, [0, 0, 0, 0.3, 0.1, 0.6], atol=0.08)
    assert sample(gan, 6).labels.tolist() == [0, 1] * 3, "classes by turns"
    assert class_grid(gan, columns=3).images.shape[:2] == (2, 3)
    with pytest.raises(DeepscopeError, match="no class is named"):
        sample(gan, label="cluster-0")


def test_a_path_stays_in_one_cluster() -> None:
    gan = planted()
    found = interpolate(gan, label="a", ways=12, steps=4)
    shown = clusters_shown(gan, found.z.flatten(0, 1), found.images.flatten(0, 1)).unflatten(0, (12, 4))
    assert (shown == shown[:, :1]).all() and set(shown.unique().tolist()) == {0, 1}
    moved = latent_directions(gan, label="a", count=1, samples=12, steps=3)
    z = moved.z[:, None] + moved.offsets[None, :, None] * moved.vectors[0]
    shown = clusters_shown(gan, z.flatten(0, 1), moved.images[0].flatten(0, 1)).unflatten(0, (12, 3))
    assert (shown == shown[:, :1]).all() and set(shown.unique().tolist()) == {0, 1}


def test_samples_are_measured_by_class() -> None:
    gan, data = planted(), bars(200)
    pictures = Pictures("planted", ("a", "b"), data.at(torch.arange(200) % 4 != 3), data)  # a twice as often as b
    found = draw(gan, pictures, 3000, Session(quiet=True))
    assert float((found.labels == 0).float().mean()) == pytest.approx(2 / 3, abs=0.03)


def test_training_saving_and_opening(tmp_path: Path) -> None:
    pictures = Pictures("bars", ("bars", "diagonals"), bars(120), bars(40, seed=1))
    small = Architecture(side=16, latent=4, width=2, clusters=2, label_in_discriminator="projected")
    recipe = Recipe(epochs=1, batch_size=20)
    session = Session(cache=tmp_path / "cache", quiet=True)
    trained = train_gan(pictures, architecture=small, recipe=recipe, conditional=True, folder=tmp_path, session=session)
    with pytest.raises(DeepscopeError, match=r"another training \(classes 4, now 2\)"):
        train_gan(pictures, architecture=small, recipe=recipe, folder=tmp_path, session=session)
    others = replace(pictures, train=bars(120, seed=2))
    with pytest.raises(DeepscopeError, match=r"another training \(sha256 of the images"):
        train_gan(others, architecture=small, recipe=recipe, conditional=True, folder=tmp_path, session=session)
    gan = load(tmp_path)
    assert gan.classes == ("bars", "diagonals") and gan.labelled and gan.generator.classes == 4
    assert gan.shares == pytest.approx((0.25,) * 4)
    assert trained.sheets.shape[2] == 2 * 16, "a column for each class"
    assert torch.equal(sample(gan, 7).images, sample(trained.gan, 7).images)
    measured = evaluate_gan(gan, pictures, samples=20, score_epochs=1, session=session).metrics
    assert "classification-accuracy-score" in measured


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.0, 0.0, 0.0, 0.0), (0.25,) * 4, (-1.0,) * 6, (float("inf"),) * 6])
def test_damaged_shares_are_refused(tmp_path: Path, shares: tuple[float, ...]) -> None:
    save(tmp_path, planted())
    assert load(tmp_path).shares == SHARES
    about = json.loads((tmp_path / "generator.json").read_text())
    (tmp_path / "generator.json").write_text(json.dumps({**about, "shares": shares}))
    with pytest.raises(FileError):
        load(tmp_path)


def test_generators_without_divided_classes_open_as_before(tmp_path: Path) -> None:
    """A generator of clusters alone, and one of an older version, whose description says nothing of shares."""
    architecture = Architecture(side=16, latent=4, width=2, clusters=2)
    names = ("cluster-0", "cluster-1")
    alone = GAN(Generator(architecture, 1, 2), architecture, 1, names, "planted", shares=(0.7, 0.3))
    save(tmp_path, alone)
    assert load(tmp_path).shares == (0.7, 0.3) and not load(tmp_path).labelled
    assert set(sample(load(tmp_path), 9, label="cluster-1").labels.tolist()) == {1}
    about = json.loads((tmp_path / "generator.json").read_text())
    del about["shares"], about["architecture"]["clusters"]
    (tmp_path / "generator.json").write_text(json.dumps({**about, "classes": ["a", "b"]}))
    assert load(tmp_path).labelled and sample(load(tmp_path), 2).labels.tolist() == [0, 1]
