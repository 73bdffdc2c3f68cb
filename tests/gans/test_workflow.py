"""GANs from Python: data in every form, and generators as objects or folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.errors import DataError, FileError, SettingError, UnsupportedError
from deepscope.gans import (
    GAN,
    Architecture,
    Recipe,
    TrainedGAN,
    class_grid,
    evaluate_gan,
    interpolate,
    load_pictures,
    sample,
    save,
    train_evaluator,
    train_gan,
)
from deepscope.gans.pictures import read_all
from deepscope.render import Presented
from deepscope.session import Session
from image_files import photograph

NETWORKS, RECIPE = Architecture(side=16, latent=4, width=2), Recipe(epochs=1, batch_size=8)
SESSION = Session(quiet=True, home=Path("/nowhere"))
CLASSES = ("green", "red")


def painted(name: str, row: int) -> Image.Image:
    """A picture that is no square, mostly of one colour."""
    pixels = np.random.default_rng(row).integers(0, 60, (20, 24, 3), dtype=np.uint8)
    pixels[..., 1 - CLASSES.index(name)] += 150
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for name in CLASSES:
        (root / name).mkdir()
        for row in range(12):
            painted(name, row).save(root / name / f"{row:02}.png")
    return root


@pytest.fixture(scope="module")
def trained(folder: Path) -> TrainedGAN:
    return train_gan(folder, architecture=NETWORKS, recipe=RECIPE, conditional=True, session=SESSION)


def in_memory(form: str) -> list[Any]:
    """The pictures of the folder as (image, label) pairs, in its order."""
    pairs = [(painted(name, row), name) for name in CLASSES for row in range(12)]
    if form == "arrays":
        return [(np.asarray(image), name) for image, name in pairs]
    if form == "tensors":
        return [(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1), name) for image, name in pairs]
    if form == "numbers":
        return [(image, CLASSES.index(name)) for image, name in pairs]
    return pairs


@pytest.mark.parametrize("form", ["pil", "arrays", "tensors", "numbers"])
def test_every_form_of_the_data_trains_the_same_generator(trained: TrainedGAN, form: str) -> None:
    data = in_memory(form)
    found = train_gan(data, architecture=NETWORKS, recipe=RECIPE, conditional=True, session=SESSION)
    assert found.gan.classes == (("0", "1") if form == "numbers" else CLASSES)
    assert found.images == trained.images
    assert found.history.rows == trained.history.rows
    for key, value in trained.gan.generator.state_dict().items():
        assert torch.equal(found.gan.generator.state_dict()[key], value)


def test_images_without_labels_have_no_classes(folder: Path) -> None:
    alone = [image for image, name in in_memory("pil") if name == "green"]
    found = load_pictures(alone, 16, SESSION)
    below = load_pictures(str(folder / "green"), 16, SESSION)
    assert found.classes == below.classes == ()
    assert torch.equal(found.train.images, below.train.images) and torch.equal(found.test.images, below.test.images)
    with pytest.raises(DataError, match="no classes"):
        train_gan(alone, architecture=NETWORKS, recipe=RECIPE, conditional=True, session=SESSION)
    with pytest.raises(DataError, match="at least 2"):
        load_pictures(alone[:1], 16, SESSION)


def test_scaled_decoding_is_for_files_alone(tmp_path: Path) -> None:
    """A decoded image has lost the JPEG that it came from; a file's bytes have not."""
    image = Image.fromarray(photograph(300, 400))
    for row in range(4):
        image.rotate(row).save(tmp_path / f"{row}.jpg", quality=90)
    files = sorted(tmp_path.glob("*.jpg"))
    wanted = load_pictures(files, 16, SESSION)
    found = load_pictures([path.read_bytes() for path in files], 16, SESSION)
    assert torch.equal(found.train.images, wanted.train.images)


def test_a_generator_is_an_object_or_a_folder(trained: TrainedGAN, tmp_path: Path) -> None:
    save(tmp_path, trained.gan)
    for made in (
        lambda gan: sample(gan, 4, session=SESSION).images,
        lambda gan: interpolate(gan, ways=1, steps=3, session=SESSION).images,
        lambda gan: class_grid(gan, columns=2, session=SESSION).images,
    ):
        assert torch.equal(made(trained.gan), made(str(tmp_path)))
    assert sample(tmp_path, 1).gan.name == str(tmp_path)
    first, same, other = (sample(trained.gan, 4, seed=seed).images for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    reds = sample(trained.gan, 3, label="red", session=SESSION)
    assert reds.labels.tolist() == [1, 1, 1]
    assert set(sample(trained.gan, 4, session=SESSION).to_pandas()["class"]) == set(CLASSES)


def test_labels_that_are_written_alike_are_refused() -> None:
    image = painted("red", 0)
    with pytest.raises(DataError, match="two labels are written alike"):
        load_pictures([(image, 1), (image, 1), (image, "1"), (image, "1")], 16, SESSION)


@pytest.mark.parametrize("form", ["folder", "pairs"])
def test_any_part_of_the_held_out_images_has_all_classes(tmp_path: Path, form: str) -> None:
    pairs = [
        (Image.new("L", (16, 16), 60 * shade + row), name) for shade, name in enumerate("abcd") for row in range(50)
    ]
    for row, (image, name) in enumerate(pairs):
        (tmp_path / name).mkdir(exist_ok=True)
        image.save(tmp_path / name / f"{row:03}.png")
    test = load_pictures(str(tmp_path) if form == "folder" else pairs, 16, SESSION).test
    assert len(test) == 20 and set(test.labels[:10].tolist()) == {0, 1, 2, 3}
    assert torch.equal(test.images[:, 0, 0, 0] // 60, test.labels), "labels stay with their images"
    made = read_all(tmp_path, 16)
    assert len(made) == 200 and len((made[:20, 0, 0, 0] // 60).unique()) == 4


def test_a_generator_is_measured_against_data_in_memory(trained: TrainedGAN, folder: Path) -> None:
    cheap = {"samples": 12, "score_epochs": 0, "session": SESSION}
    evaluator = train_evaluator(folder, side=28, epochs=1, session=SESSION).evaluator
    found, again = (
        evaluate_gan(trained.gan, load_pictures(data, 16, SESSION, hold_out=8), evaluator=evaluator, **cheap)
        for data in (in_memory("pil"), folder)
    )
    assert found.metrics == again.metrics
    assert {"judge-fid", "modes", "fidelity", "memorised"} <= found.metrics.keys()
    assert found.of_real_images("judge-fid") == found.metrics["judge-fid-floor"]
    assert found.samples.shape == found.nearest.shape == (8, 3, 16, 16)
    with pytest.raises(DataError, match="not like what the generator makes"):
        evaluate_gan(trained.gan, in_memory("numbers"), evaluator=None, **cheap)


RESULTS: list[tuple[Callable[[TrainedGAN, Path], Presented], list[str], int]] = [
    (lambda trained, _: sample(trained.gan, 4, session=SESSION), ["image", "class"], 4),
    (
        lambda trained, _: interpolate(trained.gan, ways=2, steps=3, session=SESSION),
        ["path", "step", "difference"],
        6,
    ),
    (lambda trained, _: class_grid(trained.gan, columns=3, session=SESSION), ["class", "z"], 6),
    (
        lambda _, folder: train_evaluator(folder, side=28, epochs=1, session=SESSION),
        ["network", "accuracy", "low", "high"],
        2,
    ),
]


@pytest.mark.parametrize(("make", "columns", "rows"), RESULTS, ids=["sample", "interpolate", "grid", "evaluator"])
def test_results_are_tables_folders_and_pages(
    make: Callable[[TrainedGAN, Path], Presented],
    columns: list[str],
    rows: int,
    trained: TrainedGAN,
    folder: Path,
    tmp_path: Path,
) -> None:
    found = make(trained, folder)
    table = found.to_pandas()
    assert list(table.columns) == columns
    assert len(table) == rows
    assert (found.save(tmp_path / "out") / "result.json").is_file()
    assert found.result().title in found._repr_html_()


def test_a_training_is_a_table_a_folder_and_a_page(trained: TrainedGAN, tmp_path: Path) -> None:
    table = trained.to_pandas()
    assert len(table) == len(trained.history.rows)
    assert {"step", "loss/generator", "diversity"} <= set(table.columns)
    assert trained.sheets.shape == (1, 8 * 16, 2 * 16, 3), "the last one, where no folder keeps them"
    assert (trained.save(tmp_path / "out") / "result.json").is_file()
    assert "Conditional DCGAN" in trained._repr_html_()
    kept = train_gan(
        in_memory("pil"), architecture=NETWORKS, recipe=Recipe(epochs=2, batch_size=8), folder=tmp_path, session=SESSION
    )
    assert len(kept.sheets) == len(kept.sheet_steps) == 2
    assert kept.gan.classes == ()


REFUSED: list[tuple[Callable[[GAN], object], str]] = [
    (lambda gan: sample(gan, 0), "count"),
    (lambda gan: sample(gan, truncation=0), "truncation"),
    (lambda gan: interpolate(gan, ways=0), "ways"),
    (lambda gan: interpolate(gan, steps=1), "steps"),
    (lambda gan: class_grid(gan, columns=0), "columns"),
    (lambda gan: evaluate_gan(gan, samples=9), "samples"),
    (lambda gan: evaluate_gan(gan, score_epochs=-1), "score_epochs"),
    (lambda _: train_evaluator("mnist-extract", epochs=0), "epochs"),
    (lambda _: train_evaluator("mnist-extract", side=16), "side"),
    (lambda _: train_gan("mnist-extract", architecture=Architecture(side=20)), "side"),
    (lambda _: train_gan("mnist-extract", recipe=Recipe(rate=0)), "rate"),
    (lambda _: load_pictures("mnist-extract", 32, SESSION, stack=1), "stack"),
    (lambda _: load_pictures("mnist-extract", 32, SESSION, hold_out=1), "hold_out"),
]


@pytest.mark.parametrize(("call", "setting"), REFUSED, ids=[setting for _, setting in REFUSED])
def test_errors_name_the_setting(call: Callable[[GAN], object], setting: str, trained: TrainedGAN) -> None:
    with pytest.raises(SettingError) as caught:
        call(trained.gan)
    assert caught.value.setting == setting


def test_errors_of_files_and_of_generators_without_classes(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="holds no saved generator") as caught:
        sample(tmp_path)
    assert caught.value.path == tmp_path / "generator.json"
    plain = train_gan(in_memory("pil"), architecture=NETWORKS, recipe=RECIPE, session=SESSION).gan
    with pytest.raises(SettingError, match="trained without classes"):
        sample(plain, label="red")
    with pytest.raises(UnsupportedError, match="without classes"):
        class_grid(plain)
