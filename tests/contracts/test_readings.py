"""One image, one reading: every path that feeds a model sees the same pixels, to the last bit."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import Tensor

import deepscope
from deepscope import images
from deepscope.attacks.subjects import read_subjects
from deepscope.classification import classify
from deepscope.features import extract
from deepscope.inputs import read_photos
from deepscope.models import VisionModel
from deepscope.session import Session
from image_files import encoded, photograph
from networks import tiny_model

KINDS = ("jpeg", "png", "turned", "cmyk")


@dataclass
class Watched:
    """A model that remembers what it was shown, and the folder of images that it is shown."""

    model: VisionModel
    seen: list[Tensor]
    folder: Path
    session: Session


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    model, seen = tiny_model(size=64), []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().float().cpu()))
    noise = np.random.default_rng(0).normal(0, 40, (1000, 1400, 3))
    noisy = Image.fromarray((photograph(1000, 1400)[:1000, :1400].astype(float) + noise).clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "jpeg.jpg").write_bytes(encoded(noisy, "JPEG", quality=90))
    (folder / "png.png").write_bytes(encoded(noisy, "PNG"))
    (folder / "turned.jpg").write_bytes(encoded(noisy, "JPEG", quality=90, exif=exif))
    (folder / "cmyk.jpg").write_bytes(encoded(noisy.convert("CMYK"), "JPEG", quality=90))
    return Watched(model, seen, folder, Session(quiet=True, cache=tmp_path / "cache", device=torch.device("cpu")))


def expected(watched: Watched, path: Path) -> Tensor:
    """(1, 3, H, W) what the network should see: Pillow alone, decoded as the preprocessing documents it."""
    preprocessing = watched.model.preprocessing
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image.draft(None, (2 * 64, 2 * 64))
        turned = path.stem == "turned"
        image = image.convert("RGB")
    image = image.transpose(Image.Transpose.ROTATE_270) if turned else image
    short, long = sorted(image.size)
    size = (64, int(64 * long / short)) if image.width <= image.height else (int(64 * long / short), 64)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((image.width - 64) / 2), round((image.height - 64) / 2)
    pixels = torch.from_numpy(np.array(image.crop((left, top, left + 64, top + 64)))).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return ((pixels - mean) / std)[None]


def by_predict(w: Watched, path: Path) -> None:
    classify(w.model, [path], session=w.session)


def by_bytes(w: Watched, path: Path) -> None:
    classify(w.model, [path.read_bytes()], session=w.session)


def by_read(w: Watched, path: Path) -> None:
    w.model(w.model.read([path]))


def by_preprocessing(w: Watched, path: Path) -> None:
    w.model(w.model.preprocessing(path)[None])


def by_activations(w: Watched, path: Path) -> None:
    w.model.activations(w.model.read([str(path)]), ["0"])


def by_explain(w: Watched, path: Path) -> None:
    read_photos(w.model, [path], w.session, batch_size=4)


def by_attack(w: Watched, path: Path) -> None:
    read_subjects(w.model, [path], w.session, batch_size=4)


def by_stream(w: Watched, path: Path) -> None:
    (batch,) = images.stream([path], w.model.preprocessing, batch_size=1)
    w.model(batch.pixels)


PATHS: tuple[Callable[[Watched, Path], None], ...] = (
    by_predict,
    by_bytes,
    by_read,
    by_preprocessing,
    by_activations,
    by_explain,
    by_attack,
    by_stream,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", PATHS, ids=[path.__name__ for path in PATHS])
def test_every_path_to_a_model_shows_it_the_same_pixels(
    path: Callable[[Watched, Path], None], kind: str, watched: Watched
) -> None:
    file = next(file for file in watched.folder.iterdir() if file.stem == kind)
    path(watched, file)
    assert watched.seen
    wanted = expected(watched, file)
    for seen in watched.seen:
        assert torch.equal(seen, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_transfer_are_those_of_the_model(kind: str, watched: Watched) -> None:
    """They are kept on disk, so that the pixels are seen by what comes of them."""
    file = next(file for file in watched.folder.iterdir() if file.stem == kind)
    found = extract(watched.model, [("5", "mean")], [file], watched.session).vectors[0][0]
    first = watched.seen[0][:1]
    assert torch.allclose(first, expected(watched, file), atol=1e-6)
    wanted = watched.model.activations(watched.model.read([file]), ["5"])["5"].flatten().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_only_the_preprocessing_reads_images_for_models() -> None:
    """Nobody else passes a decoded image, or another reader, to a model's preprocessing or to `stream`."""
    root = Path(deepscope.__file__).parent
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                arguments = " ".join(ast.unparse(argument) for argument in node.args)
                if called.endswith("preprocessing"):
                    assert "decode(" not in arguments, f"{file}:{node.lineno} decodes for a model: give it the source"
                if called.endswith("images.stream"):
                    assert not any(word.arg == "at_least" for word in node.keywords), f"{file}:{node.lineno}"


def test_a_decoded_image_is_read_at_its_own_size(watched: Watched) -> None:
    """PIL images and arrays have lost the JPEG they came from: no scaled decoding."""
    image = Image.open(watched.folder / "png.png")
    wanted = watched.model.preprocessing(watched.folder / "png.png")
    assert torch.equal(watched.model.preprocessing(image), wanted)
    assert torch.equal(watched.model.preprocessing(np.asarray(image)), wanted)


def test_a_model_keeps_the_first_pixels_for_a_figure(watched: Watched) -> None:
    files = sorted(watched.folder.iterdir())
    kept = classify(watched.model, files, session=replace(watched.session), batch_size=3, keep=4).pixels
    assert len(kept) == 4
    for pixels, file in zip(kept, files, strict=True):
        assert torch.equal(pixels, watched.model.preprocessing(file))
    assert len(classify(watched.model, files, session=watched.session, batch_size=1, keep=2).pixels) == 2
    assert classify(watched.model, files, session=watched.session, keep=0).pixels == ()
