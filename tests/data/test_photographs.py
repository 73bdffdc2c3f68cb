from __future__ import annotations

from pathlib import Path

import pytest

from deepscope import images
from deepscope.data import Photographs, load_dataset, truth
from deepscope.session import Session


@pytest.mark.parametrize(
    ("path", "text", "wnid"),
    [
        ("n01440764_tench.JPEG", "tench", "n01440764"),
        ("photos/n01629819_European_fire_salamander.JPEG", "European fire salamander", "n01629819"),
        ("n01440764/any.jpg", "n01440764", "n01440764"),
        ("n01440764_tench/any.jpg", "tench", "n01440764"),
    ],
)
def test_names_tell_the_truth(path: str, text: str, wnid: str) -> None:
    known = truth(Path(path))
    assert known is not None
    assert (known.text, known.wnids) == (text, (wnid,))


@pytest.mark.parametrize("path", ["cat.jpg", "n0144_tench.jpg", "xn01440764_tench.jpg", "chelsea.png"])
def test_other_names_tell_nothing(path: str) -> None:
    assert truth(Path(path)) is None


def test_bundled_photographs_decode_and_keep_their_truth() -> None:
    data = load_dataset("bundled-photographs", Session(home=Path("nowhere")), Photographs)
    assert len(data) == 8
    for path, known in zip(data.paths, data.truths, strict=True):
        assert min(images.decode(path).size) >= 256
        assert truth(path) == known
    assert [path.stem for path, known in zip(data.paths, data.truths, strict=True) if known] == ["chelsea", "coffee"]


@pytest.mark.real
def test_every_image_of_the_imagenet_sample_has_its_truth(home: Path) -> None:
    data = load_dataset("imagenet-sample", Session(home=home), Photographs)
    wnids = {known.wnids for known in data.truths if known}
    assert len(data) >= 100
    assert len(wnids) == len(data)
