"""Planted shortcuts are found, and properties are what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import images
from deepscope.checks.shortcuts import Shortcuts as Check
from deepscope.errors import DataError
from deepscope.models import Preprocessing, VisionModel
from deepscope.results import ImageGrid, Note
from deepscope.session import Session
from deepscope.shortcuts import error_shortcuts, label_shortcuts, measure
from deepscope.shortcuts.properties import NAMES
from planted import CLASSES, folder, photo


def column(name: str) -> int:
    return NAMES.index(name)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("patch", "repeated patch bottom right"),
        ("dark", "brightness"),
        ("compressed", "JPEG quality"),
        ("border", "border"),
    ],
)
def test_a_planted_shortcut_is_found_with_its_class(change: str, wanted: str, tmp_path: Path, session: Session) -> None:
    found = label_shortcuts(folder(tmp_path / "data", 0, change), session=session)
    place, bee = column(wanted), CLASSES.index("bee")
    assert (place, bee) in found.found
    assert np.abs(found.auroc[place] - 0.5).argmax() == bee
    if change in ("patch", "compressed", "border"):
        assert max(found.auroc[place, bee], 1 - found.auroc[place, bee]) > 0.99
    inside, outside = found.typical((place, bee))
    assert {found.paths[row].parent.name for row in inside} == {"bee"}
    assert "bee" not in {found.paths[row].parent.name for row in outside}
    result = found.result()
    (verdict,) = (block for block in result.blocks if isinstance(block, Note) and block.level == "verdict")
    assert (
        f"{wanted} " in " ".join(block.title for block in result.blocks if isinstance(block, ImageGrid)) + verdict.text
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_typical_images_are_those_whose_property_is_known(sign: int, tmp_path: Path, session: Session) -> None:
    found = label_shortcuts(folder(tmp_path / "data", 3), session=session)
    group, rows = np.arange(len(found)) % 2 == 0, np.arange(len(found))
    values = np.where(rows < 6, rows.astype(float), np.nan)
    values[[0, 3]] = np.nan
    auroc = np.full_like(found.auroc, 0.5 + 0.4 * sign)
    one = replace(found, members=group[:, None], values=values[:, None], auroc=auroc)
    assert one.typical((0, 0)) == (([4, 2], [1, 5]) if sign > 0 else ([2, 4], [5, 1]))


def test_nothing_is_found_where_nothing_was_planted(tmp_path: Path, session: Session) -> None:
    found = label_shortcuts(folder(tmp_path / "data", 3), session=session)
    assert found.found == []
    assert "None of" in next(block.text for block in found.result().blocks if isinstance(block, Note))


def test_properties_are_those_of_the_file(tmp_path: Path, session: Session) -> None:
    grey = np.full((60, 120, 3), (200, 100, 50), np.uint8)
    grey[:15] = 0
    path = tmp_path / "one.jpg"
    Image.fromarray(grey).save(path, quality=75)
    sharp = np.zeros((64, 64, 3), np.uint8)
    sharp[::2] = 255
    (values, plain) = measure([path, sharp], session).values
    said = dict(zip(NAMES, values, strict=True))
    assert said["pixels"] == 7200 and said["aspect ratio"] == 2
    assert said["bytes per pixel"] == pytest.approx(path.stat().st_size / 7200)
    assert said["JPEG quality"] == pytest.approx(75, abs=1)
    light = 0.75 * (0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert said["brightness"] == pytest.approx(light, abs=3)
    assert said["red-green cast"] == pytest.approx(75, abs=3)
    assert said["sharpness"] < dict(zip(NAMES, plain, strict=True))["sharpness"]
    assert np.isnan(plain[column("JPEG quality")])


@pytest.mark.parametrize("quality", [10, 50, 75, 90, 95])
def test_the_quality_of_a_jpeg_is_the_one_it_was_saved_with(quality: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photo(np.random.default_rng(0))).save(path, quality=quality)
    image, about = images.decode_with_encoding(path.read_bytes())
    assert about.quality == pytest.approx(quality, abs=0.5)
    assert (about.format, about.width, about.height, image.size) == ("JPEG", 96, 72, (96, 72))


def test_what_cannot_be_read_is_skipped(tmp_path: Path, session: Session) -> None:
    data = folder(tmp_path / "data", 0, each=4)
    (data / "ant" / "bad.jpg").write_bytes(b"no image")
    found = label_shortcuts(data, session=session)
    assert len(found) == 12 and len(found.skipped) == 1
    with pytest.raises(DataError, match="no image could be read"):
        measure([data / "ant" / "bad.jpg"], session)


class _Darkness(torch.nn.Module):
    """Answers the first class, but the second where an image is dark (of normalised pixels)."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        dark = (0.2 - pixels.mean((1, 2, 3))) * 50
        return torch.stack([-dark, dark, torch.full_like(dark, -100)], 1)


def test_errors_on_dark_images_are_found_by_the_check(tmp_path: Path, session: Session) -> None:
    data = folder(tmp_path / "data", 1, each=40)
    model = VisionModel("dark", _Darkness(), Preprocessing(resize=32, crop=32), CLASSES)
    result = Check(str(data), model="dark").run(replace(session, models={"dark": model}))
    verdicts = [block.text for block in result.blocks if isinstance(block, Note) and block.level == "verdict"]
    assert len(verdicts) == 2 and "brightness lower in images classified as bee" in verdicts[1]
    assert result.metrics["errors/images"] == 120 and result.metrics["errors/properties/predictive"] >= 1


def test_a_model_of_other_classes_leaves_the_labels_to_the_check(tmp_path: Path, session: Session) -> None:
    model = VisionModel("dark", _Darkness(), Preprocessing(resize=32, crop=32), ("x", "y", "z"))
    result = Check(str(folder(tmp_path / "data", 1, each=4)), model="dark").run(
        replace(session, models={"dark": model})
    )
    assert any("Errors were not looked at" in block.text for block in result.blocks if isinstance(block, Note))


def test_lengths_that_differ_are_refused(session: Session) -> None:
    with pytest.raises(DataError, match="1 images, 2 labels and 1 answers"):
        error_shortcuts([Path("a.jpg")], [0, 1], [0], CLASSES, name="data", session=session)
