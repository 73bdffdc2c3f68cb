"""Images of other channels than RGB: NumPy files, arrays and multispectral TIFF."""

from __future__ import annotations

import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

import deepscope as ds
from deepscope.errors import DataError, ModelError, UnsupportedError
from deepscope.images import Limits, UnreadableImage, read_stack

CHANNELS = 5


def levels(dtype: str = "uint16", channels: int = CHANNELS) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (24, 20, channels), dtype=dtype)


def as_npy(array: NDArray[Any], **more: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


def as_tiff(array: NDArray[Any], **more: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **more)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
def test_levels_are_divided_by_the_largest_of_their_type(dtype: str) -> None:
    array = levels("uint8" if dtype == "uint8" else "uint16").astype(dtype)
    wanted = array.astype(np.float64) / (255 if dtype == "uint8" else 65535)
    for source in (array, as_npy(array), as_npy(np.asfortranarray(array))):
        found = read_stack(source, CHANNELS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floating_point_is_taken_as_it_is(dtype: str) -> None:
    array = np.random.default_rng(0).random((8, 8, CHANNELS)).astype(dtype)
    np.testing.assert_array_equal(read_stack(as_npy(array), CHANNELS), array.astype(np.float32))
    with pytest.raises(UnreadableImage, match="scale floating point"):
        read_stack(array * 2, CHANNELS)
    array[0, 0, 0] = np.nan
    with pytest.raises(UnreadableImage, match="scale floating point"):
        read_stack(array, CHANNELS)


TIFFS: dict[str, Any] = {
    "side by side": lambda a: as_tiff(a, photometric="minisblack", planarconfig="contig"),
    "apart": lambda a: as_tiff(np.moveaxis(a, -1, 0), photometric="minisblack", planarconfig="separate"),
    "a page each": lambda a: as_tiff(np.moveaxis(a, -1, 0), photometric="minisblack"),
    "compressed": lambda a: as_tiff(a, photometric="minisblack", planarconfig="contig", compression="zlib"),
    "tiled, of the other byte order": lambda a: as_tiff(
        a, photometric="minisblack", planarconfig="contig", tile=(16, 16), byteorder=">"
    ),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_multispectral_tiff(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(TIFFS[kind](levels()))
    np.testing.assert_allclose(read_stack(tmp_path / "a.tif", CHANNELS), levels() / 65535, atol=1e-7)


def _header(shape: str, kind: str = "'<u2'", data: bytes = b"") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


class _Harmful:
    def __reduce__(self) -> Any:
        raise AssertionError("it was pickled")


def _bomb() -> bytes:
    """A TIFF whose only strip claims the bytes of an image and unpacks to many more."""
    honest = as_tiff(levels(), photometric="minisblack", planarconfig="contig", compression="zlib")
    packed = zlib.compress(bytes(10**7), 9)
    with tifffile.TiffFile(io.BytesIO(honest)) as file:
        places = [file.pages.first.tags[name].valueoffset for name in ("StripByteCounts", "StripOffsets")]
    data = bytearray(honest) + packed
    for place, value in zip(places, (len(packed), len(honest))):
        data[place : place + 4] = value.to_bytes(4, "little")
    return bytes(data)


def _packed(compression: int) -> bytes:
    """A TIFF that says that it is compressed in another way."""
    honest = as_tiff(levels(), photometric="minisblack", planarconfig="contig")
    with tifffile.TiffFile(io.BytesIO(honest)) as file:
        place = file.pages.first.tags["Compression"].valueoffset
    return honest[:place] + compression.to_bytes(2, "little") + honest[place + 2 :]


HOSTILE: dict[str, tuple[Any, str]] = {
    "another number of channels": (lambda: as_npy(levels(channels=4)), r"shape \(24, 20, 4\).*width, 5\)"),
    "a picture": (lambda: as_tiff(np.zeros((8, 8, 3), np.uint8)), r"shape \(8, 8, 3\)"),
    "no stack": (lambda: b"GIF89a" + bytes(100), "not an image of 5 channels"),
    "objects": (lambda: as_npy(np.array([[[None] * 5]])), "type .O|objects"),
    "a pickle": (lambda: pickle.dumps([1, 2]), "not an image of 5 channels"),
    "a record": (lambda: _header("(2, 2, 5)", "[('a', '<u2')]"), "objects or records"),
    "complex numbers": (lambda: as_npy(np.zeros((2, 2, 5), np.complex64)), "of the type <c8"),
    "whole numbers of 64 bits": (lambda: as_npy(np.zeros((2, 2, 5), np.int64)), "of the type <i8"),
    "no header": (lambda: b"\x93NUMPY\x01\x00\xff\xff", "cut off"),
    "code in its header": (lambda: _header("(__import__('os').getpid(), 2, 5)"), "damaged"),
    "a nested header": (lambda: _header("(" * 50), "damaged"),
    "negative sides": (lambda: _header("(-2, -2, 5)"), "objects or records"),
    "fewer numbers than it claims": (lambda: _header("(20, 20, 5)", data=bytes(100)), "truncated"),
    "too large": (lambda: _header("(100000, 100000, 5)"), "over the limit"),
    "a strip": (lambda: _header("(1, 5000, 5)"), "strip"),
    "no pixels": (lambda: _header("(0, 0, 5)"), "no pixels"),
    "a TIFF that is cut off": (lambda: TIFFS["compressed"](levels())[:800], "."),
    "a bomb": (_bomb, "larger than it says"),
    "LZW": (lambda: _packed(5), "compressed by LZW.*save it with deflate"),
    "Zstandard": (lambda: _packed(50000), "compressed by ZSTD.*save it with deflate"),
    "an unknown compression": (lambda: _packed(77), "compressed by 77"),
    "an empty file": (lambda: b"", "empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, said = HOSTILE[name]
    (tmp_path / "a.npy").write_bytes(make())
    with pytest.raises(UnreadableImage, match=said) as refused:
        read_stack(tmp_path / "a.npy", CHANNELS)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_memory_is_bounded() -> None:
    with pytest.raises(UnreadableImage, match="MiB of memory"):
        read_stack(levels(), CHANNELS, Limits(memory=1000))
    with pytest.raises(UnreadableImage, match="no 5 channels"):
        read_stack(Image.new("RGB", (8, 8)), CHANNELS)


@pytest.fixture
def model() -> ds.VisionModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(CHANNELS, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
        )
    taken = ds.Preprocessing(16, 16, mean=(0.1, 0.2, 0.3, 0.4, 0.5), std=(0.2,) * CHANNELS)
    return ds.wrap(network, ["field", "forest"], preprocessing=taken, name="satellite")


def test_a_folder_of_stacks_is_read_with_the_models_mean_and_deviation(model: ds.VisionModel, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(as_npy(levels()))
    (tmp_path / "b.tif").write_bytes(TIFFS["apart"](levels()))
    Image.new("RGB", (32, 32)).save(tmp_path / "c.png")
    found = ds.classify(model, tmp_path)
    assert [path.name for path in found.paths] == ["a.npy", "b.tif"]
    assert "5 channels" in found.skipped[0].reason
    torch.testing.assert_close(found.probabilities[0], found.probabilities[1])
    pixels = model.preprocessing(tmp_path / "a.npy")
    plain = (pixels - torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).view(-1, 1, 1)) / 0.2
    with torch.no_grad():
        wanted = model.network(plain[None]).softmax(1).sort(descending=True).values
    torch.testing.assert_close(found.probabilities[:1], wanted)


def test_each_channel_is_resized_as_pillow_does(model: ds.VisionModel) -> None:
    array = levels("uint8")
    pixels = model.preprocessing(array)
    assert pixels.shape == (CHANNELS, 16, 16)
    single = ds.Preprocessing(16, 16)
    for channel in range(CHANNELS):
        wanted = single(np.repeat(array[..., channel, None], 3, 2))[0]
        torch.testing.assert_close(pixels[channel], wanted, atol=0.51 / 255 * 2, rtol=0)


def test_maps_of_stacks(model: ds.VisionModel) -> None:
    found = ds.explain(model, [levels()], "integrated-gradients", target="forest")
    assert found.maps.shape == (1, CHANNELS, 16, 16)
    assert "forest" in found._repr_html_()


def test_what_needs_rgb_says_so_in_one_line(model: ds.VisionModel) -> None:
    for name, run in (
        ("pgd", lambda: ds.attack(model, [levels()], "pgd")),
        ("visualize", lambda: ds.visualize(model, ["forest"])),
    ):
        with pytest.raises(
            UnsupportedError, match=f"^{name} needs RGB or grey images, and satellite takes 5 channels$"
        ):
            run()
    with pytest.raises(DataError, match=r"a tensor of images is \(N, 5, H, W\)"):
        ds.classify(model, torch.zeros(1, 3, 16, 16))
    with pytest.raises(ModelError, match="one of each per channel"):
        ds.wrap(model.network, ["a", "b"], preprocessing=ds.Preprocessing(8, 8, mean=(0.5,) * 4, std=(0.5,) * 5))


def test_grey_networks_are_shown_in_grey() -> None:
    taken = ds.Preprocessing(8, 8, mean=(0.5,), std=(0.5,))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    model = ds.wrap(network, ["a", "b"], preprocessing=taken)
    image = Image.fromarray(levels("uint8", 3)[:8, :8])
    shown = model.displayed((model.read([image]) * 255).round().byte())
    wanted = torch.from_numpy(np.array(image.convert("L"), np.int16))
    assert (shown[0].short() - wanted).abs().max() <= 1
    assert torch.equal(shown[:, 0], shown[:, 1])
    rgb = torch.rand(1, 3, 4, 4)
    assert ds.wrap(torch.nn.Flatten(), ["a"] * 48, preprocessing=ds.Preprocessing(4, 4)).displayed(rgb) is rgb
